#include "tests/bench/control_plane/simulated_trainer.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace ringmaster::bench {
namespace {

constexpr char kKey[] = "nccl/world";
constexpr char kNcclId[] =
    "128 bytes that rank 0 mints and everybody else needs before its communicator can be built: this is their place. ............";
constexpr int64_t kWaitSeconds = 90;

}  // namespace

template <typename Response, typename Request, typename Next>
void SimulatedTrainer::Call(const char* method, Request request, Next next) {
  {
    MutexLock lock(&mu_);
    if (dead_) return;
    *request.mutable_identity() = identity_;
  }
  relay_->Call(method, request.SerializeAsString(),
               [self = shared_from_this(), next, method, epoch = request.identity().epoch()](const grpc::Status& status,
                                                                                             const std::string& bytes) {
                 {
                   MutexLock lock(&self->mu_);
                   if (self->dead_) return;
                 }
                 Response response;
                 if (status.ok() && response.ParseFromString(bytes)) return next(response);
                 // The epoch was over before this call came: the watch tells of the next one.
                 if (status.error_code() == grpc::StatusCode::ABORTED) return;
                 self->observer_->OnFault(
                     absl::StrCat("rank ", self->identity().rank(), " epoch ", epoch, ": ", method, ": ", status.error_message()));
               });
}

void SimulatedTrainer::Begin() {
  v1::JoinRequest request;
  request.set_stays(true);
  Call<v1::JoinResponse>("Join", std::move(request), [this](const v1::JoinResponse&) { Rendezvous(); });
  Watch();
}

void SimulatedTrainer::Watch() {
  v1::AwaitEpochRequest request;
  request.mutable_timeout()->set_seconds(kWaitSeconds);
  Call<v1::AwaitEpochResponse>("AwaitEpoch", std::move(request), [this](const v1::AwaitEpochResponse& response) {
    {
      MutexLock lock(&mu_);
      identity_ = response.identity();
    }
    Begin();
  });
}

void SimulatedTrainer::Rendezvous() {
  const v1::RankIdentity me = identity();
  const auto formed = [this, epoch = me.epoch()](const auto&) { observer_->OnFormed(epoch); };
  if (me.rank() == 0) {
    v1::PublishRequest request;
    request.set_key(kKey);
    request.set_value(kNcclId);
    return Call<v1::PublishResponse>("Publish", std::move(request), formed);
  }
  v1::AwaitRequest request;
  request.set_key(kKey);
  request.mutable_timeout()->set_seconds(kWaitSeconds);
  Call<v1::AwaitResponse>("Await", std::move(request), formed);
}

void SimulatedTrainer::Kill() {
  MutexLock lock(&mu_);
  dead_ = true;
}

v1::RankIdentity SimulatedTrainer::identity() const {
  MutexLock lock(&mu_);
  return identity_;
}

v1::HostedRank SimulatedTrainer::hosted() const {
  const v1::RankIdentity me = identity();
  v1::HostedRank hosted;
  hosted.set_job_id(me.job_id());
  hosted.set_epoch(me.epoch());
  hosted.set_rank(me.rank());
  hosted.set_incarnation(me.incarnation());
  hosted.set_pid(static_cast<int64_t>(me.incarnation() % 4'000'000) + 2);
  return hosted;
}

}  // namespace ringmaster::bench
