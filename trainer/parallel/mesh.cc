#include "trainer/parallel/mesh.h"

#include <cstddef>

namespace ringmaster::trainer {

MeshPlace PlaceOf(int rank, const MeshShape& shape) {
  return {
      .data = rank / shape.ranks_per_replica(), .pipeline = rank / shape.tensor % shape.pipeline, .tensor = rank % shape.tensor};
}

int RankAt(const MeshPlace& place, const MeshShape& shape) {
  return (place.data * shape.pipeline + place.pipeline) * shape.tensor + place.tensor;
}

int ColourOnData(const MeshPlace& place, const MeshShape& shape) { return place.pipeline * shape.tensor + place.tensor; }

int ColourOnPipeline(const MeshPlace& place, const MeshShape& shape) { return place.data * shape.tensor + place.tensor; }

int ColourOnTensor(const MeshPlace& place, const MeshShape& shape) { return place.data * shape.pipeline + place.pipeline; }

std::optional<int> FirstTwinWith(std::span<const int64_t> values, int64_t wanted, MeshPlace place, const MeshShape& shape) {
  for (place.data = 0; place.data < shape.data; ++place.data) {
    if (values[static_cast<size_t>(RankAt(place, shape))] == wanted) return place.data;
  }
  return std::nullopt;
}

}  // namespace ringmaster::trainer
