#include "trainer/tools/digits.h"

#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "trainer/data/idx.h"
#include "trainer/data/synthetic_digits.h"

namespace ringmaster::trainer {

absl::Status WriteDigits(const DigitsRequest& request) {
  std::error_code error;
  std::filesystem::create_directories(request.directory, error);
  if (error) return absl::ErrnoToStatus(error.value(), absl::StrCat("cannot create directory ", request.directory));
  const auto write = [&](DigitSet set, const char* name, int64_t count) {
    return WriteIdx(DrawSyntheticDigits(request.seed, set, count), absl::StrCat(request.directory, "/", name, "-images-idx3-ubyte"),
                    absl::StrCat(request.directory, "/", name, "-labels-idx1-ubyte"));
  };
  RM_RETURN_IF_ERROR(write(DigitSet::kTraining, "train", request.train));
  return write(DigitSet::kValidation, "validation", request.validation);
}

}  // namespace ringmaster::trainer
