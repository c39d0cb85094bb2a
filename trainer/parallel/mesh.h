// Where a rank stands in the mesh of a job: which replica of the data axis, which stage of the pipeline, which share of the
// stage's tensors. Pure; thread-safe.
//
// Tensor is the innermost axis, because its ranks talk most: they are neighbours, on one host wherever they fit. Data is the
// outermost: a replica is a row of ranks.
#ifndef RINGMASTER_TRAINER_PARALLEL_MESH_H_
#define RINGMASTER_TRAINER_PARALLEL_MESH_H_

#include <cstdint>
#include <optional>
#include <span>

namespace ringmaster::trainer {

struct MeshShape {
  int data = 1;
  int pipeline = 1;
  int tensor = 1;

  bool operator==(const MeshShape&) const = default;

  int ranks_per_replica() const { return pipeline * tensor; }
  int ranks() const { return data * ranks_per_replica(); }
};

struct MeshPlace {
  int data = 0;
  int pipeline = 0;
  int tensor = 0;

  bool operator==(const MeshPlace&) const = default;
};

MeshPlace PlaceOf(int rank, const MeshShape& shape);
int RankAt(const MeshPlace& place, const MeshShape& shape);

// Ranks that differ in one coordinate alone form a group of that axis. They have the same colour and stand in it in the order of
// that coordinate.
int ColourOnData(const MeshPlace& place, const MeshShape& shape);
int ColourOnPipeline(const MeshPlace& place, const MeshShape& shape);
int ColourOnTensor(const MeshPlace& place, const MeshShape& shape);

// Of the replicas, the first whose rank at the same stage and share as `place` has the value `wanted` in `values` (one a rank);
// nothing: none has.
std::optional<int> FirstTwinWith(std::span<const int64_t> values, int64_t wanted, MeshPlace place, const MeshShape& shape);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_PARALLEL_MESH_H_
