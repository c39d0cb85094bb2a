// When a worker's heartbeat is worth sending. While all ranks step and nothing else changes, one in a while is enough for the lease
// and for whoever watches; when a rank stands still, or something about it is new, the coordinator must hear of it soon. A
// heartbeat costs the ranks of a crowded host about a millisecond; a look at their boards costs microseconds. Pure; one thread.
#ifndef RINGMASTER_WORKER_RANK_HEARTBEAT_PACE_H_
#define RINGMASTER_WORKER_RANK_HEARTBEAT_PACE_H_

#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "common/ids.h"
#include "common/progress_board.h"

namespace ringmaster {

// What of a rank's board tells whether there is news.
struct RankLook {
  RankLook() = default;
  RankLook(Incarnation process, Epoch in, const ProgressBoard& board);

  Incarnation incarnation;
  Epoch epoch;
  TrainerPhase phase = TrainerPhase::kStarting;
  TrainerTrouble trouble = TrainerTrouble::kNone;
  int64_t step = 0;
  int64_t total_steps = 0;
  int64_t validation_step = -1;
  uint64_t collectives = 0;
  double communication_share = 0;
};

struct WorkerLook {
  int master_port = 0;
  std::vector<RankLook> ranks;  // always in the same order
};

class HeartbeatPace {
 public:
  static constexpr absl::Duration kSoon = absl::Milliseconds(200);  // between two heartbeats that have news
  static constexpr absl::Duration kNew = absl::Seconds(5);  // for so long ranks themselves are news: somebody watches the start

  // At most so long between two heartbeats.
  void set_quiet(absl::Duration quiet) { quiet_ = quiet; }

  // What there is to be seen now. True: send it. Two looks must be apart for long enough that a rank that steps is seen to step.
  bool IsDue(const WorkerLook& look, absl::Time now);

 private:
  absl::Duration quiet_ = absl::Seconds(1);
  absl::Time sent_at_ = absl::InfinitePast();
  absl::Time new_until_ = absl::InfinitePast();
  WorkerLook sent_;
  WorkerLook before_;  // the last look
};

}  // namespace ringmaster

#endif  // RINGMASTER_WORKER_RANK_HEARTBEAT_PACE_H_
