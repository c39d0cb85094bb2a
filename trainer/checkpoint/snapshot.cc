#include "trainer/checkpoint/snapshot.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "common/status_macros.h"

namespace ringmaster::trainer {

HostSnapshot::HostSnapshot(std::vector<TensorPiece> source) : source_(std::move(source)), copied_(source_) {}

absl::Status HostSnapshot::Allocate() {
  RM_ASSIGN_OR_RETURN(memory_, Arena::Create(ElementsOf(source_)));
  int64_t place = 0;
  for (TensorPiece& piece : copied_) {
    piece.values = memory_.data() + place;
    place += piece.size();
  }
  return absl::OkStatus();
}

absl::Status HostSnapshot::Take() {
  float* to = memory_.data();
  for (const TensorPiece& piece : source_) to = std::copy_n(piece.values, piece.size(), to);
  return absl::OkStatus();
}

}  // namespace ringmaster::trainer
