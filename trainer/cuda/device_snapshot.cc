#include "trainer/cuda/device_snapshot.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "common/status_macros.h"

namespace ringmaster::trainer {

DeviceSnapshot::DeviceSnapshot(CudaModel& model, std::vector<HostArena> arenas, std::vector<TensorPiece> pieces)
    : model_(model), arenas_(std::move(arenas)), pieces_(std::move(pieces)) {
  for (const HostArena& arena : arenas_) {
    const auto size = static_cast<int64_t>(arena.values.size());
    int64_t first = size;
    int64_t last = 0;
    for (const TensorPiece& piece : pieces_) {
      const int64_t begin = piece.values - arena.values.data();
      if (begin < 0 || begin >= size) continue;
      first = std::min(first, begin);
      last = std::max(last, begin + piece.size());
    }
    if (first >= last) continue;
    copies_.push_back({.arena = arena.arena,
                       .begin = first,
                       .to = arena.values.subspan(static_cast<size_t>(first), static_cast<size_t>(last - first))});
  }
}

absl::Status DeviceSnapshot::WarmUp() {
  for (const HostArena& arena : arenas_) RM_RETURN_IF_ERROR(model_.Pin(arena.values));
  return absl::OkStatus();
}

std::vector<TensorPiece> KeptPieces(const CudaModel& model, const std::vector<StateTensor>& tensors) {
  const std::vector<Parameter>& parameters = model.parameters();
  std::vector<TensorPiece> pieces;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const int64_t offset = parameters[i % parameters.size()].offset;
    for (const ArenaRange& range : model.kept()) {
      const int64_t begin = std::max<int64_t>(range.begin - offset, 0);
      const int64_t end = std::min<int64_t>(range.end - offset, static_cast<int64_t>(tensors[i].values.size()));
      if (begin < end) pieces.push_back({tensors[i].name, tensors[i].shape, begin, end, tensors[i].values.data() + begin});
    }
  }
  return pieces;
}

}  // namespace ringmaster::trainer
