#include "collectives/channels/channels_communicator.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/check.h"
#include "common/status_macros.h"

namespace ringmaster {
namespace {

// Parts begin on lines of the cache.
constexpr int64_t kLineBytes = 64;

// What channels are tried with.
constexpr int64_t kTrialFloats = 64 << 10;
// For so long, in so many rounds; the least counts. On a slow network a few must do.
constexpr absl::Duration kTrial = absl::Milliseconds(3);
constexpr int kFewestRounds = 3, kMostRounds = 20;
// More channels take cores from others: they must be worth it.
constexpr double kWorth = 1.25;

// Every element of the result comes of one element of each rank, at the same place.
bool CanBeCut(Operation operation) {
  return operation == Operation::kAllReduce || operation == Operation::kReduce || operation == Operation::kBroadcast;
}

Call CutOut(const Call& whole, int part, int parts) {
  const auto element = static_cast<int64_t>(BytesPerElement(whole.type));
  const int64_t line = kLineBytes / element;
  const int64_t each = (whole.count / parts + line - 1) / line * line;
  const int64_t begin = std::min(whole.count, part * each);
  const int64_t end = part == parts - 1 ? whole.count : std::min(whole.count, begin + each);
  Call call = whole;
  call.count = end - begin;
  if (call.send != nullptr) call.send = static_cast<const char*>(call.send) + begin * element;
  if (call.receive != nullptr) call.receive = static_cast<char*>(call.receive) + begin * element;
  return call;
}

}  // namespace

ChannelsCommunicator::ChannelsCommunicator(Channels channels, int64_t part_bytes, absl::Duration patience, const Clock& clock)
    : channels_(std::move(channels)),
      used_(static_cast<int>(channels_.size())),
      part_bytes_(part_bytes),
      clock_(clock),
      team_(patience, clock),
      statuses_(channels_.size()) {
  RM_CHECK(!channels_.empty() && part_bytes > 0) << channels_.size() << " channels, parts of " << part_bytes << " bytes";
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
  while (kept < channels()) {
    // What rank 0 finds counts.
    auto rounds = static_cast<int32_t>(std::clamp<int64_t>(kTrial / least, kFewestRounds, kMostRounds));
    const int tried = std::min(2 * kept, channels());
    RM_RETURN_IF_ERROR(Broadcast(&rounds, 1, DataType::kI32, /*root=*/0, timeout));
    RM_ASSIGN_OR_RETURN(const absl::Duration took, TimeWith(tried, rounds, timeout));
    uint8_t worth = took * kWorth <= least ? 1 : 0;
    RM_RETURN_IF_ERROR(Broadcast(&worth, 1, DataType::kU8, /*root=*/0, timeout));
    if (worth == 0) break;
    kept = tried;
    least = took;
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
  for (const auto& channel : channels_) channel->Abort(reason);
}

int ChannelsCommunicator::PartsOf(const Call& call) const {
  if (!CanBeCut(call.operation)) return 1;
  const int64_t parts = call.count / std::max<int64_t>(1, part_bytes_ / static_cast<int64_t>(BytesPerElement(call.type)));
  return static_cast<int>(std::clamp<int64_t>(parts, 1, used_));
}

std::string ChannelsCommunicator::Explain(const Call& call) const {
  const int parts = PartsOf(call);
  if (parts == 1) return channels_[0]->Explain(call);
  return absl::StrCat(Describe(call), ": in ", parts, " parts at the same time, each on a channel of its own; a part is\n",
                      channels_[0]->Explain(CutOut(call, 0, parts)));
}

absl::Status ChannelsCommunicator::Broken() const {
  MutexLock lock(&mu_);
  return broken_;
}

absl::Status ChannelsCommunicator::Execute(const Call& call, absl::Duration timeout) {
  RM_RETURN_IF_ERROR(Broken());
  ++sequence_;
  const int parts = PartsOf(call);
  if (parts == 1) return End(channels_[0]->Run(call, timeout), *channels_[0]);
  team_.Run(parts, [&](int part) {
    const HostCommunicator::Part cut{
        .call = CutOut(call, part, parts), .whole_count = call.count, .sequence = sequence_, .index = part, .parts = parts};
    statuses_[part] = channels_[part]->RunPart(cut, timeout);
  });
  // All channels have ended by themselves. The first one knows best: a peer in another operation is not on the others.
  for (int part = 0; part < parts; ++part) {
    if (!statuses_[part].ok()) return End(statuses_[part], *channels_[part]);
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
