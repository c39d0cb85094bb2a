// TrainerService: the calls of trainer_calls.h, one by one.
#ifndef RINGMASTER_COORDINATOR_RPC_TRAINER_SERVICE_H_
#define RINGMASTER_COORDINATOR_RPC_TRAINER_SERVICE_H_

#include "coordinator/driver.h"
#include "proto/trainer_service.grpc.pb.h"

namespace ringmaster::coordinator {

// Thread-safe.
class TrainerService final : public v1::TrainerService::CallbackService {
 public:
  explicit TrainerService(Driver* driver) : driver_(driver) {}

  grpc::ServerUnaryReactor* Join(grpc::CallbackServerContext* context, const v1::JoinRequest* request,
                                 v1::JoinResponse* response) override;
  grpc::ServerUnaryReactor* AwaitEpoch(grpc::CallbackServerContext* context, const v1::AwaitEpochRequest* request,
                                       v1::AwaitEpochResponse* response) override;
  grpc::ServerUnaryReactor* Publish(grpc::CallbackServerContext* context, const v1::PublishRequest* request,
                                    v1::PublishResponse* response) override;
  grpc::ServerUnaryReactor* Await(grpc::CallbackServerContext* context, const v1::AwaitRequest* request,
                                  v1::AwaitResponse* response) override;
  grpc::ServerUnaryReactor* ReportShard(grpc::CallbackServerContext* context, const v1::ReportShardRequest* request,
                                        v1::ReportShardResponse* response) override;
  grpc::ServerUnaryReactor* AwaitShards(grpc::CallbackServerContext* context, const v1::AwaitShardsRequest* request,
                                        v1::AwaitShardsResponse* response) override;
  grpc::ServerUnaryReactor* CommitCheckpoint(grpc::CallbackServerContext* context, const v1::CommitCheckpointRequest* request,
                                             v1::CommitCheckpointResponse* response) override;
  grpc::ServerUnaryReactor* RefuseCheckpoint(grpc::CallbackServerContext* context, const v1::RefuseCheckpointRequest* request,
                                             v1::RefuseCheckpointResponse* response) override;

 private:
  Driver* const driver_;
};

}  // namespace ringmaster::coordinator

#endif  // RINGMASTER_COORDINATOR_RPC_TRAINER_SERVICE_H_
