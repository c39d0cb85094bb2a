// Decisions, as they are written to the store before anything acts on them. Apply (core/job.h) over all of them in order gives the
// jobs back. Heartbeats, progress and workers are no records: they are told again after a restart.
#ifndef RINGMASTER_COORDINATOR_CORE_RECORDS_H_
#define RINGMASTER_COORDINATOR_CORE_RECORDS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "coordinator/core/types.h"

namespace ringmaster::coordinator {

struct JobAccepted {
  JobId job;
  JobSpec spec;
  std::string request_id;
  absl::Time time;
  bool operator==(const JobAccepted&) const = default;
};

// The only way out of a state. Into Draining it also fixes how the job will end.
struct StateChanged {
  JobId job;
  JobState state = JobState::kPending;
  std::string reason;
  absl::Time time;
  JobState outcome = JobState::kPending;  // with Draining and the three ends
  int exit_code = 0;                      // with Draining and the three ends
  int64_t best_step = 0;                  // the highest step reached so far, to see whether restarts make progress
  Progress progress;                      // the last that was heard, so that it outlives the coordinator
  bool operator==(const StateChanged&) const = default;
};

// Ranks that keep their process from the epoch before are in state kStarted, all others in kAssigned.
struct EpochOpened {
  JobId job;
  Epoch epoch;
  std::string reason;
  absl::Time time;
  std::vector<RankPlace> ranks;
  std::string master_address;
  int master_port = 0;
  bool operator==(const EpochOpened&) const = default;
};

struct RankStartedRecord {
  JobId job;
  Epoch epoch;
  Rank rank;
  int64_t pid = 0;
  std::string device;
  bool operator==(const RankStartedRecord&) const = default;
};

struct RankJoinedRecord {
  JobId job;
  Epoch epoch;
  Rank rank;
  bool stays = false;
  bool operator==(const RankJoinedRecord&) const = default;
};

struct RankEnded {
  JobId job;
  Epoch epoch;
  Rank rank;
  RankState state = RankState::kExited;  // kExited | kLost
  int exit_code = 0;
  std::optional<Failure> failure;  // set when it may be the cause of trouble, not its consequence
  bool operator==(const RankEnded&) const = default;
};

// Ranks have lost each other though none has ended.
struct ContactLost {
  JobId job;
  Failure failure;
  bool operator==(const ContactLost&) const = default;
};

struct KeyPublished {
  JobId job;
  Epoch epoch;
  std::string key;
  std::string value;
  bool operator==(const KeyPublished&) const = default;
};

struct ShardReported {
  JobId job;
  Epoch epoch;
  int64_t step = 0;
  ShardInfo shard;
  bool operator==(const ShardReported&) const = default;
};

struct CheckpointCommitted {
  JobId job;
  CheckpointInfo checkpoint;
  bool operator==(const CheckpointCommitted&) const = default;
};

struct CheckpointRefused {
  JobId job;
  std::string path;
  std::string reason;
  bool operator==(const CheckpointRefused&) const = default;
};

// A verdict as it was given, for people to read.
struct GivenVerdict {
  int64_t number = 0;  // of the job: 1, 2, 3
  Fault fault = Fault::kNone;
  Epoch epoch;
  Rank rank;
  WorkerId host;
  int slot = 0;
  int64_t pid = 0;
  std::string text;                // with the rank's name
  absl::Time since;                // calendar
  std::optional<absl::Time> over;  // calendar; nothing: it holds
  bool operator==(const GivenVerdict&) const = default;
};

struct VerdictGiven {
  JobId job;
  GivenVerdict verdict;
  int64_t of_class = 0;  // how many of its class there have been, with this one
  absl::Time time;       // when the one before is over, if it still held
  bool operator==(const VerdictGiven&) const = default;
};

struct VerdictOver {
  JobId job;
  int64_t number = 0;
  absl::Time time;
  bool operator==(const VerdictOver&) const = default;
};

using Record = std::variant<JobAccepted, StateChanged, EpochOpened, RankStartedRecord, RankJoinedRecord, RankEnded, ContactLost,
                            KeyPublished, ShardReported, CheckpointCommitted, CheckpointRefused, VerdictGiven, VerdictOver>;

}  // namespace ringmaster::coordinator

#endif  // RINGMASTER_COORDINATOR_CORE_RECORDS_H_
