// One block of zeroed memory that lives as long as its owner: every tensor of a model is a range of an arena. Aligned to 64 bytes
// (a cache line and an AVX-512 register); large arenas ask for huge pages, because a step walks over all of them.
#ifndef RINGMASTER_TRAINER_TENSOR_ARENA_H_
#define RINGMASTER_TRAINER_TENSOR_ARENA_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/statusor.h"

namespace ringmaster::trainer {

inline constexpr int64_t kArenaAlignment = 16;  // elements; 64 bytes

inline constexpr int64_t AlignUp(int64_t elements) { return (elements + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment; }

class Arena {
 public:
  // RESOURCE_EXHAUSTED: the system gives no memory of this size.
  static absl::StatusOr<Arena> Create(int64_t elements);

  // Somebody else's memory, which must outlive the use of this arena; zeroed and aligned as above.
  static Arena Borrow(std::span<float> memory);

  Arena() = default;
  ~Arena();
  Arena(Arena&& other) noexcept;
  Arena& operator=(Arena&& other) noexcept;

  float* data() const { return data_; }
  std::span<float> values() const { return {data_, static_cast<size_t>(elements_)}; }

 private:
  float* data_ = nullptr;
  int64_t elements_ = 0;
  size_t mapped_bytes_ = 0;  // 0: borrowed
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_TENSOR_ARENA_H_
