// A rank's doors to the groups of its axes, and what it asks of them beyond single collectives.
#ifndef RINGMASTER_TRAINER_PARALLEL_MESH_SYNCS_H_
#define RINGMASTER_TRAINER_PARALLEL_MESH_SYNCS_H_

#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "collectives/communicator.h"
#include "common/clock.h"
#include "common/progress_board.h"
#include "trainer/layers/tensor_peers.h"
#include "trainer/parallel/gradient_sync.h"
#include "trainer/parallel/mesh.h"

namespace ringmaster::trainer {

// The groups that a rank is in beside that of all ranks.
struct MeshGroups {
  MeshShape shape;
  MeshPlace place;
  // Null: the rank is alone on this axis, or the axis is all there is and its group that of all ranks.
  std::unique_ptr<Communicator> data = nullptr;
  std::unique_ptr<Communicator> pipeline = nullptr;
  std::unique_ptr<Communicator> tensor = nullptr;
};

// Collective over all ranks; `shape` has as many. Errors: Communicator::Split's.
absl::StatusOr<MeshGroups> SplitByAxis(Communicator& all, const MeshShape& shape, absl::Duration timeout);

// One thread, as GradientSync.
class MeshSyncs {
 public:
  // `all`, `clock` and `board` outlive this.
  MeshSyncs(MeshGroups groups, GradientSync& all, const Clock& clock, ProgressBoard* board, absl::Duration timeout);

  const MeshShape& shape() const { return shape_; }
  const MeshPlace& place() const { return place_; }
  bool is_last_stage() const { return place_.pipeline + 1 == shape_.pipeline; }

  GradientSync& all() { return all_; }
  GradientSync& data() { return shape_.ranks_per_replica() == 1 ? all_ : data_; }
  GradientSync& pipeline() { return pipeline_; }
  GradientSync& tensor() { return tensor_; }
  // Those that hold the other shares; null: there are none.
  TensorPeers* peers() { return shape_.tensor == 1 ? nullptr : &peers_; }

  // Over the ranks of this replica.
  absl::StatusOr<double> SumOverReplica(double value);

  // values[i] = sum over first and last stage, in place, on both; elsewhere nothing. Empty on all: nothing.
  absl::Status SumTied(std::span<float> values);

  // Time spent in collectives of all groups.
  absl::Duration waiting() const;

 private:
  class Peers final : public TensorPeers {
   public:
    explicit Peers(GradientSync& sync) : sync_(sync) {}
    absl::Status Sum(std::span<float> values) override { return sync_.SumGradients(values); }
    absl::Status Max(std::span<float> values) override { return sync_.Max(values); }

   private:
    GradientSync& sync_;
  };

  const MeshShape shape_;
  const MeshPlace place_;
  GradientSync& all_;
  GradientSync data_;
  GradientSync pipeline_;
  GradientSync tensor_;
  Peers peers_;
  std::vector<float> other_end_;  // the other stage's part of the tied gradient
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_PARALLEL_MESH_SYNCS_H_
