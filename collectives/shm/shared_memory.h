// Memory that several processes map: an anonymous file (memfd) without a name, which is gone when the last of them is.
#ifndef RINGMASTER_COLLECTIVES_SHM_SHARED_MEMORY_H_
#define RINGMASTER_COLLECTIVES_SHM_SHARED_MEMORY_H_

#include <cstddef>
#include <utility>

#include "absl/status/statusor.h"
#include "common/file_descriptor.h"

namespace ringmaster::shm {

// A new file of `bytes` zeros that can never shrink, so that no process which has mapped it can be made to fault. `name` shows up
// in /proc. RESOURCE_EXHAUSTED: no descriptor or no memory.
absl::StatusOr<FileDescriptor> CreateMemoryFile(const char* name, size_t bytes);

// INVALID_ARGUMENT: `file` of a peer may shrink, or has not got `bytes`.
absl::Status CheckMemoryFile(const FileDescriptor& file, size_t bytes);

// A file in this process's address space, 2 MiB-aligned, with huge pages where the system gives them.
class SharedMapping {
 public:
  // `bytes` may be more than the file has now: what it grows by appears here.
  static absl::StatusOr<SharedMapping> Map(const FileDescriptor& file, size_t bytes);

  SharedMapping() = default;
  ~SharedMapping();
  SharedMapping(SharedMapping&& other) noexcept { *this = std::move(other); }
  SharedMapping& operator=(SharedMapping&& other) noexcept {
    std::swap(reserved_, other.reserved_);
    std::swap(reserved_bytes_, other.reserved_bytes_);
    std::swap(data_, other.data_);
    return *this;
  }

  char* data() const { return data_; }

 private:
  void* reserved_ = nullptr;
  size_t reserved_bytes_ = 0;
  char* data_ = nullptr;
};

}  // namespace ringmaster::shm

#endif  // RINGMASTER_COLLECTIVES_SHM_SHARED_MEMORY_H_
