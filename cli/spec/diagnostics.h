// What is wrong with a job file, each finding with its place, so that a user mends all of it in one go.
#ifndef RINGMASTER_CLI_SPEC_DIAGNOSTICS_H_
#define RINGMASTER_CLI_SPEC_DIAGNOSTICS_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace ringmaster::cli {

// A place in a file (1-based), or an override on the command line (line 0).
struct Location {
  std::string source;
  int line = 0;
  int column = 0;

  std::string ToString() const;  // "job.yaml:3:5" or "--set train.steps=0"
};

// Collects findings. Not thread-safe.
class Diagnostics {
 public:
  void Add(const Location& location, const std::string& message);
  bool empty() const { return findings_.empty(); }

  // OK, or INVALID_ARGUMENT with one line per finding in the order of their places.
  absl::Status ToStatus() const;

 private:
  struct Finding {
    Location location;
    std::string message;
  };
  std::vector<Finding> findings_;
};

// Where each field that the user wrote stands, by its path ("train.global_batch"). Fields that are not in it were left out.
using FieldLocations = std::map<std::string, Location>;

}  // namespace ringmaster::cli

#endif  // RINGMASTER_CLI_SPEC_DIAGNOSTICS_H_
