// A communicator of several channels: each is a whole communicator of the same ranks, with connections and a thread of its own.
// Large vectors are cut into a share for each channel, and all shares are sent, received and added at the same time: one stream of
// TCP is as fast as one core copies. What is small, V operations, sends and receives use the first channel alone.
//
// Results are the same bits as on one channel. Where an operation fails, whatever channel it failed on, the peers hear of it on
// all.
#ifndef RINGMASTER_COLLECTIVES_CHANNELS_CHANNELS_COMMUNICATOR_H_
#define RINGMASTER_COLLECTIVES_CHANNELS_CHANNELS_COMMUNICATOR_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "collectives/communicator.h"
#include "collectives/host_communicator.h"
#include "collectives/thread_team.h"
#include "common/clock.h"
#include "common/mutex.h"

namespace ringmaster {

class ChannelsCommunicator final : public Communicator {
 public:
  using Channels = std::vector<std::unique_ptr<HostCommunicator>>;

  // `channels`: at least one; on every rank as many, in the same order. `share_bytes`, the same on all ranks: the smallest share
  // that is worth a channel. `patience`: how long a channel's thread that has nothing to do looks for more before it sleeps.
  ChannelsCommunicator(Channels channels, int64_t share_bytes, absl::Duration patience, const Clock& clock);
  ~ChannelsCommunicator() override = default;

  // Starts the threads. Before the first operation.
  void Start();

  // Collective. Keeps as many channels as a large all-reduce takes the least time with, and closes the others: twice as many as
  // long as that is worth it. Errors: those of an operation; `timeout` is for each of some dozens.
  absl::Status KeepFastest(absl::Duration timeout);

  // HostCommunicator::Tune on all channels.
  void Tune(const selection::Calibration& calibration);

  int rank() const override { return channels_[0]->rank(); }
  int size() const override { return channels_[0]->size(); }
  int channels() const { return static_cast<int>(channels_.size()); }
  void Abort(std::string_view reason) override;
  std::string Explain(const Call& call) const override;

 protected:
  absl::Status Execute(const Call& call, absl::Duration timeout) override;
  absl::Status ExchangePointToPoint(std::span<const Call> calls, absl::Duration timeout) override;

 private:
  int SharesOf(const Call& call) const;
  absl::StatusOr<absl::Duration> TimeWith(int channels, int rounds, absl::Duration timeout);
  absl::Status Broken() const;
  absl::Status End(const absl::Status& status, const HostCommunicator& channel);

  Channels channels_;
  int used_;  // of them
  const int64_t share_bytes_;
  const Clock& clock_;
  ThreadTeam team_;
  std::vector<absl::Status> statuses_;  // of the operation in progress, by channel
  uint64_t sequence_ = 0;

  mutable Mutex mu_;
  absl::Status broken_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ringmaster

#endif  // RINGMASTER_COLLECTIVES_CHANNELS_CHANNELS_COMMUNICATOR_H_
