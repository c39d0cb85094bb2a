#include "trainer/parallel/stored_state.h"

#include <algorithm>

#include "common/status_macros.h"

namespace ringmaster::trainer {
namespace {

// Up to so many ranges are stored as they are: packed q, k and v have three.
constexpr int64_t kMostRanges = 4;

bool IsExchanged(const StateTensor& tensor) { return !tensor.cut.is_whole() && tensor.cut.outer > kMostRanges; }

int64_t RowsBefore(const TensorCut& cut, int rank, int ranks) { return cut.outer * rank / ranks; }

}  // namespace

StoredState::StoredState(const std::vector<StateTensor>& tensors, const MeshPlace& place, const MeshShape& shape) {
  size_t received = 0;
  for (const StateTensor& tensor : tensors) {
    if (!tensor.is_counted || !IsExchanged(tensor)) continue;
    const int64_t begin = RowsBefore(tensor.cut, place.tensor, shape.tensor);
    const int64_t rows = RowsBefore(tensor.cut, place.tensor + 1, shape.tensor) - begin;
    const auto elements = static_cast<size_t>(rows * tensor.cut.extent * tensor.cut.inner);
    exchanged_.push_back({.tensor = tensor, .first_row = begin, .rows = rows, .whole_rows = std::vector<float>(elements)});
    received = std::max(received, elements);
  }
  received_.resize(received);
  std::vector<TensorPiece> held;
  auto exchanged = exchanged_.begin();
  for (const StateTensor& tensor : tensors) {
    if (!tensor.is_counted) continue;
    if (tensor.cut.is_whole()) {
      held.push_back({tensor.name, tensor.shape, 0, ElementsOf(tensor.shape), tensor.values.data()});
    } else if (IsExchanged(tensor)) {
      const int64_t row = tensor.cut.extent * tensor.cut.inner;
      const auto& [_, first, rows, values] = *exchanged++;
      held.push_back({tensor.name, tensor.shape, first * row, (first + rows) * row, values.data()});
    } else {
      for (int64_t run = 0; run < tensor.cut.outer; ++run) {
        const int64_t begin = tensor.cut.run_begin(run);
        held.push_back({tensor.name, tensor.shape, begin, begin + tensor.cut.run(), tensor.values.data() + run * tensor.cut.run()});
      }
    }
  }
  std::erase_if(held, [](const TensorPiece& piece) { return piece.size() == 0; });
  pieces_ = PartOfPieces(held, place.data, shape.data);
}

absl::Status StoredState::Gather(GradientSync& tensor) {
  const int ranks = tensor.size();
  std::vector<int64_t> send_counts(static_cast<size_t>(ranks));
  std::vector<int64_t> receive_counts(static_cast<size_t>(ranks));
  for (auto& [state, first_row, rows, whole_rows] : exchanged_) {
    const TensorCut& cut = state.cut;
    for (int peer = 0; peer < ranks; ++peer) {
      const auto index = static_cast<size_t>(peer);
      send_counts[index] = (RowsBefore(cut, peer + 1, ranks) - RowsBefore(cut, peer, ranks)) * cut.run();
      receive_counts[index] = rows * cut.PartOf(peer, ranks).run();
    }
    RM_RETURN_IF_ERROR(
        tensor.AllToAll({.values = state.values, .counts = send_counts}, {received_.data(), whole_rows.size()}, receive_counts));
    const float* block = received_.data();
    for (int peer = 0; peer < ranks; ++peer) {
      const TensorCut columns = cut.PartOf(peer, ranks);
      for (int64_t row = 0; row < rows; ++row, block += columns.run()) {
        std::copy_n(block, columns.run(), whole_rows.data() + columns.run_begin(row));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace ringmaster::trainer
