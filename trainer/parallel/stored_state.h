// What a rank of a mesh stores of the global tensors. The ranks at the same stage and share hold the same, and each stores an equal
// part of it.
//
// A checkpoint holds contiguous ranges of flattened tensors. Rows and heads are few ranges; columns would be one for each row. So
// before a checkpoint the ranks of the tensor axis exchange tensors that are cut by columns: each then has whole rows.
#ifndef RINGMASTER_TRAINER_PARALLEL_STORED_STATE_H_
#define RINGMASTER_TRAINER_PARALLEL_STORED_STATE_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "trainer/checkpoint/layout.h"
#include "trainer/parallel/gradient_sync.h"
#include "trainer/parallel/mesh.h"

namespace ringmaster::trainer {

// One thread. Movable.
class StoredState {
 public:
  // What the tensors point to outlives this. All ranks of the tensor axis have the same tensors, each its own part.
  StoredState(const std::vector<StateTensor>& tensors, const MeshPlace& place, const MeshShape& shape);

  // Their values are up to date after Gather; the ranges stay where they are.
  const std::vector<TensorPiece>& pieces() const { return pieces_; }

  // Collective over the tensor axis.
  absl::Status Gather(GradientSync& tensor);

 private:
  // A tensor cut by columns, and this rank's rows of it.
  struct Exchanged {
    StateTensor tensor;
    int64_t first_row = 0;
    int64_t rows = 0;
    std::vector<float> whole_rows;
  };

  std::vector<TensorPiece> pieces_;
  std::vector<Exchanged> exchanged_;
  std::vector<float> received_;  // blocks of columns, by rank
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_PARALLEL_STORED_STATE_H_
