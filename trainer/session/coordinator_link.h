// A trainer's side of TrainerService: identity on every request, retries with back-off while the coordinator is away (its restart
// must not disturb a running trainer), errors as docs/protocol.md lists them. Faked in tests by an in-memory coordinator.
#ifndef RINGMASTER_TRAINER_SESSION_COORDINATOR_LINK_H_
#define RINGMASTER_TRAINER_SESSION_COORDINATOR_LINK_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "collectives/rendezvous.h"
#include "common/ids.h"
#include "proto/trainer_service.pb.h"

namespace ringmaster::trainer {

// Who this trainer is; from the environment contract (common/environment.h), read by main alone.
struct TrainerIdentity {
  std::string coordinator;  // host:port
  std::string relay = {};   // gRPC target at which the worker passes calls on to it; empty: they go there directly
  JobId job;
  Epoch epoch;
  Rank rank;
  Incarnation incarnation;
  std::string host;     // worker's name
  std::string address;  // of this host, for peers
  int local_rank = 0;
  int threads = 1;
};

// Said with AwaitEpoch by a rank that cannot go on in its epoch.
struct LostContact {
  std::string why;   // empty: all is well here
  int64_t step = 0;  // that it has completed
};

// Thread-safe. Every call: UNAVAILABLE or DEADLINE_EXCEEDED when no answer came within `timeout` (retries included),
// ABORTED when this epoch or incarnation is old.
class CoordinatorLink : public Rendezvous {
 public:
  // From a process that goes on in the next epoch when this one breaks.
  virtual absl::StatusOr<v1::JoinResponse> Join(absl::Duration timeout) = 0;
  // Waits for an epoch after this link's; who this process is in it. DEADLINE_EXCEEDED: there is none yet. ABORTED: the job goes on
  // without this process, or not at all. CANCELLED: CancelAwaitEpoch was called.
  virtual absl::StatusOr<TrainerIdentity> AwaitEpoch(const LostContact& lost, absl::Duration timeout) = 0;
  // Ends every AwaitEpoch of this link, now and ever after.
  virtual void CancelAwaitEpoch() = 0;
  // Another link over the same connection. May outlive this one.
  virtual std::unique_ptr<CoordinatorLink> LinkFor(const TrainerIdentity& identity) = 0;
  virtual absl::Status ReportShard(int64_t step, const v1::ShardInfo& shard, absl::Duration timeout) = 0;
  virtual absl::StatusOr<std::vector<v1::ShardInfo>> AwaitShards(int64_t step, absl::Duration timeout) = 0;
  virtual absl::StatusOr<std::vector<v1::CheckpointInfo>> CommitCheckpoint(const v1::CheckpointInfo& checkpoint,
                                                                           absl::Duration timeout) = 0;
  virtual absl::Status RefuseCheckpoint(const std::string& path, const std::string& reason, absl::Duration timeout) = 0;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_SESSION_COORDINATOR_LINK_H_
