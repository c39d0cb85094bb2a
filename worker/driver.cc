#include "worker/driver.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/log.h"
#include "common/version.h"
#include "worker/host/local_address.h"
#include "worker/process/short_turns.h"
#include "worker/rpc/convert.h"

namespace ringmaster {

namespace {

constexpr int kProtocol = 1;
constexpr absl::Duration kFirstBackoff = absl::Milliseconds(50);
constexpr absl::Duration kMaxBackoff = absl::Seconds(2);
constexpr absl::Duration kWelcomeTimeout = absl::Seconds(5);  // from Hello
constexpr absl::Duration kMaxQuiet = absl::Seconds(1);        // between two heartbeats: what `watch` shows is at most this old

std::string Message(const absl::Status& status) { return std::string(status.message()); }

}  // namespace

WorkerDriver::WorkerDriver(DriverOptions options, const Clock& clock, std::unique_ptr<RankHost> host,
                           std::unique_ptr<CoordinatorStream> stream, std::unique_ptr<TrainerRelay> relay)
    : options_(std::move(options)), clock_(clock), host_(std::move(host)), stream_(std::move(stream)), relay_(std::move(relay)) {
  host_->set_address(options_.address);
}

WorkerDriver::~WorkerDriver() { Stop(); }

absl::Status WorkerDriver::Start() {
  epoll_ = FileDescriptor(epoll_create1(EPOLL_CLOEXEC));
  stop_event_ = FileDescriptor(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  bool watched = true;
  for (const int fd : {host_->poll_fd(), stream_->poll_fd(), relay_->poll_fd(), stop_event_.get()}) {
    epoll_event event{EPOLLIN, {}};
    watched = watched && epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0;
  }
  if (!watched) return absl::ResourceExhaustedError(absl::StrCat("worker's event loop: ", std::strerror(errno)));
  next_attempt_ = clock_.Now();
  thread_ = std::thread([this] { Loop(); });
  return absl::OkStatus();
}

absl::Status WorkerDriver::WaitUntilAttached(absl::Duration timeout) {
  const absl::Time deadline = clock_.Now() + timeout;
  MutexLock lock(&mu_);
  while (!attach_decided_) {
    const absl::Duration left = deadline - clock_.Now();
    if (left <= absl::ZeroDuration()) return attach_status_;
    changed_.WaitFor(&mu_, left);
  }
  return attach_status_;
}

void WorkerDriver::Stop() {
  {
    MutexLock lock(&mu_);
    stop_requested_ = true;
  }
  if (!thread_.joinable()) return;
  const uint64_t one = 1;
  (void)!write(stop_event_.get(), &one, sizeof(one));
  thread_.join();
}

void WorkerDriver::Loop() {
  TakeShortTurns();
  while (!finished_) {
    if (WaitForEvents()) PollAll();
    for (WorkerEvent& event : std::exchange(pending_, {})) Feed(std::move(event));
    OnTime(clock_.Now());
    SendLogs();
  }
}

void WorkerDriver::PollAll() {
  {
    MutexLock lock(&mu_);
    if (stop_requested_ && !machine_.draining()) pending_.push_back(worker_event::ShutdownRequested{});
  }
  uint64_t ignored = 0;
  (void)!read(stop_event_.get(), &ignored, sizeof(ignored));
  host_->PollProcesses([this](WorkerEvent event) { Feed(std::move(event)); });
  for (const StreamEvent& event : stream_->Poll()) OnStreamEvent(event);
  RelayCalls();
}

bool WorkerDriver::WaitForEvents() {
  const absl::Duration left = std::clamp(NextWake() - clock_.Now(), absl::ZeroDuration(), absl::Seconds(60));
  epoll_event ready[5];
  // Rounded up: waking a little late is harmless, waking early would spin.
  return epoll_wait(epoll_.get(), ready, 5, static_cast<int>(absl::ToInt64Milliseconds(left + absl::Microseconds(999)))) > 0;
}

absl::Time WorkerDriver::NextWake() const {
  absl::Time next = std::min({machine_.NextDeadline(), host_->NextDeadline(), link_deadline_});
  if (link_ == Link::kWaiting) next = std::min(next, next_attempt_);
  if (link_ == Link::kAttached) next = std::min(next, next_look_);
  return next;
}

void WorkerDriver::OnTime(absl::Time now) {
  if (machine_.NextDeadline() <= now) Perform(machine_.OnDeadline(now));
  if (host_->NextDeadline() <= now) host_->OnDeadline(now);
  if (link_deadline_ <= now) {
    link_deadline_ = absl::InfiniteFuture();
    if (link_ == Link::kFinishing) finished_ = true;
    stream_->Cancel();
  }
  if (finished_) return;
  if (link_ == Link::kWaiting && next_attempt_ <= now) OpenStream(now);
  if (link_ == Link::kAttached && next_look_ <= now) LookAtBoards(now);
}

void WorkerDriver::OpenStream(absl::Time now) {
  if (host_->address().empty()) {
    absl::StatusOr<std::string> address = LocalAddressTowards(options_.coordinator, absl::Seconds(2));
    if (!address.ok()) {
      OnClosed(address.status());
      return;
    }
    host_->set_address(*std::move(address));
  }
  link_ = Link::kOpening;
  link_deadline_ = now + kWelcomeTimeout;
  stream_->Open();
  SendHello();
}

void WorkerDriver::OnStreamEvent(const StreamEvent& event) {
  if (const auto* received = std::get_if<stream_event::Received>(&event)) {
    OnMessage(received->message);
  } else if (const auto* closed = std::get_if<stream_event::Closed>(&event)) {
    OnClosed(closed->status);
  }
}

void WorkerDriver::OnMessage(const v1::CoordinatorMessage& message) {
  switch (message.kind_case()) {
    case v1::CoordinatorMessage::kWelcome: OnWelcome(message.welcome()); break;
    case v1::CoordinatorMessage::kAssign: OnAssign(message.assign()); break;
    case v1::CoordinatorMessage::kStopRanks: {
      absl::StatusOr<worker_event::StopRequested> stop = ToStopRequested(message.stop_ranks());
      if (stop.ok()) {
        Feed(*std::move(stop));
      } else {
        LogError("worker=%s reason=\"%s\"", options_.worker_id, Message(stop.status()));
      }
      break;
    }
    case v1::CoordinatorMessage::kExitSeen: Feed(worker_event::ExitAcknowledged{ToRunningRank(message.exit_seen().rank())}); break;
    case v1::CoordinatorMessage::kTrainerAnswers: relay_->Answer(message.trainer_answers()); break;
    case v1::CoordinatorMessage::KIND_NOT_SET:
      LogWarn("worker=%s reason=\"message of an unknown kind\"", options_.worker_id);
      break;
  }
}

void WorkerDriver::OnWelcome(const v1::Welcome& welcome) {
  if (link_ != Link::kOpening) return;
  link_ = Link::kAttached;
  link_deadline_ = absl::InfiniteFuture();
  failed_attempts_ = 0;
  refused_since_ = absl::InfiniteFuture();
  lease_ = ToDuration(welcome.lease());
  quiet_ = std::clamp(lease_ / 5, absl::Milliseconds(10), kMaxQuiet);
  pace_ = HeartbeatPace();
  pace_.set_quiet(quiet_);
  next_look_ = clock_.Now();
  LogInfo("worker=%s state=Attached coordinator=%s address=%s slots=%d", options_.worker_id, options_.coordinator, host_->address(),
          options_.slots);
  worker_event::Welcomed event;
  for (const v1::HostedRank& rank : welcome.stale()) event.stale.push_back(ToRunningRank(rank));
  Feed(std::move(event));
  was_attached_ = true;
  ReportFirstAttach(absl::OkStatus(), true);
}

void WorkerDriver::OnAssign(const v1::Assign& assign) {
  absl::StatusOr<Assignment> assignment = ToAssignment(assign, options_.slots);
  if (assignment.ok()) {
    assign_in_hand_ = &assign;
    Feed(worker_event::Assigned{*std::move(assignment)});
    assign_in_hand_ = nullptr;
    return;
  }
  LogError("worker=%s reason=\"%s\"", options_.worker_id, Message(assignment.status()));
  for (const v1::AssignedRank& rank : assign.ranks()) {
    v1::WorkerMessage message;
    v1::RankExited& exited = *message.mutable_rank_exited();
    exited.mutable_rank()->set_job_id(assign.job_id());
    exited.mutable_rank()->set_epoch(assign.epoch());
    exited.mutable_rank()->set_rank(rank.rank());
    exited.mutable_rank()->set_incarnation(rank.incarnation());
    exited.set_exit_code(1);
    exited.set_error(Message(assignment.status()));
    stream_->Send(std::move(message));
  }
}

void WorkerDriver::OnClosed(const absl::Status& status) {
  const Link before = std::exchange(link_, Link::kWaiting);
  FailCalls(Message(status));
  link_deadline_ = absl::InfiniteFuture();
  next_look_ = absl::InfiniteFuture();
  if (before == Link::kFinishing) {
    finished_ = true;
    return;
  }
  if (before == Link::kAttached) {
    LogWarn("worker=%s state=Attached->Detached reason=\"%s\" ranks_running=%d", options_.worker_id, status.ToString(),
            machine_.Running().size());
    Feed(worker_event::Disconnected{});
  } else {
    LogDebug("worker=%s state=Detached reason=\"%s\"", options_.worker_id, status.ToString());
  }
  // Before the first Welcome some answers are final. Later none is: at first ALREADY_EXISTS only says that the coordinator has not
  // noticed the end of our old stream yet. For a whole lease it says that there is another one of our name.
  refused_since_ = absl::IsAlreadyExists(status) ? std::min(refused_since_, clock_.Now()) : absl::InfiniteFuture();
  if (was_attached_ && clock_.Now() - refused_since_ > lease_) {
    LogError("worker=%s ranks_running=%d reason=\"replaced: %s\"", options_.worker_id, machine_.Running().size(), Message(status));
    Feed(worker_event::Replaced{});
  }
  const bool final = status.code() == absl::StatusCode::kAlreadyExists || status.code() == absl::StatusCode::kInvalidArgument ||
                     status.code() == absl::StatusCode::kFailedPrecondition;
  if (!was_attached_) ReportFirstAttach(status, final);
  const absl::Duration ceiling = std::min(kMaxBackoff, kFirstBackoff * (int64_t{1} << std::min(failed_attempts_, 10)));
  ++failed_attempts_;
  next_attempt_ = clock_.Now() + ceiling * absl::Uniform(random_, 0.5, 1.0);
  if (machine_.draining() && machine_.Running().empty()) finished_ = true;
}

void WorkerDriver::SendHello() {
  v1::WorkerMessage message;
  v1::Hello& hello = *message.mutable_hello();
  hello.set_worker_id(options_.worker_id);
  hello.set_incarnation(options_.incarnation.value());
  hello.set_address(host_->address());
  hello.set_slots(options_.slots);
  hello.set_cores(options_.cores);
  hello.set_version(kVersion);
  hello.set_protocol(kProtocol);
  hello.set_master_port(host_->master_port());
  for (const RunningRank& rank : machine_.Running()) *hello.add_running() = ToHostedRank(rank, host_->PidOf(rank.key));
  stream_->Send(std::move(message));
}

void WorkerDriver::LookAtBoards(absl::Time now) {
  // Also those that are about to have a process count: whoever never comes to anything must be seen early.
  next_look_ = now + (machine_.Running().empty() ? quiet_ : std::min(kLook, quiet_));
  if (!pace_.IsDue(host_->Look(), now)) return;
  v1::WorkerMessage message;
  v1::Heartbeat& heartbeat = *message.mutable_heartbeat();
  heartbeat.set_master_port(host_->master_port());
  for (v1::RankProgress& progress : host_->ReadProgress()) *heartbeat.add_ranks() = std::move(progress);
  stream_->Send(std::move(message));
}

void WorkerDriver::RelayCalls() {
  while (auto calls = relay_->TakeCalls()) {
    if (link_ == Link::kAttached) {
      stream_->Send(*std::move(calls));
    } else {
      FailCalls("the worker is not attached to it");
    }
  }
}

void WorkerDriver::FailCalls(const std::string& why) {
  relay_->FailAll(absl::UnavailableError(absl::StrCat("coordinator ", options_.coordinator, ": ", why)));
}

void WorkerDriver::SendLogs() {
  // Only when nothing waits to be written: what the coordinator cannot take stays in the funnel, where it is bounded and counted.
  if (link_ != Link::kAttached || !stream_->idle()) return;
  if (auto lines = host_->TakeLogLines()) stream_->Send(*std::move(lines));
}

void WorkerDriver::FlushLogs() {
  while (auto lines = host_->TakeLogLines()) stream_->Send(*std::move(lines));
}

void WorkerDriver::Feed(WorkerEvent event) { Perform(machine_.Step(event, clock_.Now())); }

void WorkerDriver::Perform(const std::vector<WorkerEffect>& effects) {
  for (const WorkerEffect& effect : effects) {
    std::visit([this](const auto& concrete) { Do(concrete); }, effect);
  }
}

void WorkerDriver::ReportFirstAttach(const absl::Status& status, bool final) {
  MutexLock lock(&mu_);
  if (attach_decided_) return;
  attach_status_ = status;
  attach_decided_ = final;
  changed_.SignalAll();
}

}  // namespace ringmaster
