// Protocol <-> core. What the coordinator sends is checked here, before anything is done with it.
#ifndef RINGMASTER_WORKER_RPC_CONVERT_H_
#define RINGMASTER_WORKER_RPC_CONVERT_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "google/protobuf/duration.pb.h"
#include "proto/job.pb.h"
#include "proto/worker_service.pb.h"
#include "worker/core/worker_machine.h"

namespace ringmaster {

inline constexpr absl::Duration kDefaultStopGrace = absl::Seconds(10);

absl::Duration ToDuration(const google::protobuf::Duration& duration);

RunningRank ToRunningRank(const v1::HostedRank& rank);
v1::HostedRank ToHostedRank(const RunningRank& rank, int64_t pid);

// INVALID_ARGUMENT: it names what is wrong (a job id that is no file name, a rank outside the world, a slot this worker lacks,
// ...).
absl::StatusOr<Assignment> ToAssignment(const v1::Assign& assign, int slots);
absl::StatusOr<worker_event::StopRequested> ToStopRequested(const v1::StopRanks& stop);

}  // namespace ringmaster

#endif  // RINGMASTER_WORKER_RPC_CONVERT_H_
