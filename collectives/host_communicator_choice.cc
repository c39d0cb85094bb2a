// Which algorithm carries out an operation, and why.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "collectives/host_communicator.h"

namespace ringmaster {
namespace {

selection::Way WayOf(Algorithm algorithm) {
  switch (algorithm) {
    case Algorithm::kRing: return selection::Way::kChain;
    case Algorithm::kTwoStep: return selection::Way::kTwoStep;
    case Algorithm::kStar: return selection::Way::kStar;
    case Algorithm::kBruck: return selection::Way::kBruck;
    default: return selection::Way::kDirect;
  }
}

}  // namespace

// By operation, size and what is the same on all ranks, so that all choose the same; the bits do not depend on it.
Algorithm HostCommunicator::Choose(const Call& call) const {
  const size_t bytes = Bytes(call.count) * BytesPerElement(call.type);
  const bool small = bytes <= options_.direct_bytes || bytes == 0;
  const Algorithm asked = options_.algorithm;
  switch (call.operation) {
    case Operation::kAllReduce:
      if (asked == Algorithm::kRing || asked == Algorithm::kDirect) return asked;
      if (asked == Algorithm::kTwoStep) return small ? Algorithm::kDirect : asked;
      // Of nothing a star would send nothing, and compare no calls.
      if (asked == Algorithm::kStar) return bytes > 0 ? asked : Algorithm::kDirect;
      if (asked == Algorithm::kBruck || (small && small_ == Algorithm::kBruck)) {
        // Of two ranks its one step is the direct exchange.
        const bool can = size() > 2 && bytes > 0 && bytes <= options_.chunk_bytes / Bytes(size());
        return can ? Algorithm::kBruck : Algorithm::kDirect;
      }
      if (small) return Algorithm::kDirect;
      return bytes <= star_bytes_ ? Algorithm::kStar : large_;
    case Operation::kReduce:
      if (asked == Algorithm::kDirect) return asked;
      return small || bytes <= star_bytes_ ? Algorithm::kDirect : Algorithm::kTwoStep;
    case Operation::kBroadcast:
      if (asked == Algorithm::kRing) return asked;
      return small || bytes <= star_bytes_ || asked == Algorithm::kDirect ? Algorithm::kDirect : Algorithm::kRing;
    case Operation::kBarrier: {  // an all-reduce of one byte, where that takes fewer messages than a call from all to all
      const Call byte{.operation = Operation::kAllReduce, .count = 1};
      const Algorithm way = size() > 2 ? Choose(byte) : Algorithm::kDirect;
      return way == Algorithm::kStar || way == Algorithm::kBruck ? way : Algorithm::kDirect;
    }
    default: return Algorithm::kDirect;
  }
}

void HostCommunicator::Tune(selection::Calibration calibration) {
  calibration.layout.chunk_bytes = options_.chunk_bytes;
  const selection::StreamChoice choice = selection::ChooseForStreams(calibration.layout, calibration.constants);
  options_.direct_bytes = static_cast<uint32_t>(choice.direct_bytes);
  star_bytes_ = static_cast<size_t>(choice.star_bytes);
  two_step_chunk_ = choice.chunk_bytes;
  chain_chunk_ = choice.chain_chunk_bytes;
  small_ = choice.small == selection::Way::kBruck ? Algorithm::kBruck : Algorithm::kDirect;
  large_ = choice.large == selection::Way::kChain    ? Algorithm::kRing
           : choice.large == selection::Way::kDirect ? Algorithm::kDirect
                                                     : Algorithm::kTwoStep;
  plan_key_ = {};
  sequence_ = 0;
  std::fill(sent_.begin(), sent_.end(), 0);
  std::fill(received_.begin(), received_.end(), 0);
  calibration_ = std::move(calibration);
}

std::string HostCommunicator::Explain(const Call& call) const {
  const selection::Way chosen = WayOf(Choose(call));
  if (!calibration_.has_value()) return absl::StrCat(Describe(call), ": ", selection::NameOf(chosen), " over streams");
  const std::string when = absl::FormatTime(absl::FromUnixSeconds(calibration_->measured_at), absl::UTCTimeZone());
  return absl::StrCat(selection::ExplainChoice(call, calibration_->layout, calibration_->constants, chosen), "  constants of ",
                      when, calibration_->from_cache ? ", from the cache" : ", measured by this group",
                      calibration_->trouble.empty() ? "" : ", not kept: ", calibration_->trouble, "\n");
}

}  // namespace ringmaster
