#include "tests/bench/control_plane/simulated_trainer.h"

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"

namespace ringmaster::bench {
namespace {

constexpr char kKey[] = "nccl/world";
constexpr char kNcclId[] = "128 bytes that rank 0 mints and everybody else needs before its communicator can be built: this is their place. ............";
constexpr std::chrono::seconds kCallLimit(100);
constexpr int64_t kWaitSeconds = 90;

}  // namespace

template <typename Request, typename Response>
struct SimulatedTrainer::Call {
  Request request;
  Response response;
  std::shared_ptr<grpc::ClientContext> context = std::make_shared<grpc::ClientContext>();
};

// `next` is called with the answer, unless the trainer was killed meanwhile.
template <typename Request, typename Response, typename Start, typename Next>
void SimulatedTrainer::Make(Request request, Start start, Next next) {
  auto call = std::make_shared<Call<Request, Response>>();
  call->request = std::move(request);
  call->context->set_deadline(std::chrono::system_clock::now() + kCallLimit);
  {
    MutexLock lock(&mu_);
    if (dead_) return;
    *call->request.mutable_identity() = identity_;
    if constexpr (std::is_same_v<Request, v1::AwaitEpochRequest>) watch_ = call->context;
  }
  start(*call, [self = shared_from_this(), call, next](const grpc::Status& status) {
    {
      MutexLock lock(&self->mu_);
      if (self->dead_) return;
    }
    if (status.ok()) return next(call->response);
    // The epoch was over before this call came: the watch tells of the next one.
    if (status.error_code() == grpc::StatusCode::ABORTED) return;
    self->observer_->OnFault(absl::StrCat("rank ", call->request.identity().rank(), " epoch ", call->request.identity().epoch(), ": ",
                                          call->request.GetTypeName(), ": ", status.error_message()));
  });
}

void SimulatedTrainer::Begin() {
  v1::JoinRequest request;
  request.set_stays(true);
  Make<v1::JoinRequest, v1::JoinResponse>(
      std::move(request),
      [this](auto& call, auto done) { stub_->async()->Join(call.context.get(), &call.request, &call.response, std::move(done)); },
      [this](const v1::JoinResponse&) { Rendezvous(); });
  Watch();
}

void SimulatedTrainer::Watch() {
  v1::AwaitEpochRequest request;
  request.mutable_timeout()->set_seconds(kWaitSeconds);
  Make<v1::AwaitEpochRequest, v1::AwaitEpochResponse>(
      std::move(request),
      [this](auto& call, auto done) { stub_->async()->AwaitEpoch(call.context.get(), &call.request, &call.response, std::move(done)); },
      [this](const v1::AwaitEpochResponse& response) {
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
    Make<v1::PublishRequest, v1::PublishResponse>(
        std::move(request),
        [this](auto& call, auto done) { stub_->async()->Publish(call.context.get(), &call.request, &call.response, std::move(done)); },
        formed);
    return;
  }
  v1::AwaitRequest request;
  request.set_key(kKey);
  request.mutable_timeout()->set_seconds(kWaitSeconds);
  Make<v1::AwaitRequest, v1::AwaitResponse>(
      std::move(request),
      [this](auto& call, auto done) { stub_->async()->Await(call.context.get(), &call.request, &call.response, std::move(done)); }, formed);
}

void SimulatedTrainer::Kill() {
  std::shared_ptr<grpc::ClientContext> watch;
  {
    MutexLock lock(&mu_);
    dead_ = true;
    watch = std::move(watch_);
  }
  if (watch != nullptr) watch->TryCancel();
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
