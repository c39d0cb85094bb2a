// The nouns of the control plane as plain structs: what the core keeps, compares and hands out. No proto, no I/O.
#ifndef RINGMASTER_COORDINATOR_CORE_TYPES_H_
#define RINGMASTER_COORDINATOR_CORE_TYPES_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/ids.h"
#include "coordinator/core/fault.h"

namespace ringmaster::coordinator {

using StreamId = NumberId<struct StreamIdTag, uint64_t>;  // one connection of a worker
using CallId = NumberId<struct CallIdTag, uint64_t>;      // one call that waits for its reply

//            +-----------------------------------------------------------+
//            v                                                           |
//  Pending -> Starting -> Running -> Recovering -------------------------+ (epoch + 1)
//     |          |           |           |
//     |          +-----------+-----------+--> Draining -> Succeeded | Failed | Cancelled
//     +---------------------------------------------------------------------------^
//  Elastic jobs also go from Running to Starting (epoch + 1), when there is room for more ranks.
enum class JobState {
  kPending,     // no epoch yet: waits for slots
  kStarting,    // an epoch is open, not every rank has joined
  kRunning,     // every rank has joined
  kRecovering,  // a rank was lost: the others wait with their state, or stop; back-off runs, slots are looked for
  kDraining,    // the end is decided: ranks are stopping
  kSucceeded,
  kFailed,
  kCancelled,
};
inline constexpr int kJobStates = 8;

enum class RankState {
  kAssigned,  // its worker was told, or will be when it attaches again
  kStarted,   // the process runs
  kJoined,    // the trainer has joined the epoch
  kExited,
  kLost,  // its worker is gone
};

const char* Name(JobState state);
const char* Name(RankState state);
inline bool IsFinished(JobState state) { return state >= JobState::kSucceeded; }
inline bool IsEnded(RankState state) { return state >= RankState::kExited; }

// What the control plane needs of a job's spec; the rest travels unread.
struct JobSpec {
  std::string name;
  int world_size = 1;
  int min_world_size = 1;  // below world_size: the job is elastic, it runs with as many as there are, and grows
  int nodes = 0;           // 0 = wherever slots are free
  int slots_per_node = 0;  // with nodes
  bool joins = true;       // ranks call Join; false for a user's command, whose ranks count as running once started
  int max_failures = 0;
  absl::Duration backoff;
  absl::Duration backoff_max;
  absl::Duration stop_grace;
  std::optional<absl::Duration> hang_after;  // a rank that a verdict names for so long is replaced
  std::map<Fault, Remedy> remedies;          // where they differ from what is done by default
  absl::Duration host_cool_down;             // of a host that a remedy excludes
  std::optional<absl::Duration> time_limit;
  int keep_checkpoints = 2;
  std::string serialized;  // ringmaster.v1.JobSpec

  bool operator==(const JobSpec&) const = default;
};

struct Progress {
  int64_t step = 0;
  int64_t total_steps = 0;
  std::string phase;
  std::optional<double> train_loss;
  std::optional<double> validation_loss;
  std::optional<double> validation_accuracy;
  int64_t validation_step = 0;
  double tokens_per_second = 0;
  double samples_per_second = 0;
  double communication_share = 0;
  double learning_rate = 0;
  double gradient_norm = 0;
  uint64_t collectives = 0;      // entered so far in this epoch
  bool is_stopped = false;       // by SIGSTOP or a debugger
  Fault trouble = Fault::kNone;  // what the trainer itself says is wrong
  int waits_for = -1;            // the rank for which it waits in a collective for long; -1: for none that it knows
  uint64_t last_call = 0;        // which collective it entered last: equal calls are equal numbers

  bool operator==(const Progress&) const = default;
};

// A trainer process as its worker names it.
struct HostedRank {
  JobId job;
  Epoch epoch;
  Rank rank;
  Incarnation incarnation;
  int64_t pid = 0;

  bool operator==(const HostedRank&) const = default;
};

// A trainer as it names itself.
struct RankIdentity {
  JobId job;
  Epoch epoch;
  Rank rank;
  Incarnation incarnation;

  bool operator==(const RankIdentity&) const = default;
};

// Where a rank runs and how it is. Position in Job::ranks = rank.
struct RankPlace {
  WorkerId worker;
  Incarnation worker_incarnation;
  std::string address;
  int slot = 0;
  int local_rank = 0;
  int group_rank = 0;       // place of the host among the job's hosts
  Incarnation incarnation;  // of the trainer
  Epoch since;              // in which its process was started
  RankState state = RankState::kAssigned;
  int64_t pid = 0;
  std::string device;
  int exit_code = 0;
  bool stays = false;  // its process can go on in the next epoch: it said so when it joined

  bool operator==(const RankPlace&) const = default;
};

struct Failure {
  Epoch epoch;
  Rank rank;
  WorkerId host;
  int64_t pid = 0;
  int exit_code = 0;  // 128 + signal for signals
  int signal = 0;
  bool out_of_memory = false;
  std::string reason;
  std::vector<std::string> stderr_tail;
  absl::Time time;
  Fault fault = Fault::kNone;
  int slot = 0;
  uint64_t last_call = 0;  // of a mismatched call

  bool operator==(const Failure&) const = default;
};

struct EpochInfo {
  Epoch epoch;
  int world_size = 0;
  std::string reason;
  absl::Time opened;

  bool operator==(const EpochInfo&) const = default;
};

struct CheckpointInfo {
  int64_t step = 0;
  std::string path;
  int64_t bytes = 0;
  int world_size = 0;
  std::string digest;
  Epoch epoch;

  bool operator==(const CheckpointInfo&) const = default;
};

struct ShardInfo {
  Rank rank;
  std::string file;
  int64_t bytes = 0;
  uint32_t crc32c = 0;
  std::string detail;  // opaque

  bool operator==(const ShardInfo&) const = default;
};

}  // namespace ringmaster::coordinator

#endif  // RINGMASTER_COORDINATOR_CORE_TYPES_H_
