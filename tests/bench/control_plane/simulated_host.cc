#include "tests/bench/control_plane/simulated_host.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace ringmaster::bench {
namespace {

constexpr int kKilled = 9;

std::shared_ptr<grpc::Channel> Connect(const std::string& coordinator) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a connection of its own
  return grpc::CreateCustomChannel(coordinator, grpc::InsecureChannelCredentials(), arguments);
}

}  // namespace

SimulatedHost::SimulatedHost(HostOptions options, std::function<void()> welcome, TrainerObserver* observer)
    : options_(std::move(options)),
      welcome_(std::move(welcome)),
      observer_(observer),
      channel_(Connect(options_.coordinator)),
      worker_(v1::WorkerService::NewStub(channel_)) {}

void SimulatedHost::Attach() {
  {
    MutexLock lock(&mu_);
    attached_ = true;
  }
  v1::WorkerMessage message;
  v1::Hello& hello = *message.mutable_hello();
  hello.set_worker_id(options_.name);
  hello.set_incarnation(options_.incarnation);
  hello.set_address("127.0.0.1");
  hello.set_slots(options_.slots);
  hello.set_cores(options_.slots);
  hello.set_version("simulated");
  hello.set_protocol(1);
  hello.set_master_port(29500);
  worker_->async()->Attach(&context_, this);
  AddHold();  // Stop() takes it away: messages are written from outside of callbacks
  StartCall();
  StartRead(&incoming_);
  Send(std::move(message));
}

void SimulatedHost::Stop() {
  MutexLock lock(&mu_);
  if (!attached_) return;
  for (const auto& [incarnation, trainer] : trainers_) trainer->Kill();
  if (!std::exchange(stopping_, true)) {
    context_.TryCancel();
    RemoveHold();
  }
  while (!done_) over_.WaitFor(&mu_, absl::Seconds(10));
}

void SimulatedHost::OnReadDone(bool ok) {
  if (!ok) return;
  if (incoming_.has_welcome()) welcome_();
  if (incoming_.has_assign()) Assign(incoming_.assign());
  if (incoming_.has_trainer_answers()) Answer(incoming_.trainer_answers());
  StartRead(&incoming_);
}

void SimulatedHost::OnWriteDone(bool ok) {
  {
    MutexLock lock(&mu_);
    writing_ = false;
    if (!ok) return;
  }
  WriteNext();
}

void SimulatedHost::OnDone(const grpc::Status& status) {
  MutexLock lock(&mu_);
  if (!stopping_) observer_->OnFault(absl::StrCat(options_.name, ": its stream broke: ", status.error_message()));
  done_ = true;
  over_.SignalAll();
}

void SimulatedHost::Assign(const v1::Assign& assign) {
  std::map<uint64_t, std::shared_ptr<SimulatedTrainer>> next;
  std::vector<std::shared_ptr<SimulatedTrainer>> started;
  {
    MutexLock lock(&mu_);
    for (const v1::AssignedRank& rank : assign.ranks()) {
      if (const auto known = trainers_.find(rank.incarnation()); known != trainers_.end()) {
        next.insert(*known);
        continue;
      }
      v1::RankIdentity identity;
      identity.set_job_id(assign.job_id());
      identity.set_epoch(assign.epoch());
      identity.set_rank(rank.rank());
      identity.set_incarnation(rank.incarnation());
      started.push_back(std::make_shared<SimulatedTrainer>(std::move(identity), this, observer_));
      next.emplace(rank.incarnation(), started.back());
    }
    trainers_.swap(next);
  }
  for (const auto& [incarnation, trainer] : next) {
    MutexLock lock(&mu_);
    if (!trainers_.contains(incarnation)) trainer->Kill();
  }
  for (const auto& trainer : started) {
    v1::WorkerMessage message;
    *message.mutable_rank_started()->mutable_rank() = trainer->hosted();
    Send(std::move(message));
    trainer->Begin();
  }
}

void SimulatedHost::Call(const std::string& method, std::string request, Done done) {
  {
    MutexLock lock(&mu_);
    v1::TrainerCall& call = *calls_.mutable_trainer_calls()->add_calls();
    call.set_id(next_call_++);
    call.set_method(method);
    call.set_request(std::move(request));
    waiting_.emplace(call.id(), std::move(done));
  }
  WriteNext();
}

void SimulatedHost::Answer(const v1::TrainerAnswers& answers) {
  for (const v1::TrainerAnswer& answer : answers.answers()) {
    Done done;
    {
      MutexLock lock(&mu_);
      auto found = waiting_.extract(answer.id());
      if (found.empty()) continue;
      done = std::move(found.mapped());
    }
    done(grpc::Status(static_cast<grpc::StatusCode>(answer.code()), answer.message()), answer.response());
  }
}

void SimulatedHost::Heartbeat(int64_t step) {
  v1::WorkerMessage message;
  message.mutable_heartbeat()->set_master_port(29500);
  {
    MutexLock lock(&mu_);
    for (const auto& [incarnation, trainer] : trainers_) {
      v1::RankProgress& rank = *message.mutable_heartbeat()->add_ranks();
      *rank.mutable_rank() = trainer->hosted();
      rank.mutable_progress()->set_step(step);
      rank.mutable_progress()->set_phase("forward");
    }
  }
  Send(std::move(message));
}

void SimulatedHost::Kill(const std::vector<uint64_t>& incarnations, int64_t step) {
  for (const uint64_t incarnation : incarnations) {
    std::shared_ptr<SimulatedTrainer> victim;
    {
      MutexLock lock(&mu_);
      auto found = trainers_.extract(incarnation);
      if (found.empty()) continue;
      victim = std::move(found.mapped());
    }
    victim->Kill();
    v1::WorkerMessage message;
    v1::RankExited& exited = *message.mutable_rank_exited();
    *exited.mutable_rank() = victim->hosted();
    exited.set_exit_code(128 + kKilled);
    exited.set_signal(kKilled);
    exited.mutable_last_progress()->set_step(step);
    Send(std::move(message));
  }
}

std::vector<uint64_t> SimulatedHost::incarnations() const {
  MutexLock lock(&mu_);
  std::vector<uint64_t> all;
  for (const auto& [incarnation, trainer] : trainers_) all.push_back(incarnation);
  return all;
}

void SimulatedHost::Send(v1::WorkerMessage message) {
  {
    MutexLock lock(&mu_);
    outgoing_.push_back(std::move(message));
  }
  WriteNext();
}

void SimulatedHost::WriteNext() {
  MutexLock lock(&mu_);
  if (writing_ || stopping_ || done_) return;
  if (outgoing_.empty() && calls_.has_trainer_calls()) outgoing_.push_back(std::exchange(calls_, {}));
  if (outgoing_.empty()) return;
  writing_ = true;
  current_ = std::move(outgoing_.front());
  outgoing_.pop_front();
  StartWrite(&current_);
}

}  // namespace ringmaster::bench
