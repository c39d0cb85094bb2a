// Which part of a tensor a rank holds when ranks share it. Pure; thread-safe.
#ifndef RINGMASTER_TRAINER_TENSOR_TENSOR_CUT_H_
#define RINGMASTER_TRAINER_TENSOR_TENSOR_CUT_H_

#include <cstdint>

namespace ringmaster::trainer {

// A row-major tensor seen as (outer, extent, inner), of which begin .. end of the middle axis are held, one behind the other:
// rows of a matrix are (1, rows, columns), columns (rows, columns, 1), the heads of packed q, k and v (3, heads, the rest).
struct TensorCut {
  int64_t outer = 1;
  int64_t extent = 1;
  int64_t inner = 1;
  int64_t begin = 0;
  int64_t end = 1;

  bool operator==(const TensorCut&) const = default;

  bool is_whole() const { return begin == 0 && end == extent; }
  int64_t run() const { return (end - begin) * inner; }  // elements that lie together in the whole tensor too
  int64_t elements() const { return outer * run(); }
  // Where run number `index` begins in the whole tensor.
  int64_t run_begin(int64_t index) const { return (index * extent + begin) * inner; }

  // The same tensor's part of rank `rank` of `ranks`: parts follow each other in rank order and differ by one at most.
  TensorCut PartOf(int rank, int ranks) const {
    return {.outer = outer, .extent = extent, .inner = inner, .begin = extent * rank / ranks, .end = extent * (rank + 1) / ranks};
  }
};

// part = what `cut` holds of `whole`.
void CopyPart(const TensorCut& cut, const float* whole, float* part);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_TENSOR_TENSOR_CUT_H_
