// What happens to the coordinator. Made at the edge from validated input; the driver adds the calendar time and fresh entropy, so
// that the core has neither clock nor random generator and the same events give the same decisions.
#ifndef RINGMASTER_COORDINATOR_CORE_EVENTS_H_
#define RINGMASTER_COORDINATOR_CORE_EVENTS_H_

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "coordinator/core/types.h"

namespace ringmaster::coordinator {

// --- Users ---
struct SubmitJob {
  CallId call;
  JobSpec spec;
  std::string request_id;  // empty = none
};
struct CancelJob {
  CallId call;
  std::string job;  // id or name
};

// --- Workers ---
struct WorkerHello {
  StreamId stream;
  WorkerId worker;
  Incarnation incarnation;
  std::string address;
  int slots = 0;
  int cores = 0;
  std::string version;
  int master_port = 0;
  std::vector<HostedRank> running;
};
struct RankProgress {
  HostedRank rank;
  Progress progress;
};
struct WorkerHeartbeat {
  StreamId stream;
  int master_port = 0;
  std::vector<RankProgress> ranks;
};
struct RankStarted {
  StreamId stream;
  HostedRank rank;
  std::string device;
};
struct RankExited {
  StreamId stream;
  HostedRank rank;
  int exit_code = 0;
  int signal = 0;
  bool out_of_memory = false;
  std::vector<std::string> stderr_tail;
  Progress last_progress;
  std::string error;  // not empty: it could not be started
};
struct WorkerGoodbye {
  StreamId stream;
  std::string reason;
};
struct StreamClosed {
  StreamId stream;
};

// --- Trainers ---
struct JoinEpoch {
  CallId call;
  RankIdentity identity;
  bool stays = false;  // this process can go on in the next epoch; it learns of it by AwaitEpoch
};
struct AwaitEpoch {
  CallId call;
  RankIdentity identity;     // as in the last epoch that it knows
  std::string lost_contact;  // not empty: why it can go on only in the next epoch
  int64_t step = 0;          // that it has completed
  absl::Duration timeout;
};
struct PublishKey {
  CallId call;
  RankIdentity identity;
  std::string key;
  std::string value;
};
struct AwaitKey {
  CallId call;
  RankIdentity identity;
  std::string key;
  absl::Duration timeout;
};
struct ReportShard {
  CallId call;
  RankIdentity identity;
  int64_t step = 0;
  ShardInfo shard;
};
struct AwaitShards {
  CallId call;
  RankIdentity identity;
  int64_t step = 0;
  absl::Duration timeout;
};
struct CommitCheckpoint {
  CallId call;
  RankIdentity identity;
  CheckpointInfo checkpoint;
};
struct RefuseCheckpoint {
  CallId call;
  RankIdentity identity;
  std::string path;
  std::string reason;
};

// --- The driver ---
struct Restarted {};  // the log was replayed: workers get their grace from now
struct Resumed {};    // the store takes records again: what workers said meanwhile is still to come, so their time begins anew
struct Tick {};       // NextDeadline() has come

using EventBody = std::variant<SubmitJob, CancelJob, WorkerHello, WorkerHeartbeat, RankStarted, RankExited, WorkerGoodbye,
                               StreamClosed, JoinEpoch, AwaitEpoch, PublishKey, AwaitKey, ReportShard, AwaitShards,
                               CommitCheckpoint, RefuseCheckpoint, Restarted, Resumed, Tick>;

struct Event {
  EventBody body;
  absl::Time wall;       // calendar: for what people read, and for time limits across restarts
  uint64_t entropy = 0;  // job ids and incarnations come from it
};

}  // namespace ringmaster::coordinator

#endif  // RINGMASTER_COORDINATOR_CORE_EVENTS_H_
