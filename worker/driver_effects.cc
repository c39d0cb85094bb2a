// What a WorkerDriver does when the machine says so.
#include <algorithm>

#include "common/log.h"
#include "worker/driver.h"

namespace ringmaster {
namespace {

constexpr absl::Duration kGoodbyeTimeout = absl::Seconds(2);

}  // namespace

void WorkerDriver::Do(const worker_effect::Accepted& effect) {
  LogInfo("job=%s epoch=%d state=Assigned ranks=%d", effect.job.value(), effect.epoch.value(), assign_in_hand_->ranks_size());
  const int port = host_->master_port();
  host_->Accept(*assign_in_hand_);
  if (host_->master_port() != port) next_look_ = clock_.Now();  // the coordinator must not give the old one away again
}

void WorkerDriver::Do(const worker_effect::Keep& effect) {
  LogInfo("job=%s epoch=%d rank=%d pid=%d state=Kept of_epoch=%d", effect.to.job.value(), effect.to.epoch.value(),
          effect.to.rank.value(), host_->PidOf(effect.from), effect.from.epoch.value());
  host_->Keep(effect.from, effect.to);
}

void WorkerDriver::Do(const worker_effect::StartRanks& effect) {
  for (WorkerEvent& event : host_->Start(effect)) pending_.push_back(std::move(event));
  next_look_ = std::min(next_look_, clock_.Now() + kLook);
}

void WorkerDriver::Do(const worker_effect::Terminate& effect) {
  LogInfo("job=%s epoch=%d rank=%d state=Stopping signal=SIGTERM", effect.key.job.value(), effect.key.epoch.value(),
          effect.key.rank.value());
  host_->Terminate(effect.key);
}

void WorkerDriver::Do(const worker_effect::Kill& effect) {
  LogWarn("job=%s epoch=%d rank=%d state=Stopping signal=SIGKILL reason=\"still there after its grace\"", effect.key.job.value(),
          effect.key.epoch.value(), effect.key.rank.value());
  host_->Kill(effect.key);
}

void WorkerDriver::Do(const worker_effect::Destroy& effect) {
  LogError("job=%s epoch=%d rank=%d reason=\"its guard did not kill it in time; killing the guard\"", effect.key.job.value(),
           effect.key.epoch.value(), effect.key.rank.value());
  host_->Destroy(effect.key);
}

void WorkerDriver::Do(const worker_effect::SendStarted& effect) { stream_->Send(host_->StartedMessage(effect.rank)); }

void WorkerDriver::Do(const worker_effect::SendExit& effect) {
  // Its last lines first: whoever follows the logs stops when the job has ended.
  FlushLogs();
  stream_->Send(host_->ExitedMessage(effect.rank));
}

void WorkerDriver::Do(const worker_effect::RecordNeverStarted& effect) { host_->RecordNeverStarted(effect); }
void WorkerDriver::Do(const worker_effect::ForgetExit& effect) { host_->ForgetExit(effect.key); }
void WorkerDriver::Do(const worker_effect::EpochGone& effect) { host_->EpochGone(effect.job, effect.epoch); }

void WorkerDriver::Do(const worker_effect::Refused& effect) {
  LogWarn("worker=%s reason=\"%s\"", options_.worker_id, effect.reason);
}

void WorkerDriver::Do(const worker_effect::Drained&) {
  if (link_ != Link::kAttached) {
    stream_->Cancel();
    finished_ = true;
    return;
  }
  FlushLogs();
  v1::WorkerMessage message;
  message.mutable_goodbye()->set_reason("the worker was stopped");
  stream_->Send(std::move(message));
  stream_->FinishSending();
  link_ = Link::kFinishing;
  link_deadline_ = clock_.Now() + kGoodbyeTimeout;
}

}  // namespace ringmaster
