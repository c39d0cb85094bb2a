#include "collectives/channels/channels_communicator.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/check.h"
#include "common/status_macros.h"

namespace ringmaster {
namespace {

// Shares begin on lines of the cache.
constexpr int64_t kLineBytes = 64;

// What channels are tried with.
constexpr int64_t kTrialFloats = 256 << 10;
// For so long, in so many rounds; the least counts. On a slow network a few must do.
constexpr absl::Duration kTrial = absl::Milliseconds(2);
constexpr int kFewestRounds = 2, kMostRounds = 15;
// More channels take cores from others: they must be worth it.
constexpr double kWorth = 1.25;

// Every part of the call is cut alike.
bool CanBeCut(const Call& call) { return !IsPointToPoint(call.operation) && call.send_counts.empty(); }

HostCommunicator::Share ShareOf(const Call& call, int index, int shares) {
  const int64_t line = kLineBytes / static_cast<int64_t>(BytesPerElement(call.type));
  const int64_t each = (call.count / shares + line - 1) / line * line;
  const int64_t begin = std::min(call.count, index * each);
  const int64_t end = index == shares - 1 ? call.count : std::min(call.count, begin + each);
  return {.begin = begin, .count = end - begin, .index = index, .shares = shares};
}

}  // namespace

ChannelsCommunicator::ChannelsCommunicator(Channels channels, int64_t share_bytes, absl::Duration patience, const Clock& clock)
    : channels_(std::move(channels)),
      used_(static_cast<int>(channels_.size())),
      share_bytes_(share_bytes),
      clock_(clock),
      team_(patience, clock),
      statuses_(channels_.size()) {
  RM_CHECK(!channels_.empty() && share_bytes > 0) << channels_.size() << " channels, shares of " << share_bytes << " bytes";
}

void ChannelsCommunicator::Start() { team_.Start(channels() - 1); }

absl::StatusOr<absl::Duration> ChannelsCommunicator::TimeWith(int channels, int rounds, absl::Duration timeout) {
  used_ = channels;
  std::vector<float> data(kTrialFloats, 1);
  absl::Duration least = absl::InfiniteDuration();
  for (int round = 0; round < rounds; ++round) {
    const absl::Time begin = clock_.Now();
    RM_RETURN_IF_ERROR(AllReduce(data.data(), data.data(), kTrialFloats, DataType::kF32, Reduction::kMax, timeout));
    least = std::min(least, clock_.Now() - begin);
  }
  return least;
}

absl::Status ChannelsCommunicator::KeepFastest(absl::Duration timeout) {
  RM_ASSIGN_OR_RETURN(absl::Duration least, TimeWith(1, kFewestRounds, timeout));
  int kept = 1;
  for (int tried = 1; tried < channels();) {
    // What rank 0 finds counts.
    auto rounds = static_cast<int32_t>(std::clamp<int64_t>(kTrial / least, kFewestRounds, kMostRounds));
    tried = std::min(2 * tried, channels());
    RM_RETURN_IF_ERROR(Broadcast(&rounds, 1, DataType::kI32, /*root=*/0, timeout));
    RM_ASSIGN_OR_RETURN(const absl::Duration took, TimeWith(tried, rounds, timeout));
    uint8_t worth = took * kWorth <= least ? 1 : 0;
    RM_RETURN_IF_ERROR(Broadcast(&worth, 1, DataType::kU8, /*root=*/0, timeout));
    if (worth != 0) {
      kept = tried;
      least = took;
    } else if (rounds == kFewestRounds) {  // the network carries no more
      break;
    }
  }
  team_.Stop();
  channels_.resize(static_cast<size_t>(kept));
  used_ = kept;
  Start();
  return absl::OkStatus();
}

void ChannelsCommunicator::Tune(const selection::Calibration& calibration) {
  for (const auto& channel : channels_) channel->Tune(calibration);
  sequence_ = 0;
}

void ChannelsCommunicator::Abort(std::string_view reason) {
  {
    MutexLock lock(&mu_);
    if (!broken_.ok()) return;
    broken_ = absl::AbortedError(absl::string_view(reason.data(), reason.size()));
  }
  for (size_t index = 1; index < channels_.size(); ++index) channels_[index]->AbortToo(reason);
  channels_[0]->Abort(reason);
}

int ChannelsCommunicator::SharesOf(const Call& call) const {
  if (!CanBeCut(call)) return 1;
  const int64_t shares = call.count / std::max<int64_t>(1, share_bytes_ / static_cast<int64_t>(BytesPerElement(call.type)));
  return static_cast<int>(std::clamp<int64_t>(shares, 1, used_));
}

std::string ChannelsCommunicator::Explain(const Call& call) const {
  const int shares = SharesOf(call);
  if (shares == 1) return channels_[0]->Explain(call);
  Call share = call;
  share.count = ShareOf(call, 0, shares).count;
  return absl::StrCat(Describe(call), ": in ", shares, " shares at the same time, each on a channel of its own; a share is\n",
                      channels_[0]->Explain(share));
}

absl::Status ChannelsCommunicator::Broken() const {
  MutexLock lock(&mu_);
  return broken_;
}

absl::Status ChannelsCommunicator::Execute(const Call& call, absl::Duration timeout) {
  RM_RETURN_IF_ERROR(Broken());
  ++sequence_;
  const int shares = SharesOf(call);
  if (shares == 1) return End(channels_[0]->Run(call, timeout), *channels_[0]);
  const absl::Time deadline = clock_.Now() + timeout;
  team_.Run(shares, [&](int index) {
    HostCommunicator::Share share = ShareOf(call, index, shares);
    share.sequence = sequence_;
    // One thread may have to run several, one behind the other.
    const absl::Duration left = index == 0 ? timeout : std::max(deadline - clock_.Now(), absl::ZeroDuration());
    statuses_[index] = channels_[index]->RunShare(call, share, left);
  });
  // All channels have ended by themselves. The first one knows best: a peer in another operation is not on the others.
  for (int index = 0; index < shares; ++index) {
    if (!statuses_[index].ok()) return End(statuses_[index], *channels_[index]);
  }
  return absl::OkStatus();
}

absl::Status ChannelsCommunicator::ExchangePointToPoint(std::span<const Call> calls, absl::Duration timeout) {
  RM_RETURN_IF_ERROR(Broken());
  const bool one = calls.size() == 1;
  return End(one ? channels_[0]->Run(calls[0], timeout) : channels_[0]->RunGroup(calls, timeout), *channels_[0]);
}

// Peers may be waiting, or begin to, on any channel.
absl::Status ChannelsCommunicator::End(const absl::Status& status, const HostCommunicator& channel) {
  if (status.ok()) return status;
  {
    MutexLock lock(&mu_);
    if (!broken_.ok()) return broken_;  // aborted, and so are the channels
    broken_ = status;
  }
  for (const auto& other : channels_) {
    if (other.get() != &channel) other->BreakAs(channel);
  }
  return status;
}

}  // namespace ringmaster
