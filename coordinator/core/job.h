// One job as the log tells it, and how records fold into it.
#ifndef RINGMASTER_COORDINATOR_CORE_JOB_H_
#define RINGMASTER_COORDINATOR_CORE_JOB_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "coordinator/core/checkpoint_ledger.h"
#include "coordinator/core/records.h"
#include "coordinator/core/rendezvous_keys.h"
#include "coordinator/core/step_times.h"
#include "coordinator/core/types.h"
#include "coordinator/core/verdict.h"

namespace ringmaster::coordinator {

inline constexpr size_t kMostVerdicts = 32;

// What the records say.
struct Job {
  JobId id;
  JobSpec spec;
  std::string request_id;
  JobState state = JobState::kPending;
  std::string reason;
  absl::Time submitted;
  std::optional<absl::Time> started;
  std::optional<absl::Time> finished;

  Epoch epoch;
  std::vector<RankPlace> ranks;  // of the current epoch, by rank
  std::string master_address;
  int master_port = 0;
  std::vector<EpochInfo> epochs;
  std::vector<Failure> failures;  // by epoch; within one the root cause first
  int failed_epochs = 0;
  int fruitless_restarts = 0;  // in a row, without a new highest step
  int64_t best_step = -1;
  Progress progress;  // when the state last changed

  JobState outcome = JobState::kPending;  // how it will end, once Draining
  int exit_code = 0;

  std::vector<GivenVerdict> verdicts;       // the newest kMostVerdicts, oldest first; all but the last are over
  std::map<Fault, int64_t> verdict_counts;  // ever given

  RendezvousKeys keys;
  CheckpointLedger ledger;

  bool operator==(const Job&) const = default;
};

// What heartbeats told. True whether or not a step is taken back, so copies of the job share it: a heartbeat copies nothing.
struct Observed {
  std::map<Rank, RankView> ranks;              // of this epoch
  StepTimes steps;                             // of this epoch
  absl::Time moved_at = absl::InfinitePast();  // when a rank was last seen to get on
  std::optional<Progress> progress;
  int64_t best_step = 0;
  absl::Time joined_at = absl::InfinitePast();  // when the last rank joined
  std::optional<Rank> slowest = {};             // a straggler, as far as the last heartbeats tell
  absl::Time slowest_since = {};
};

// What is told again after a restart.
struct JobLive {
  struct KeyWaiter {
    CallId call;
    Rank rank;
    std::string key;
    absl::Time deadline;
  };
  struct EpochWaiter {
    CallId call;
    RankIdentity identity;
    absl::Time deadline;
  };
  struct ShardWaiter {
    CallId call;
    int64_t step = 0;
    absl::Time deadline;
  };

  std::shared_ptr<Observed> observed = std::make_shared<Observed>();
  std::optional<Verdict> verdict;  // why it does not step, while it does not
  std::string verdict_text;        // with the rank's name; empty = it steps
  std::string waiting_reason;      // why no epoch can be opened now
  std::optional<absl::Time> time_limit_at;
  std::optional<absl::Time> cause_deadline;     // Recovering: until then a better cause than "a peer was lost" may come
  absl::Time opened_at = absl::InfinitePast();  // the current epoch
  std::optional<absl::Time> gather_until;       // elastic: until then more slots may come than there are
  std::optional<absl::Time> restart_at;         // Recovering: back-off
  bool stop_sent = false;                       // ranks of this epoch were told to stop
  std::map<Rank, absl::Time> missing;           // its worker came back without it: its exit is reported by then, or it is lost
  absl::Time cool_down_until = absl::InfinitePast();  // a host that was left out may be used again
  std::map<Rank, std::string> lost_contact;           // of this epoch: who lost the others, and why
  std::vector<EpochWaiter> epoch_waiters;
  std::vector<KeyWaiter> key_waiters;
  std::vector<ShardWaiter> shard_waiters;
  absl::Time first_deadline = absl::InfiniteFuture();  // no waiter's time is over before; one that went away may leave it early
};

struct JobEntry {
  Job job;
  JobLive live;
};

// Copies share entries; the machine clones one before it changes it, so that a step can be taken back.
struct Jobs {
  std::map<JobId, std::shared_ptr<const JobEntry>> by_id;
  std::vector<JobId> order;  // of submission

  const JobEntry* Find(const JobId& id) const;
  // An id, or a name: then the newest job of that name.
  const JobEntry* FindByIdOrName(const std::string& job) const;
  JobEntry* Mutable(const JobId& id);  // null when there is none
};

// Folds a record in. Records of unknown jobs change nothing.
void Apply(const Record& record, Jobs* jobs);

const JobId& JobOf(const Record& record);

// Whether replaying the log without this record gives the same jobs: keys, shards and per-rank notes of epochs that are over, old
// verdicts.
bool IsSuperseded(const Record& record, const Jobs& jobs);

// The verdict that holds; null when there is none.
const GivenVerdict* HeldVerdict(const Job& job);
bool AllRanksEnded(const Job& job);
// Whether a rank lives whose process goes on in the next epoch.
bool AnyRankStays(const Job& job);
// The live rank of this process in the current epoch; nothing when there is none. `guess` is looked at first.
std::optional<Rank> RankOf(const Job& job, Incarnation incarnation, Rank guess = Rank(0));
// The first failure of the current epoch; null when there is none.
const Failure* RootCause(const Job& job);
// "rank 1 (h2, pid 812) killed by SIGKILL"
std::string Describe(const Failure& failure);

}  // namespace ringmaster::coordinator

#endif  // RINGMASTER_COORDINATOR_CORE_JOB_H_
