// When a worker's heartbeat is worth sending. While all ranks step and nothing else changes, one in a while is enough for the lease
// and for whoever watches; when a rank stands still, or something about it is new, the coordinator must hear of it soon. A
// heartbeat costs the ranks of a crowded host about a millisecond; a look at their boards costs microseconds. Pure; one thread.
#ifndef RINGMASTER_WORKER_RANK_HEARTBEAT_PACE_H_
#define RINGMASTER_WORKER_RANK_HEARTBEAT_PACE_H_

#include "absl/time/time.h"
#include "proto/worker_service.pb.h"

namespace ringmaster {

class HeartbeatPace {
 public:
  static constexpr absl::Duration kSoon = absl::Milliseconds(200);  // between two heartbeats that have news

  // At most so long between two heartbeats.
  void set_quiet(absl::Duration quiet) { quiet_ = quiet; }

  // What the boards show now. True: send it. Two looks must be apart for long enough that a rank that steps is seen to step.
  bool IsDue(const v1::Heartbeat& look, absl::Time now);

  void Sent(const v1::Heartbeat& heartbeat, absl::Time now);

 private:
  absl::Duration quiet_ = absl::Seconds(1);
  absl::Time sent_at_ = absl::InfinitePast();
  v1::Heartbeat sent_;
  v1::Heartbeat before_;  // the last look
};

}  // namespace ringmaster

#endif  // RINGMASTER_WORKER_RANK_HEARTBEAT_PACE_H_
