// What is wrong with a job whose ranks live, as seen from outside: from what each rank's progress board says, and since when it
// says so. Pure. The idea: ranks of one job enter the same collectives in the same order, so whoever keeps the others waiting is
// the one that is behind, whatever it does there; and of ranks that step together the one that never waits is the one that is
// waited for.
#ifndef RINGMASTER_COORDINATOR_CORE_VERDICT_H_
#define RINGMASTER_COORDINATOR_CORE_VERDICT_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "coordinator/core/types.h"

namespace ringmaster::coordinator {

// What is known of one rank that lives.
struct RankView {
  int64_t step = 0;
  std::string phase;
  uint64_t collectives = 0;        // entered so far in this epoch
  bool is_stopped = false;         // by SIGSTOP or a debugger
  Fault trouble = Fault::kNone;    // what the trainer says is wrong
  double communication_share = 0;  // 0..1 of its recent steps, spent waiting in collectives
  int waits_for = -1;              // the rank for which it waits in a collective for long; -1: for none that it knows
  absl::Time since;                // when the coordinator first saw all this
  int times_seen = 0;              // by how many heartbeats: a machine that stood still itself tells nothing
  absl::Time step_since;           // when it first saw this step
  uint64_t turn = 0;               // of the coordinator, in which the newest heartbeat was taken; those of one turn count once
  absl::Time trouble_since = {};   // when it first saw this trouble
};

struct Verdict {
  Fault fault = Fault::kNeverEntered;
  Rank rank;  // kNetwork: for which most of the others wait; where they do not know, the lowest
  absl::Time since;
  std::string text;  // "did not enter collective 512: it is in data for 1.9 s; ranks 0, 1, 3 wait"

  bool IsSame(const Verdict& other) const { return fault == other.fault && rank == other.rank && since == other.since; }
};

// A rank stands still when so many heartbeats in a row say the same of it.
inline constexpr int kTellingHeartbeats = 3;

// `views` by rank. Nothing while any rank gets on, or has stood still for less than `patience` or kTellingHeartbeats, nor when all
// compute: steps may be long.
std::optional<Verdict> Judge(const std::vector<RankView>& views, absl::Time now, absl::Duration patience);

// The same where nobody waits, because there is one rank alone or all hang in the same place: the one that has stood still longest
// in data or compute. Nothing while any rank gets on or is in a phase that may take its time.
std::optional<Verdict> JudgeAlone(const std::vector<RankView>& views, absl::Time now, absl::Duration patience);

// A rank whose board says that all is done, and whose process is still there after `patience`.
std::optional<Verdict> JudgeExits(const std::map<Rank, RankView>& views, absl::Time now, absl::Duration patience);

// Of an epoch that has not begun: the first rank that has not joined and has stood still for `patience`.
// `absent`: ranks that have not joined; `joined`: how many have.
std::optional<Verdict> JudgeArrivals(const std::map<Rank, RankView>& absent, int joined, absl::Time now, absl::Duration patience);

// What a trainer itself says is wrong, while it goes on.
std::optional<Verdict> JudgeTroubles(const std::vector<RankView>& views, absl::Time now);

// The straggler: the rank whose own work fills its steps (kSlowest of the share of the others, and kSlowShare more) while the
// others wait for it.
inline constexpr double kSlowest = 2.5;
inline constexpr double kSlowShare = 0.3;
std::optional<Verdict> JudgePace(const std::vector<RankView>& views, absl::Time since);

}  // namespace ringmaster::coordinator

#endif  // RINGMASTER_COORDINATOR_CORE_VERDICT_H_
