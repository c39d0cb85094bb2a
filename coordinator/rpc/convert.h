// proto <-> core structs. Validation of what comes over the wire happens here and nowhere later.
#ifndef RINGMASTER_COORDINATOR_RPC_CONVERT_H_
#define RINGMASTER_COORDINATOR_RPC_CONVERT_H_

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "coordinator/core/effects.h"
#include "coordinator/core/events.h"
#include "coordinator/core/job.h"
#include "coordinator/core/membership.h"
#include "coordinator/core/types.h"
#include "proto/job_service.pb.h"
#include "proto/trainer_service.pb.h"
#include "proto/worker_service.pb.h"

namespace ringmaster::coordinator {

// --- In: each gives INVALID_ARGUMENT with what was found and what was expected ---
// The spec as the CLI has completed it; unset durations get the documented defaults.
absl::StatusOr<JobSpec> FromProto(const v1::JobSpec& spec);
absl::StatusOr<WorkerHello> FromProto(const v1::Hello& hello, StreamId stream);
absl::StatusOr<RankIdentity> FromProto(const v1::RankIdentity& identity);
absl::StatusOr<ShardInfo> FromProto(const v1::ShardInfo& shard);
absl::StatusOr<CheckpointInfo> FromProto(const v1::CheckpointInfo& checkpoint);
// A wait on behalf of a caller: above 0, at most 10 minutes.
absl::StatusOr<absl::Duration> WaitFromProto(const google::protobuf::Duration& timeout);
HostedRank FromProto(const v1::HostedRank& rank);
Progress FromProto(const v1::Progress& progress);
WorkerHeartbeat FromProto(const v1::Heartbeat& heartbeat, StreamId stream);
RankStarted FromProto(const v1::RankStarted& started, StreamId stream);
RankExited FromProto(const v1::RankExited& exited, StreamId stream);

// --- Out ---
v1::Progress ToProto(const Progress& progress);
v1::HostedRank ToProto(const HostedRank& rank);
v1::RankIdentity ToProto(const RankIdentity& identity);
v1::ShardInfo ToProto(const ShardInfo& shard);
v1::CheckpointInfo ToProto(const CheckpointInfo& checkpoint);
v1::JobStatus ToProto(const JobEntry& entry);
v1::JobState ToProto(JobState state);
v1::RankState ToProto(RankState state);
v1::RankStatus ToProto(const RankPlace& place, Rank rank);
v1::WorkerStatus ToProto(const Worker& worker, int free_slots, absl::Time now);
// SendWelcome, SendAssign, SendStop or SendExitSeen; an effect of another kind is our own bug.
v1::CoordinatorMessage ToProto(const Effect& effect);

google::protobuf::Duration ToProto(absl::Duration duration);
google::protobuf::Timestamp ToProto(absl::Time time);

}  // namespace ringmaster::coordinator

#endif  // RINGMASTER_COORDINATOR_RPC_CONVERT_H_
