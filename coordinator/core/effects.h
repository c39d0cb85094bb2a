// What the driver does after the records of a step are on disk, in this order.
#ifndef RINGMASTER_COORDINATOR_CORE_EFFECTS_H_
#define RINGMASTER_COORDINATOR_CORE_EFFECTS_H_

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "coordinator/core/records.h"
#include "coordinator/core/types.h"

namespace ringmaster::coordinator {

// --- Answers to calls ---
struct JobAnswer {  // SubmitJob, CancelJob
  JobId job;
};
struct JoinAnswer {
  std::string serialized_spec;
  int world_size = 0;
  std::vector<CheckpointInfo> checkpoints;  // newest first
};
struct EpochAnswer {      // AwaitEpoch
  RankIdentity identity;  // in the current epoch
};
struct ValueAnswer {
  std::string value;
};
struct ShardsAnswer {
  std::vector<ShardInfo> shards;  // by rank
};
struct DeleteAnswer {  // CommitCheckpoint
  std::vector<CheckpointInfo> checkpoints;
};
using Answer = std::variant<std::monostate, JobAnswer, JoinAnswer, EpochAnswer, ValueAnswer, ShardsAnswer, DeleteAnswer>;

struct Reply {
  CallId call;
  absl::Status status;
  Answer answer;
};

// --- Messages to workers ---
struct SendWelcome {
  StreamId stream;
  absl::Duration lease;
  std::vector<HostedRank> stale;
};
struct AssignedRank {
  Rank rank;
  int local_rank = 0;
  int slot = 0;
  Incarnation incarnation;
  bool keeps_process = false;  // it runs there already, as a rank of an epoch before
};
struct SendAssign {
  StreamId stream;
  JobId job;
  Epoch epoch;
  std::string serialized_spec;
  int world_size = 0;
  std::string master_address;
  int master_port = 0;
  int group_rank = 0;
  int group_world_size = 0;
  int restart_count = 0;
  int max_restarts = 0;
  std::vector<AssignedRank> ranks;
};
struct SendStop {
  StreamId stream;
  JobId job;
  Epoch epoch;
  absl::Duration grace;
  std::optional<Incarnation> only = {};  // one process, which hangs; the others go on
};
struct SendExitSeen {
  StreamId stream;
  HostedRank rank;
};
struct CloseStream {
  StreamId stream;
  absl::Status status;
};

// --- News ---
struct JobChanged {  // watchers look at the job again
  JobId job;
  bool progress_only = false;
};
struct Announce {  // one line for the log
  std::string line;
};

using Effect = std::variant<Reply, SendWelcome, SendAssign, SendStop, SendExitSeen, CloseStream, JobChanged, Announce>;

struct Outcome {
  std::vector<Record> records;
  std::vector<Effect> effects;
};

}  // namespace ringmaster::coordinator

#endif  // RINGMASTER_COORDINATOR_CORE_EFFECTS_H_
