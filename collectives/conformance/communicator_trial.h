// One call of a test, with the data of all ranks and what each must receive.
#ifndef RINGMASTER_COLLECTIVES_CONFORMANCE_COMMUNICATOR_TRIAL_H_
#define RINGMASTER_COLLECTIVES_CONFORMANCE_COMMUNICATOR_TRIAL_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "collectives/call.h"
#include "collectives/communicator.h"

namespace ringmaster::testing {

struct TrialOptions {
  Operation operation = Operation::kBarrier;  // no send or receive
  DataType type = DataType::kF32;
  Reduction reduction = Reduction::kSum;
  int root = 0;
  int64_t count = 0;  // the V operations draw the sizes of their parts near it, some of them empty
  bool in_place = false;
  int shift = 0;  // elements that buffers begin behind a vector's alignment
  uint32_t seed = 1;
};

// Inputs round, so that the order of addition and the place of rounding show in the bits. The same on all ranks for the same
// options.
class Trial {
 public:
  Trial(int size, const TrialOptions& options);

  // INTERNAL: another result than this rank must have, or something else was written. Thread-safe.
  absl::Status Check(Communicator& ranks, absl::Duration timeout) const;

  // Over all that this rank receives.
  std::vector<char> Expected(int rank) const;

 private:
  int64_t PartOf(int rank) const;
  int64_t PartBegin(int rank) const;
  std::vector<char> Slice(const std::vector<char>& values, int64_t begin, int64_t count) const;

  const int size_;
  const TrialOptions options_;
  const size_t element_;
  std::vector<std::vector<int64_t>> sent_;  // V: [rank][peer]; a row is the counts of all ranks, for kAllToAllV of that rank
  std::vector<std::vector<char>> inputs_;   // by rank
  std::vector<char> reduced_;               // the inputs of all ranks
};

// Any element of `type` from random bits: floats of both signs and of magnitudes from 1/64 to 8.
void WriteElement(DataType type, uint64_t random, char* element);

std::string Describe(const TrialOptions& options, int size);

}  // namespace ringmaster::testing

#endif  // RINGMASTER_COLLECTIVES_CONFORMANCE_COMMUNICATOR_TRIAL_H_
