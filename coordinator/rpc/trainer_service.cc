#include "coordinator/rpc/trainer_service.h"

#include "coordinator/rpc/grpc_status.h"
#include "coordinator/rpc/trainer_calls.h"

namespace ringmaster::coordinator {
namespace {

template <typename Request, typename Response>
grpc::ServerUnaryReactor* Take(Driver* driver, grpc::CallbackServerContext* context, const Request* request, Response* response) {
  auto* reactor = context->DefaultReactor();
  TakeTrainerCall(driver, *request, response, [reactor](const absl::Status& status) { reactor->Finish(ToGrpc(status)); });
  return reactor;
}

}  // namespace

grpc::ServerUnaryReactor* TrainerService::Join(grpc::CallbackServerContext* context, const v1::JoinRequest* request,
                                               v1::JoinResponse* response) {
  return Take(driver_, context, request, response);
}

grpc::ServerUnaryReactor* TrainerService::AwaitEpoch(grpc::CallbackServerContext* context, const v1::AwaitEpochRequest* request,
                                                     v1::AwaitEpochResponse* response) {
  return Take(driver_, context, request, response);
}

grpc::ServerUnaryReactor* TrainerService::Publish(grpc::CallbackServerContext* context, const v1::PublishRequest* request,
                                                  v1::PublishResponse* response) {
  return Take(driver_, context, request, response);
}

grpc::ServerUnaryReactor* TrainerService::Await(grpc::CallbackServerContext* context, const v1::AwaitRequest* request,
                                                v1::AwaitResponse* response) {
  return Take(driver_, context, request, response);
}

grpc::ServerUnaryReactor* TrainerService::ReportShard(grpc::CallbackServerContext* context, const v1::ReportShardRequest* request,
                                                      v1::ReportShardResponse* response) {
  return Take(driver_, context, request, response);
}

grpc::ServerUnaryReactor* TrainerService::AwaitShards(grpc::CallbackServerContext* context, const v1::AwaitShardsRequest* request,
                                                      v1::AwaitShardsResponse* response) {
  return Take(driver_, context, request, response);
}

grpc::ServerUnaryReactor* TrainerService::CommitCheckpoint(grpc::CallbackServerContext* context,
                                                           const v1::CommitCheckpointRequest* request,
                                                           v1::CommitCheckpointResponse* response) {
  return Take(driver_, context, request, response);
}

grpc::ServerUnaryReactor* TrainerService::RefuseCheckpoint(grpc::CallbackServerContext* context,
                                                           const v1::RefuseCheckpointRequest* request,
                                                           v1::RefuseCheckpointResponse* response) {
  return Take(driver_, context, request, response);
}

}  // namespace ringmaster::coordinator
