#include "coordinator/rpc/trainer_service.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/check.h"
#include "coordinator/rpc/convert.h"
#include "coordinator/rpc/grpc_status.h"

namespace ringmaster::coordinator {
namespace {

constexpr size_t kLongestKey = 512;
constexpr size_t kLongestValue = 64 << 10;
constexpr size_t kLongestReason = 4096;

absl::Status CheckKey(const std::string& key) {
  if (!key.empty() && key.size() <= kLongestKey) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("key: ", key.size(), " bytes; 1 to ", kLongestKey, " are expected"));
}

absl::Status CheckStep(int64_t step) {
  if (step >= 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("step: ", step, " is negative"));
}

grpc::ServerUnaryReactor* Refuse(grpc::ServerUnaryReactor* reactor, const absl::Status& status) {
  reactor->Finish(ToGrpc(status));
  return reactor;
}

}  // namespace

grpc::ServerUnaryReactor* TrainerService::Join(grpc::CallbackServerContext* context, const v1::JoinRequest* request,
                                               v1::JoinResponse* response) {
  auto* reactor = context->DefaultReactor();
  absl::StatusOr<RankIdentity> identity = FromProto(request->identity());
  if (!identity.ok()) return Refuse(reactor, identity.status());
  driver_->Call(JoinEpoch{{}, *std::move(identity), request->stays()}, [=](const absl::Status& status, const Answer& answer) {
    if (status.ok()) {
      const auto& join = std::get<JoinAnswer>(answer);
      RM_CHECK(response->mutable_spec()->ParseFromString(join.serialized_spec)) << "the spec was stored by us";
      response->set_world_size(join.world_size);
      for (const CheckpointInfo& checkpoint : join.checkpoints) *response->add_checkpoints() = ToProto(checkpoint);
      // Last: what the user began from counts only until this job has committed one of its own.
      if (const std::string& resume = response->spec().checkpoint().resume(); !resume.empty())
        response->add_checkpoints()->set_path(resume);
    }
    reactor->Finish(ToGrpc(status));
  });
  return reactor;
}

grpc::ServerUnaryReactor* TrainerService::AwaitEpoch(grpc::CallbackServerContext* context, const v1::AwaitEpochRequest* request,
                                                     v1::AwaitEpochResponse* response) {
  auto* reactor = context->DefaultReactor();
  absl::StatusOr<RankIdentity> identity = FromProto(request->identity());
  if (!identity.ok()) return Refuse(reactor, identity.status());
  if (absl::Status status = CheckStep(request->step()); !status.ok()) return Refuse(reactor, status);
  absl::StatusOr<absl::Duration> timeout = WaitFromProto(request->timeout());
  if (!timeout.ok()) return Refuse(reactor, timeout.status());
  driver_->Call(coordinator::AwaitEpoch{
                    {}, *std::move(identity), request->lost_contact().substr(0, kLongestReason), request->step(), *timeout},
                [=](const absl::Status& status, const Answer& answer) {
                  if (status.ok()) *response->mutable_identity() = ToProto(std::get<EpochAnswer>(answer).identity);
                  reactor->Finish(ToGrpc(status));
                });
  return reactor;
}

grpc::ServerUnaryReactor* TrainerService::Publish(grpc::CallbackServerContext* context, const v1::PublishRequest* request,
                                                  v1::PublishResponse*) {
  auto* reactor = context->DefaultReactor();
  absl::StatusOr<RankIdentity> identity = FromProto(request->identity());
  if (!identity.ok()) return Refuse(reactor, identity.status());
  if (absl::Status status = CheckKey(request->key()); !status.ok()) return Refuse(reactor, status);
  if (request->value().size() > kLongestValue) {
    return Refuse(reactor, absl::InvalidArgumentError(absl::StrCat("value of key ", request->key(), ": ", request->value().size(),
                                                                   " bytes; at most ", kLongestValue)));
  }
  driver_->Call(PublishKey{{}, *std::move(identity), request->key(), request->value()},
                [=](const absl::Status& status, const Answer&) { reactor->Finish(ToGrpc(status)); });
  return reactor;
}

