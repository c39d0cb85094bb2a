// Which algorithm computes each matrix product, kept in a directory of files beside the checkpoints. Who needs a product that
// nobody has needed there tries the library's algorithms and writes down the fastest; all ranks, later jobs and resumed ones take
// that, so that their results are the same bits. The first one to write decides.
//
// Any number of processes on any number of hosts that share the directory; each object is of one thread.
#ifndef RINGMASTER_TRAINER_CUDA_PRODUCT_CHOICES_H_
#define RINGMASTER_TRAINER_CUDA_PRODUCT_CHOICES_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace ringmaster::trainer {

class ProductChoices {
 public:
  // The directory is made when the first choice is kept.
  explicit ProductChoices(std::string directory);

  // What has been kept for `product`: a name with the device and the library's version in it, one line.
  //   DATA_LOSS  the file is damaged, or of another product
  //   or the code of errno, with the path
  absl::StatusOr<std::optional<std::string>> Find(const std::string& product) const;

  // Keeps `algorithm`, bytes of the library's own, unless another one was kept before. Returns the one that counts. Errors: as
  // Find.
  absl::StatusOr<std::string> Keep(const std::string& product, const std::string& algorithm) const;

 private:
  std::string PathOf(const std::string& product) const;

  const std::string directory_;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CUDA_PRODUCT_CHOICES_H_
