#include "collectives/nccl/nccl_guard.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace ringmaster {
namespace {

// The thread looks around this often without need; every wait has a bound.
constexpr absl::Duration kIdleWait = absl::Minutes(1);

}  // namespace

NcclGuard::NcclGuard(NcclApi& api, const Clock& clock, int device, std::string name)
    : context_(std::make_shared<const Context>(Context{api, clock, device, std::move(name)})) {}

NcclGuard::~NcclGuard() {
  if (thread_ == nullptr) return;
  bool ends = false;
  {
    MutexLock lock(&shared_->mu);
    ends = shared_->done || shared_->stopped;
  }
  if (ends)
    thread_->join();
  else
    thread_.release();  // it hangs in NCCL: see the header
}

void NcclGuard::Start() {
  thread_ = std::make_unique<std::thread>([context = context_, shared = shared_] { Run(*context, *shared); });
}

absl::Status NcclGuard::UseControl(absl::FunctionRef<absl::Status()> use) { return Use(&Shared::control_users, nullptr, use); }
absl::Status NcclGuard::UseData(absl::FunctionRef<absl::Status()> use) { return Use(&Shared::data_users, nullptr, use); }
absl::Status NcclGuard::CallData(const Call& call, absl::FunctionRef<absl::Status()> use) {
  return Use(&Shared::data_users, &call, use);
}

absl::Status NcclGuard::Use(int Shared::*users, const Call* call, absl::FunctionRef<absl::Status()> use) {
  Shared& shared = *shared_;
  {
    MutexLock lock(&shared.mu);
    if (!shared.broken.ok()) return shared.broken;
    ++(shared.*users);
    if (call != nullptr) {
      shared.call = *call;
      // Else the thread comes by in time: one signal in as many calls as a deadline lasts.
      if (call->deadline < shared.next_look) shared.changed.SignalAll();
    }
  }
  absl::Status status = use();
  MutexLock lock(&shared.mu);
  --(shared.*users);
  if (call != nullptr) shared.call.deadline = absl::InfiniteFuture();
  if (!status.ok() && shared.broken.ok()) shared.broken = std::move(status);
  if (!shared.broken.ok()) shared.changed.SignalAll();
  return shared.broken;
}

absl::Status NcclGuard::Fail(absl::Status status) {
  MutexLock lock(&shared_->mu);
  if (!shared_->broken.ok()) return shared_->broken;
  shared_->broken = std::move(status);
  shared_->changed.SignalAll();
  return shared_->broken;
}

void NcclGuard::Pause(absl::Duration pause) {
  MutexLock lock(&shared_->mu);
  if (shared_->broken.ok()) shared_->changed.WaitFor(&shared_->mu, pause);
}

bool NcclGuard::Stop(absl::Status closed) {
  MutexLock lock(&shared_->mu);
  if (!shared_->broken.ok()) return false;
  shared_->broken = std::move(closed);
  shared_->stopped = true;
  shared_->changed.SignalAll();
  return true;
}

absl::Status NcclGuard::Wait(absl::Duration timeout) {
  const absl::Time deadline = context_->clock.Now() + timeout;
  MutexLock lock(&shared_->mu);
  if (shared_->broken.ok() || shared_->stopped) return absl::OkStatus();
  while (!shared_->done) {
    const absl::Duration left = deadline - context_->clock.Now();
    if (left <= absl::ZeroDuration()) {
      return absl::DeadlineExceededError(absl::StrCat(context_->name, ": ncclCommAbort has not returned after ",
                                                      absl::FormatDuration(timeout), ": this process must end"));
    }
    shared_->changed.WaitFor(&shared_->mu, left);
  }
  return shared_->aborted;
}

void NcclGuard::Run(const Context& context, Shared& shared) {
  if (!AwaitError(context, shared)) return;
  absl::Status status = context.api.SetDevice(context.device);
  // In this order: the first makes those leave who are inside the second.
  if (status.ok()) status = AbortUnused(context, shared, &Shared::control_users, &Shared::control);
  if (status.ok()) status = AbortUnused(context, shared, &Shared::data_users, &Shared::data);
  MutexLock lock(&shared.mu);
  shared.aborted = std::move(status);
  shared.done = true;
  shared.changed.SignalAll();
}

// False: the communicator was closed in good health.
bool NcclGuard::AwaitError(const Context& context, Shared& shared) {
  MutexLock lock(&shared.mu);
  while (shared.broken.ok()) {
    const absl::Duration left = shared.call.deadline - context.clock.Now();
    if (left <= absl::ZeroDuration()) {
      shared.broken = absl::DeadlineExceededError(
          absl::StrCat(shared.call.what, ": ", context.name, ", operation number ", shared.call.sequence,
                       ", NCCL's call did not return in time; a rank that does not come to its first operation holds up the "
                       "others, and so does a device whose queue is full: compare the ranks (ringmaster flight-record)"));
      shared.changed.SignalAll();
      break;
    }
    shared.next_look = shared.call.deadline;
    shared.changed.WaitFor(&shared.mu, std::min(left, kIdleWait));
  }
  return !shared.stopped;
}

absl::Status NcclGuard::AbortUnused(const Context& context, Shared& shared, int Shared::*users, NcclComm Shared::*comm) {
  {
    MutexLock lock(&shared.mu);
    while (shared.*users > 0) shared.changed.WaitFor(&shared.mu, kIdleWait);
  }
  return shared.*comm == nullptr ? absl::OkStatus() : context.api.Abort(shared.*comm);
}

}  // namespace ringmaster
