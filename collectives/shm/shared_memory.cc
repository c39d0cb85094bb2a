#include "collectives/shm/shared_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace ringmaster::shm {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

absl::Status Exhausted(absl::string_view what, size_t bytes) {
  return absl::ResourceExhaustedError(absl::StrCat(what, " of ", bytes, " bytes of shared memory: ", strerror(errno)));
}

}  // namespace

absl::StatusOr<FileDescriptor> CreateMemoryFile(const char* name, size_t bytes) {
  FileDescriptor file(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!file.valid()) return Exhausted("memfd_create", bytes);
  if (ftruncate(file.get(), static_cast<off_t>(bytes)) != 0) return Exhausted("ftruncate", bytes);
  if (fcntl(file.get(), F_ADD_SEALS, F_SEAL_SHRINK) != 0) return Exhausted("sealing", bytes);
  return file;
}

absl::Status CheckMemoryFile(const FileDescriptor& file, size_t bytes) {
  const int seals = fcntl(file.get(), F_GET_SEALS);
  struct stat status {};
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0 || fstat(file.get(), &status) != 0) {
    return absl::InvalidArgumentError("a peer's memory is no sealed memfd");
  }
  if (static_cast<size_t>(status.st_size) < bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("a peer's memory has ", status.st_size, " bytes, expected ", bytes, ": is it the same version?"));
  }
  return absl::OkStatus();
}

absl::StatusOr<SharedMapping> SharedMapping::Map(const FileDescriptor& file, size_t bytes) {
  SharedMapping mapping;
  mapping.reserved_bytes_ = bytes + kHugePage;
  void* const reserved = mmap(nullptr, mapping.reserved_bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED) return Exhausted("address space", bytes);
  mapping.reserved_ = reserved;
  const auto address = (reinterpret_cast<uintptr_t>(reserved) + kHugePage - 1) / kHugePage * kHugePage;
  void* const data = mmap(reinterpret_cast<void*>(address), bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file.get(), 0);
  if (data == MAP_FAILED) return Exhausted("mapping", bytes);
  madvise(data, bytes, MADV_HUGEPAGE);  // refused where the system has none: then small pages do
  madvise(data, bytes, MADV_DONTDUMP);
  mapping.data_ = static_cast<char*>(data);
  return mapping;
}

SharedMapping::~SharedMapping() {
  if (reserved_ != nullptr) munmap(reserved_, reserved_bytes_);
}

}  // namespace ringmaster::shm
