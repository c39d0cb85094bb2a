// What a group finds out about its machine when it forms, and how a call would run by that.
#include <algorithm>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "collectives/selection/calibrate.h"
#include "collectives/selection/cost_model.h"
#include "collectives/shm/shm_communicator.h"
#include "common/status_macros.h"

namespace ringmaster {

// Takes some hundreds of microseconds; all ranks go by the figures of rank 0, so that all choose alike. Ranks that share cores meet
// by switches between them, thousands of times as long, which no number of meetings makes shorter.
absl::Status ShmCommunicator::Measure(absl::Duration timeout) {
  const int meetings = sync_.share_cores() ? 4 : 64;
  constexpr absl::Duration kFar = absl::Nanoseconds(200);
  constexpr int64_t kFarBytes = int64_t{16} << 20;
  meeting_ = absl::InfiniteDuration();
  for (int round = 0; round < meetings; ++round) {
    const absl::Time begin = clock_.Now();
    for (int i = 0; i < 4; ++i) RM_RETURN_IF_ERROR(Barrier(timeout));
    meeting_ = std::min(meeting_, (clock_.Now() - begin) / 4);
  }
  const bool readable = segment_.control().no_cross_memory.load() == 0;
  constants_.flag_us = absl::ToDoubleMicroseconds(meeting_);
  if (rank() == 0) {
    RM_RETURN_IF_ERROR(selection::MeasureProcessor(clock_, &constants_));
    if (readable) MeasureCrossMemory();
  }
  RM_RETURN_IF_ERROR(Broadcast(&constants_, sizeof(constants_), DataType::kU8, 0, timeout));
  meeting_ = absl::Microseconds(constants_.flag_us);
  cross_memory_bytes_ = tuning_.cross_memory_bytes;
  if (tuning_.cross_memory_bytes == ShmTuning::kMeasured) {
    cross_memory_bytes_ = !sync_.share_cores() && meeting_ >= kFar ? kFarBytes : std::numeric_limits<int64_t>::max();
  }
  if (!readable) cross_memory_bytes_ = std::numeric_limits<int64_t>::max();
  return absl::OkStatus();
}

std::string ShmCommunicator::Explain(const Call& call) const {
  const selection::Layout layout{.hosts = std::vector<int>(static_cast<size_t>(size())),
                                 .shared_memory = true,
                                 .chunk_bytes = static_cast<int64_t>(segment_.sizes().chunk_bytes),
                                 .registered = IsRegistered(call)};
  const auto way = [&]() -> std::pair<selection::Way, const char*> {
    switch (Choose(call)) {
      case Way::kOneShot: return {selection::Way::kOneShot, "one shot: the operand fits into a post"};
      case Way::kCrossMemory:
        return {selection::Way::kCrossMemory,
                "cross memory: caches are far from each other and the vector is larger than they are"};
      case Way::kRings: return {selection::Way::kTwoShot, "rings: a part for each peer"};
      default:
        if (layout.registered) return {selection::Way::kRegistered, "registered: straight from inputs to results"};
        return {selection::Way::kTwoShot, "two shot: through staging areas that stay in the cache"};
    }
  }();
  return absl::StrCat("in shared memory, ", way.second, "; the ranks meet in ", absl::FormatDuration(meeting_), "\n",
                      selection::ExplainChoice(call, layout, constants_, way.first));
}

}  // namespace ringmaster
