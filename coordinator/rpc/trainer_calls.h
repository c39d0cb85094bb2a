// What trainers call, whichever way it comes: by itself (trainer_service.h) or with others through their worker (worker_streams.h).
// Each call becomes one event; the core answers it at once or later.
#ifndef RINGMASTER_COORDINATOR_RPC_TRAINER_CALLS_H_
#define RINGMASTER_COORDINATOR_RPC_TRAINER_CALLS_H_

#include <functional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/driver.h"
#include "proto/trainer_service.pb.h"

namespace ringmaster::coordinator {

// INVALID_ARGUMENT names the field.
absl::StatusOr<JoinEpoch> ToEvent(const v1::JoinRequest& request);
absl::StatusOr<AwaitEpoch> ToEvent(const v1::AwaitEpochRequest& request);
absl::StatusOr<PublishKey> ToEvent(const v1::PublishRequest& request);
absl::StatusOr<AwaitKey> ToEvent(const v1::AwaitRequest& request);
absl::StatusOr<ReportShard> ToEvent(const v1::ReportShardRequest& request);
absl::StatusOr<AwaitShards> ToEvent(const v1::AwaitShardsRequest& request);
absl::StatusOr<CommitCheckpoint> ToEvent(const v1::CommitCheckpointRequest& request);
absl::StatusOr<RefuseCheckpoint> ToEvent(const v1::RefuseCheckpointRequest& request);

void Fill(const Answer& answer, v1::JoinResponse* response);
void Fill(const Answer& answer, v1::AwaitEpochResponse* response);
void Fill(const Answer& answer, v1::PublishResponse* response);
void Fill(const Answer& answer, v1::AwaitResponse* response);
void Fill(const Answer& answer, v1::ReportShardResponse* response);
void Fill(const Answer& answer, v1::AwaitShardsResponse* response);
void Fill(const Answer& answer, v1::CommitCheckpointResponse* response);
void Fill(const Answer& answer, v1::RefuseCheckpointResponse* response);

// `finish` is called once: here when the request makes no sense, else on the driver's thread, with `*response` filled when OK.
// Until then
// `*response` lives.
template <typename Request, typename Response>
void TakeTrainerCall(Driver* driver, const Request& request, Response* response, std::function<void(const absl::Status&)> finish) {
  auto event = ToEvent(request);
  if (!event.ok()) return finish(event.status());
  driver->Call(*std::move(event), [response, finish = std::move(finish)](const absl::Status& status, const Answer& answer) {
    if (status.ok()) Fill(answer, response);
    finish(status);
  });
}

// The same in bytes, by the method's name in TrainerService.
//   UNIMPLEMENTED     no such method
//   INVALID_ARGUMENT  the bytes are no such request
void TakeTrainerCall(Driver* driver, const std::string& method, const std::string& request,
                     std::function<void(const absl::Status&, std::string response)> finish);

}  // namespace ringmaster::coordinator

#endif  // RINGMASTER_COORDINATOR_RPC_TRAINER_CALLS_H_
