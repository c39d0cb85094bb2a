#include "trainer/tensor/arena.h"

#include <sys/mman.h>

#include <utility>

#include "absl/strings/str_format.h"
#include "common/check.h"

namespace ringmaster::trainer {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

}  // namespace

absl::StatusOr<Arena> Arena::Create(int64_t elements) {
  RM_CHECK(elements >= 0) << elements;
  Arena arena;
  if (elements == 0) return arena;
  const size_t bytes = static_cast<size_t>(elements) * sizeof(float);
  const size_t mapped = (bytes + kHugePage - 1) / kHugePage * kHugePage;
  void* memory = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    return absl::ResourceExhaustedError(absl::StrFormat(
        "no memory for an arena of %d bytes; use a smaller model or micro_batch, or a host with more memory", bytes));
  }
  // Only a hint: without huge pages everything works, a little slower.
  (void)madvise(memory, mapped, MADV_HUGEPAGE);
  arena.data_ = static_cast<float*>(memory);
  arena.elements_ = elements;
  arena.mapped_bytes_ = mapped;
  return arena;
}

Arena Arena::Borrow(std::span<float> memory) {
  RM_CHECK(reinterpret_cast<uintptr_t>(memory.data()) % (kArenaAlignment * sizeof(float)) == 0) << memory.data();
  Arena arena;
  arena.data_ = memory.data();
  arena.elements_ = static_cast<int64_t>(memory.size());
  return arena;
}

Arena::~Arena() {
  if (mapped_bytes_ != 0) munmap(data_, mapped_bytes_);
}

Arena::Arena(Arena&& other) noexcept { *this = std::move(other); }

Arena& Arena::operator=(Arena&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(elements_, other.elements_);
  std::swap(mapped_bytes_, other.mapped_bytes_);
  return *this;
}

}  // namespace ringmaster::trainer
