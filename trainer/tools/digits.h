// Writes synthetic digits as IDX files, for tests and examples that read files.
#ifndef RINGMASTER_TRAINER_TOOLS_DIGITS_H_
#define RINGMASTER_TRAINER_TOOLS_DIGITS_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace ringmaster::trainer {

struct DigitsRequest {
  std::string directory;  // created; gets {train,validation}-{images-idx3-ubyte,labels-idx1-ubyte}
  int64_t train = 10'000;
  int64_t validation = 2'000;
  uint64_t seed = 0;
};

absl::Status WriteDigits(const DigitsRequest& request);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_TOOLS_DIGITS_H_