grpc::ServerUnaryReactor* TrainerService::Await(grpc::CallbackServerContext* context, const v1::AwaitRequest* request,
                                                v1::AwaitResponse* response) {
  auto* reactor = context->DefaultReactor();
  absl::StatusOr<RankIdentity> identity = FromProto(request->identity());
  if (!identity.ok()) return Refuse(reactor, identity.status());
  if (absl::Status status = CheckKey(request->key()); !status.ok()) return Refuse(reactor, status);
  absl::StatusOr<absl::Duration> timeout = WaitFromProto(request->timeout());
  if (!timeout.ok()) return Refuse(reactor, timeout.status());
  driver_->Call(AwaitKey{{}, *std::move(identity), request->key(), *timeout},
                [=](const absl::Status& status, const Answer& answer) {
                  if (status.ok()) response->set_value(std::get<ValueAnswer>(answer).value);
                  reactor->Finish(ToGrpc(status));
                });
  return reactor;
}

grpc::ServerUnaryReactor* TrainerService::ReportShard(grpc::CallbackServerContext* context, const v1::ReportShardRequest* request,
                                                      v1::ReportShardResponse*) {
  auto* reactor = context->DefaultReactor();
  absl::StatusOr<RankIdentity> identity = FromProto(request->identity());
  if (!identity.ok()) return Refuse(reactor, identity.status());
  if (absl::Status status = CheckStep(request->step()); !status.ok()) return Refuse(reactor, status);
  absl::StatusOr<ShardInfo> shard = FromProto(request->shard());
  if (!shard.ok()) return Refuse(reactor, shard.status());
  driver_->Call(coordinator::ReportShard{{}, *std::move(identity), request->step(), *std::move(shard)},
                [=](const absl::Status& status, const Answer&) { reactor->Finish(ToGrpc(status)); });
  return reactor;
}

grpc::ServerUnaryReactor* TrainerService::AwaitShards(grpc::CallbackServerContext* context, const v1::AwaitShardsRequest* request,
                                                      v1::AwaitShardsResponse* response) {
  auto* reactor = context->DefaultReactor();
  absl::StatusOr<RankIdentity> identity = FromProto(request->identity());
  if (!identity.ok()) return Refuse(reactor, identity.status());
  if (absl::Status status = CheckStep(request->step()); !status.ok()) return Refuse(reactor, status);
  absl::StatusOr<absl::Duration> timeout = WaitFromProto(request->timeout());
  if (!timeout.ok()) return Refuse(reactor, timeout.status());
  driver_->Call(coordinator::AwaitShards{{}, *std::move(identity), request->step(), *timeout},
                [=](const absl::Status& status, const Answer& answer) {
                  if (status.ok()) {
                    for (const ShardInfo& shard : std::get<ShardsAnswer>(answer).shards) *response->add_shards() = ToProto(shard);
                  }
                  reactor->Finish(ToGrpc(status));
                });
  return reactor;
}

grpc::ServerUnaryReactor* TrainerService::CommitCheckpoint(grpc::CallbackServerContext* context,
                                                           const v1::CommitCheckpointRequest* request,
                                                           v1::CommitCheckpointResponse* response) {
  auto* reactor = context->DefaultReactor();
  absl::StatusOr<RankIdentity> identity = FromProto(request->identity());
  if (!identity.ok()) return Refuse(reactor, identity.status());
  absl::StatusOr<CheckpointInfo> checkpoint = FromProto(request->checkpoint());
  if (!checkpoint.ok()) return Refuse(reactor, checkpoint.status());
  driver_->Call(coordinator::CommitCheckpoint{{}, *std::move(identity), *std::move(checkpoint)},
                [=](const absl::Status& status, const Answer& answer) {
                  if (status.ok()) {
                    for (const CheckpointInfo& old : std::get<DeleteAnswer>(answer).checkpoints)
                      *response->add_delete_() = ToProto(old);
                  }
                  reactor->Finish(ToGrpc(status));
                });
  return reactor;
}

grpc::ServerUnaryReactor* TrainerService::RefuseCheckpoint(grpc::CallbackServerContext* context,
                                                           const v1::RefuseCheckpointRequest* request,
                                                           v1::RefuseCheckpointResponse*) {
  auto* reactor = context->DefaultReactor();
  absl::StatusOr<RankIdentity> identity = FromProto(request->identity());
  if (!identity.ok()) return Refuse(reactor, identity.status());
  driver_->Call(
      coordinator::RefuseCheckpoint{{}, *std::move(identity), request->path(), request->reason().substr(0, kLongestReason)},
      [=](const absl::Status& status, const Answer&) { reactor->Finish(ToGrpc(status)); });
  return reactor;
}

}  // namespace ringmaster::coordinator
