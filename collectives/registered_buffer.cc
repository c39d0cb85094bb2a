#include "collectives/registered_buffer.h"

#include <errno.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace ringmaster {

absl::StatusOr<RegisteredBuffer> AllocatePrivateBuffer(int64_t bytes) {
  constexpr size_t kHugePage = size_t{2} << 20;
  if (bytes < 0) return absl::InvalidArgumentError(absl::StrCat("a buffer of ", bytes, " bytes"));
  const size_t mapped = std::max<size_t>(static_cast<size_t>(bytes), 1) + kHugePage;
  void* const memory = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    return absl::ResourceExhaustedError(absl::StrCat("no memory for a buffer of ", bytes, " bytes: ", strerror(errno)));
  }
  const auto address = reinterpret_cast<uintptr_t>(memory);
  void* const data = reinterpret_cast<void*>((address + kHugePage - 1) / kHugePage * kHugePage);
  madvise(data, static_cast<size_t>(bytes), MADV_HUGEPAGE);  // refused where the system has none: then small pages do
  return RegisteredBuffer(data, bytes, [memory, mapped] { munmap(memory, mapped); });
}

}  // namespace ringmaster
