// What all checks of a spec say in the same words, each with the place in the user's file.
#ifndef RINGMASTER_CLI_SPEC_FIELD_CHECKS_H_
#define RINGMASTER_CLI_SPEC_FIELD_CHECKS_H_

#include <cstdint>
#include <limits>
#include <string>

#include "cli/spec/diagnostics.h"
#include "proto/job.pb.h"

namespace ringmaster::cli {

constexpr int kMaxRanks = 4096;

// Paths are those of fields, as in "train.steps" and "model.mlp.hidden[2]". Refers to what it is made of.
class FieldChecks {
 public:
  FieldChecks(const v1::JobSpec& spec, const FieldLocations& locations, const std::string& source, Diagnostics* diagnostics)
      : spec_(spec), locations_(locations), source_(source), diagnostics_(*diagnostics) {}

  const v1::JobSpec& spec() const { return spec_; }
  bool Written(const std::string& path) const { return locations_.contains(path); }

  void Fail(const std::string& path, const std::string& message);
  void Missing(const std::string& path, const std::string& hint);
  // Whether it holds.
  bool Between(const std::string& path, int64_t value, int64_t low, int64_t high = std::numeric_limits<int64_t>::max());
  // `ok`: whether a finite value holds.
  void Fraction(const std::string& path, double value, const std::string& expected, bool ok);

 private:
  Location PlaceOf(std::string path) const;

  const v1::JobSpec& spec_;
  const FieldLocations& locations_;
  const std::string& source_;
  Diagnostics& diagnostics_;
};

// The sections of a job of the built-in trainer, each in a file of its name.
void CheckLayout(FieldChecks& check);
void CheckModel(FieldChecks& check);
void CheckData(FieldChecks& check);
void CheckTrain(FieldChecks& check);

}  // namespace ringmaster::cli

#endif  // RINGMASTER_CLI_SPEC_FIELD_CHECKS_H_
