// How a worker tells a warm spare which rank it is: over the spare's standard input, NAME=VALUE with a zero byte behind each, then
// the end of file. worker/warm_spares.h writes it. Main's thread alone.
#ifndef RINGMASTER_TRAINER_SPARE_SPARE_INPUT_H_
#define RINGMASTER_TRAINER_SPARE_SPARE_INPUT_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"

namespace ringmaster::trainer {

class SpareInput {
 public:
  explicit SpareInput(int fd) : fd_(fd) {}

  // Whether the worker has begun to tell, or has no need of the spare any more; waits for it this long.
  bool IsTold(absl::Duration timeout) const;
  // Waits until all is told. Empty: the spare is not needed.
  std::vector<std::pair<std::string, std::string>> Read() const;

 private:
  const int fd_;  // the caller's
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_SPARE_SPARE_INPUT_H_
