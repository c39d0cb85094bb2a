// What a group finds out about its machine when it forms, and how a call would run by that.
#include <algorithm>
#include <array>
#include <cstring>
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
namespace {

constexpr int64_t kNever = std::numeric_limits<int64_t>::max();
constexpr int64_t kTrialBytes = int64_t{4} << 20;
// Cross memory must save a seventh: it loses more than half where the cores are, or later come, far from each other.
constexpr double kGain = 0.85;

}  // namespace

// Takes some hundreds of microseconds, and eighteen all-reduces of 4 MiB where ranks have cores of their own. All go by the figures
// of rank 0, so that all choose alike. Ranks that share cores meet by switches between them, thousands of times as long, which no
// number of meetings makes shorter.
absl::Status ShmCommunicator::Measure(absl::Duration timeout) {
  const int meetings = sync_.share_cores() ? 4 : 64;
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
  int64_t share_cores = sync_.share_cores();
  RM_RETURN_IF_ERROR(Broadcast(&share_cores, 1, DataType::kI64, 0, timeout));
  registered_bytes_ = share_cores ? kNever : tuning_.registered_bytes;
  cross_memory_bytes_ = readable ? tuning_.cross_memory_bytes : kNever;
  if (cross_memory_bytes_ == ShmTuning::kMeasured) {
    cross_memory_bytes_ = kNever;
    if (!share_cores) {
      RM_ASSIGN_OR_RETURN(const bool faster, IsCrossMemoryFaster(timeout));
      cross_memory_bytes_ = faster ? kTrialBytes : kNever;
    }
  }
  return absl::OkStatus();
}

// Tries both ways; rank 0's figures decide. Some operations in a row each time: where the vectors lie in the caches after the other
// way is half of what one alone takes.
absl::StatusOr<bool> ShmCommunicator::IsCrossMemoryFaster(absl::Duration timeout) {
  constexpr int kRounds = 3, kInARow = 3;
  RM_ASSIGN_OR_RETURN(RegisteredBuffer buffer, AllocatePrivateBuffer(kTrialBytes));
  std::memset(buffer.data(), 0, kTrialBytes);
  std::array<absl::Duration, 2> least = {absl::InfiniteDuration(), absl::InfiniteDuration()};
  for (int round = 0; round < kRounds; ++round) {
    for (const bool cross : {false, true}) {
      cross_memory_bytes_ = cross ? kTrialBytes : kNever;
      for (int operation = 0; operation < kInARow; ++operation) {
        const absl::Time begin = clock_.Now();
        RM_RETURN_IF_ERROR(AllReduce(buffer.data(), buffer.data(), kTrialBytes / 4, DataType::kF32, Reduction::kSum, timeout));
        if (operation > 0) least[cross] = std::min(least[cross], clock_.Now() - begin);
      }
    }
  }
  int64_t faster = least[true] < kGain * least[false];
  RM_RETURN_IF_ERROR(Broadcast(&faster, 1, DataType::kI64, 0, timeout));
  if (!faster) scratch_ = {};
  return faster != 0;
}

std::string ShmCommunicator::Explain(const Call& call) const {
  const selection::Layout layout{.hosts = std::vector<int>(static_cast<size_t>(size())),
                                 .shared_memory = true,
                                 .chunk_bytes = static_cast<int64_t>(segment_.sizes().chunk_bytes),
                                 .post_bytes = tuning_.one_shot_bytes,
                                 .registered = IsRegistered(call)};
  const auto way = [&]() -> std::pair<selection::Way, const char*> {
    const Way chosen = Choose(call);
    if (layout.registered && MayBeRegistered(call, chosen)) {
      return {selection::Way::kRegistered, "registered: straight from inputs to results"};
    }
    switch (chosen) {
      case Way::kOneShot: return {selection::Way::kOneShot, "one shot: the operand fits into a post"};
      case Way::kCrossMemory:
        return {selection::Way::kCrossMemory,
                "cross memory: peers' vectors are read by the kernel, which was faster when the group formed"};
      case Way::kPairExchange:
        return {selection::Way::kPairExchange, "pair exchange: whole vectors through staging areas that stay in the cache"};
      case Way::kRings: return {selection::Way::kTwoShot, "rings: a part for each peer"};
      default: return {selection::Way::kTwoShot, "two shot: through staging areas that stay in the cache"};
    }
  }();
  return absl::StrCat("in shared memory, ", way.second, "; the ranks meet in ", absl::FormatDuration(meeting_), "\n",
                      selection::ExplainChoice(call, layout, constants_, way.first));
}

}  // namespace ringmaster
