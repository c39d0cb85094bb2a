// A file mapped for reading: ranks of one host share the pages. A file that shrinks while it is mapped ends the process (SIGBUS).
#ifndef RINGMASTER_TRAINER_DATA_MAPPED_FILE_H_
#define RINGMASTER_TRAINER_DATA_MAPPED_FILE_H_

#include <cstdint>
#include <span>
#include <string>

#include "absl/status/statusor.h"

namespace ringmaster::trainer {

// Reading is thread-safe.
class MappedFile {
 public:
  //   NOT_FOUND          no such file
  //   PERMISSION_DENIED  it cannot be read
  //   INVALID_ARGUMENT   it is no regular file
  static absl::StatusOr<MappedFile> Open(const std::string& path);

  MappedFile() = default;
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  std::span<const uint8_t> bytes() const { return {data_, size_}; }

 private:
  const uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_DATA_MAPPED_FILE_H_
