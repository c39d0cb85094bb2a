#include "collectives/work_queue.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/check.h"

namespace ringmaster {
namespace {

// Signals wake the thread; this only bounds a wait.
constexpr absl::Duration kIdle = absl::Hours(1);

}  // namespace

Work::State::State(const Clock& clock, std::span<const Call> calls, bool group, absl::Duration timeout)
    : clock(clock), calls(calls.begin(), calls.end()), group(group), timeout(timeout) {
  counts.reserve(2 * calls.size());
  for (Call& call : this->calls) {
    for (std::span<const int64_t>* const span : {&call.send_counts, &call.receive_counts}) {
      if (!span->empty()) *span = counts.emplace_back(span->begin(), span->end());
    }
  }
}

bool Work::Done() const {
  if (state_ == nullptr) return true;
  MutexLock lock(&state_->mu);
  return state_->done;
}

absl::Status Work::Wait(absl::Duration timeout) const {
  if (state_ == nullptr) return absl::OkStatus();
  const absl::Time deadline = state_->clock.Now() + timeout;
  MutexLock lock(&state_->mu);
  while (!state_->done) {
    const absl::Duration left = deadline - state_->clock.Now();
    if (left <= absl::ZeroDuration()) {
      return absl::DeadlineExceededError(absl::StrCat(Describe(state_->calls.front()), " is not done after a wait of ",
                                                      absl::FormatDuration(timeout), "; it still runs"));
    }
    state_->changed.WaitFor(&state_->mu, std::min(left, kIdle));
  }
  return state_->status;
}

void Work::Finish(const absl::Status& status) const {
  MutexLock lock(&state_->mu);
  state_->status = status;
  state_->done = true;
  state_->changed.SignalAll();
}

WorkQueue::WorkQueue(Communicator& communicator, const Clock& clock) : communicator_(communicator), clock_(clock) {}

WorkQueue::~WorkQueue() { Stop(); }

void WorkQueue::Start() {
  RM_CHECK(!thread_.joinable()) << "started twice";
  thread_ = std::thread([this] { Serve(); });
}

void WorkQueue::Stop() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    if (failure_.ok()) failure_ = absl::CancelledError("the work queue was stopped");
    changed_.SignalAll();
  }
  if (thread_.joinable()) thread_.join();
  std::deque<Work> left;
  absl::Status failure;
  {
    MutexLock lock(&mu_);
    left.swap(waiting_);  // of a queue that never started
    failure = failure_;
  }
  for (const Work& work : left) work.Finish(failure);
}

Work WorkQueue::Issue(const Call& call, absl::Duration timeout) { return Add({&call, 1}, /*group=*/false, timeout); }

Work WorkQueue::IssueGroup(std::span<const Call> calls, absl::Duration timeout) {
  return calls.empty() ? Work() : Add(calls, /*group=*/true, timeout);
}

Work WorkQueue::Add(std::span<const Call> calls, bool group, absl::Duration timeout) {
  Work work(std::make_shared<Work::State>(clock_, calls, group, timeout));
  absl::Status failure;
  {
    MutexLock lock(&mu_);
    failure = failure_;
    if (failure.ok()) {
      waiting_.push_back(work);
      changed_.Signal();
    }
  }
  if (!failure.ok()) work.Finish(failure);
  return work;
}

void WorkQueue::Serve() {
  while (true) {
    Work work;
    absl::Status status;
    {
      MutexLock lock(&mu_);
      while (waiting_.empty() && !stopping_) changed_.WaitFor(&mu_, kIdle);
      if (waiting_.empty()) return;
      work = std::move(waiting_.front());
      waiting_.pop_front();
      status = failure_;
    }
    const Work::State& state = *work.state_;
    if (status.ok()) {
      status = state.group ? communicator_.RunGroup(state.calls, state.timeout) : communicator_.Run(state.calls[0], state.timeout);
      if (!status.ok()) {
        MutexLock lock(&mu_);
        // The operation's own error, also where Stop() came while it ran.
        failure_ = status;
      }
    }
    work.Finish(status);
  }
}

}  // namespace ringmaster
