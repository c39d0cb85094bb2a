#include "coordinator/rpc/trainer_calls.h"

#include <memory>

#include "absl/strings/str_cat.h"
#include "common/check.h"
#include "common/status_macros.h"
#include "coordinator/rpc/convert.h"

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

template <typename Request, typename Response>
void TakeBytes(Driver* driver, const std::string& bytes, std::function<void(const absl::Status&, std::string)> finish) {
  Request request;
  if (!request.ParseFromString(bytes)) {
    return finish(absl::InvalidArgumentError(absl::StrCat("the bytes are no ", request.GetTypeName())), "");
  }
  const auto response = std::make_shared<Response>();
  TakeTrainerCall(driver, request, response.get(), [response, finish = std::move(finish)](const absl::Status& status) {
    finish(status, status.ok() ? response->SerializeAsString() : "");
  });
}

struct Method {
  const char* name;
  void (*take)(Driver*, const std::string&, std::function<void(const absl::Status&, std::string)>);
};

constexpr Method kMethods[] = {
    {"Join", TakeBytes<v1::JoinRequest, v1::JoinResponse>},
    {"AwaitEpoch", TakeBytes<v1::AwaitEpochRequest, v1::AwaitEpochResponse>},
    {"Publish", TakeBytes<v1::PublishRequest, v1::PublishResponse>},
    {"Await", TakeBytes<v1::AwaitRequest, v1::AwaitResponse>},
    {"ReportShard", TakeBytes<v1::ReportShardRequest, v1::ReportShardResponse>},
    {"AwaitShards", TakeBytes<v1::AwaitShardsRequest, v1::AwaitShardsResponse>},
    {"CommitCheckpoint", TakeBytes<v1::CommitCheckpointRequest, v1::CommitCheckpointResponse>},
    {"RefuseCheckpoint", TakeBytes<v1::RefuseCheckpointRequest, v1::RefuseCheckpointResponse>},
};

}  // namespace

absl::StatusOr<JoinEpoch> ToEvent(const v1::JoinRequest& request) {
  RM_ASSIGN_OR_RETURN(RankIdentity identity, FromProto(request.identity()));
  return JoinEpoch{{}, std::move(identity), request.stays()};
}

absl::StatusOr<AwaitEpoch> ToEvent(const v1::AwaitEpochRequest& request) {
  RM_ASSIGN_OR_RETURN(RankIdentity identity, FromProto(request.identity()));
  RM_RETURN_IF_ERROR(CheckStep(request.step()));
  RM_ASSIGN_OR_RETURN(const absl::Duration timeout, WaitFromProto(request.timeout()));
  return AwaitEpoch{{}, std::move(identity), request.lost_contact().substr(0, kLongestReason), request.step(), timeout};
}

absl::StatusOr<PublishKey> ToEvent(const v1::PublishRequest& request) {
  RM_ASSIGN_OR_RETURN(RankIdentity identity, FromProto(request.identity()));
  RM_RETURN_IF_ERROR(CheckKey(request.key()));
  if (request.value().size() > kLongestValue) {
    return absl::InvalidArgumentError(
        absl::StrCat("value of key ", request.key(), ": ", request.value().size(), " bytes; at most ", kLongestValue));
  }
  return PublishKey{{}, std::move(identity), request.key(), request.value()};
}

absl::StatusOr<AwaitKey> ToEvent(const v1::AwaitRequest& request) {
  RM_ASSIGN_OR_RETURN(RankIdentity identity, FromProto(request.identity()));
  RM_RETURN_IF_ERROR(CheckKey(request.key()));
  RM_ASSIGN_OR_RETURN(const absl::Duration timeout, WaitFromProto(request.timeout()));
  return AwaitKey{{}, std::move(identity), request.key(), timeout};
}

absl::StatusOr<ReportShard> ToEvent(const v1::ReportShardRequest& request) {
  RM_ASSIGN_OR_RETURN(RankIdentity identity, FromProto(request.identity()));
  RM_RETURN_IF_ERROR(CheckStep(request.step()));
  RM_ASSIGN_OR_RETURN(ShardInfo shard, FromProto(request.shard()));
  return ReportShard{{}, std::move(identity), request.step(), std::move(shard)};
}

absl::StatusOr<AwaitShards> ToEvent(const v1::AwaitShardsRequest& request) {
  RM_ASSIGN_OR_RETURN(RankIdentity identity, FromProto(request.identity()));
  RM_RETURN_IF_ERROR(CheckStep(request.step()));
  RM_ASSIGN_OR_RETURN(const absl::Duration timeout, WaitFromProto(request.timeout()));
  return AwaitShards{{}, std::move(identity), request.step(), timeout};
}

absl::StatusOr<CommitCheckpoint> ToEvent(const v1::CommitCheckpointRequest& request) {
  RM_ASSIGN_OR_RETURN(RankIdentity identity, FromProto(request.identity()));
  RM_ASSIGN_OR_RETURN(CheckpointInfo checkpoint, FromProto(request.checkpoint()));
  return CommitCheckpoint{{}, std::move(identity), std::move(checkpoint)};
}

absl::StatusOr<RefuseCheckpoint> ToEvent(const v1::RefuseCheckpointRequest& request) {
  RM_ASSIGN_OR_RETURN(RankIdentity identity, FromProto(request.identity()));
  return RefuseCheckpoint{{}, std::move(identity), request.path(), request.reason().substr(0, kLongestReason)};
}

void Fill(const Answer& answer, v1::JoinResponse* response) {
  const auto& join = std::get<JoinAnswer>(answer);
  RM_CHECK(response->mutable_spec()->ParseFromString(join.serialized_spec)) << "the spec was stored by us";
  response->set_world_size(join.world_size);
  for (const CheckpointInfo& checkpoint : join.checkpoints) *response->add_checkpoints() = ToProto(checkpoint);
  // Last: what the user began from counts only until this job has committed one of its own.
  if (const std::string& resume = response->spec().checkpoint().resume(); !resume.empty())
    response->add_checkpoints()->set_path(resume);
}

void Fill(const Answer& answer, v1::AwaitEpochResponse* response) {
  *response->mutable_identity() = ToProto(std::get<EpochAnswer>(answer).identity);
}

void Fill(const Answer& answer, v1::AwaitResponse* response) { response->set_value(std::get<ValueAnswer>(answer).value); }

void Fill(const Answer& answer, v1::AwaitShardsResponse* response) {
  for (const ShardInfo& shard : std::get<ShardsAnswer>(answer).shards) *response->add_shards() = ToProto(shard);
}

void Fill(const Answer& answer, v1::CommitCheckpointResponse* response) {
  for (const CheckpointInfo& old : std::get<DeleteAnswer>(answer).checkpoints) *response->add_delete_() = ToProto(old);
}

void Fill(const Answer&, v1::PublishResponse*) {}
void Fill(const Answer&, v1::ReportShardResponse*) {}
void Fill(const Answer&, v1::RefuseCheckpointResponse*) {}

void TakeTrainerCall(Driver* driver, const std::string& method, const std::string& request,
                     std::function<void(const absl::Status&, std::string)> finish) {
  for (const Method& known : kMethods) {
    if (method == known.name) return known.take(driver, request, std::move(finish));
  }
  finish(absl::UnimplementedError(
             absl::StrCat("TrainerService has no method \"", method.substr(0, 100), "\"; is the worker of a newer release?")),
         "");
}

}  // namespace ringmaster::coordinator
