// Why a job that runs does not step, as seen from outside: from what each rank's progress board says, and since when it says so.
// Pure. The idea: ranks of one job enter the same collectives in the same order, so whoever keeps the others waiting is the one that
// is behind, whatever it does there.
#ifndef RINGMASTER_COORDINATOR_CORE_VERDICT_H_
#define RINGMASTER_COORDINATOR_CORE_VERDICT_H_

#include <cstdint>
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
  uint64_t collectives = 0;  // entered so far in this epoch
  bool is_stopped = false;   // by SIGSTOP or a debugger
  absl::Time since;          // when the coordinator first saw all this
  int times_seen = 0;        // by how many heartbeats: a machine that stood still itself tells nothing
  absl::Time step_since;     // when it first saw this step
  uint64_t turn = 0;         // of the coordinator, in which the newest heartbeat was taken; those of one turn count once
};

enum class Fault {
  kStopped,         // SIGSTOP, a debugger, a frozen cgroup
  kStuckInData,     // reading the next batch
  kStuckInCompute,  // forward, backward, optimizer
  kStuckInDisk,     // in a checkpoint
  kNeverEntered,    // anything else, while the others wait in a collective
  kNetwork,         // all ranks are in the same collective, and none gets on
};

const char* Name(Fault fault);

struct Verdict {
  Fault fault = Fault::kNeverEntered;
  Rank rank;  // kNetwork: the lowest
  absl::Time since;
  std::string text;  // "did not enter collective 512: it is in data for 1.9 s; ranks 0, 1, 3 wait"

  bool IsSame(const Verdict& other) const { return fault == other.fault && rank == other.rank && since == other.since; }
};

// A rank stands still when so many heartbeats in a row say the same of it.
inline constexpr int kTellingHeartbeats = 3;

// `views` by rank. Nothing while any rank gets on, or has stood still for less than `patience` or kTellingHeartbeats, nor when all
// compute: steps may be long.
std::optional<Verdict> Judge(const std::vector<RankView>& views, absl::Time now, absl::Duration patience);

}  // namespace ringmaster::coordinator

#endif  // RINGMASTER_COORDINATOR_CORE_VERDICT_H_
