#include "tests/sim/cluster.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace ringmaster::sim {
namespace {

constexpr absl::Duration kWatchInterval = absl::Milliseconds(500);
const absl::Duration kAllMended = kFaultTime + absl::Seconds(26);  // the longest fault that begins last
constexpr absl::Duration kSettle = absl::Seconds(40);              // for what still runs when the last job has ended

}  // namespace

Cluster::Cluster(const Plan& plan, std::string* text)
    : plan_(plan),
      world_(plan.seed, text),
      coordinator_(world_, {.to_worker = [this](const coordinator::Effect& effect) { network_.ToWorker(effect); },
                            .crashed = [this] { network_.BreakAll(); }}),
      network_(world_, coordinator_),
      trainers_(world_, network_, coordinator_, plan_),
      workers_(plan.slots.size()),
      submitted_(plan.jobs.size()) {}

Cluster::~Cluster() { trainers_.Clear(); }

WorkerId Cluster::NameOf(int host) const { return WorkerId(absl::StrCat("h", host)); }

bool Cluster::HasTwin(int host) const {
  return std::any_of(plan_.faults.begin(), plan_.faults.end(), [&](const Fault& fault) {
    return fault.kind == FaultKind::kTwinWorker && fault.target % static_cast<int>(plan_.slots.size()) == host;
  });
}

void Cluster::StartWorker(int host, absl::Duration after) {
  world_.timeline.After(after, [this, host] {
    if (workers_[host] != nullptr && workers_[host]->alive()) return;
    world_.oracle.HostHeard(NameOf(host));
    const auto gone = gone_since_.find(host);
    workers_[host] = std::make_shared<SimWorker>(
        world_, network_, trainers_,
        SimWorker::Options{.host = host,
                           .name = NameOf(host),
                           .incarnation = Incarnation(next_incarnation_++),
                           .slots = plan_.slots[host],
                           .other_attached_since = [] { return absl::InfiniteFuture(); },
                           .predecessor_gone = HasTwin(host) || gone == gone_since_.end() ? absl::InfiniteFuture() : gone->second});
    gone_since_.erase(host);
    workers_[host]->Start();
  });
}

void Cluster::Submit(size_t job) {
  network_.Call(
      -1,
      [this, job](coordinator::CallId call) {
        return coordinator::SubmitJob{call, plan_.jobs[job].spec, absl::StrCat("request-", job)};
      },
      [](const absl::Status&, bool) {},
      [this, job](const absl::Status& status, const coordinator::Answer& answer) {
        if (!status.ok()) {
          if (status.code() == absl::StatusCode::kAlreadyExists) world_.oracle.Violate("submit: ", status.message());
          return world_.timeline.After(absl::Seconds(1), [this, job] { Submit(job); });
        }
        submitted_[job] = std::get<coordinator::JobAnswer>(answer).job;
        world_.oracle.Acknowledged(submitted_[job]);
      });
}

void Cluster::Cancel(const std::string& name) {
  world_.oracle.CancelRequested(JobId(name));
  network_.Call(
      -1,
      [name](coordinator::CallId call) {
        return coordinator::CancelJob{call, name};
      },
      [](const absl::Status&, bool) {},
      [this, name](const absl::Status& status, const coordinator::Answer& answer) {
        if (status.ok()) return world_.oracle.AcknowledgedCancel(std::get<coordinator::JobAnswer>(answer).job);
        if (status.code() == absl::StatusCode::kFailedPrecondition) return;  // it has ended
        world_.timeline.After(absl::Seconds(1), [this, name] { Cancel(name); });
      });
}

bool Cluster::Over() const {
  if (!coordinator_.up()) return false;
  for (const JobId& id : submitted_) {
    const coordinator::JobEntry* entry = coordinator_.machine().jobs().Find(id);
    if (entry == nullptr || !IsFinished(entry->job.state)) return false;
  }
  return true;
}

void Cluster::Watch() {
  if (coordinator_.up() && !coordinator_.stalled()) world_.oracle.CheckNoticed(coordinator_.machine());
  const absl::Duration elapsed = world_.timeline.elapsed();
  if (Over()) {
    over_since_ = std::min(over_since_, world_.timeline.now());
    const bool idle = trainers_.Alive().empty() && std::all_of(workers_.begin(), workers_.end(), [](const auto& worker) {
                        return worker == nullptr || !worker->alive() || worker->idle();
                      });
    done_ = idle || (elapsed > kAllMended && world_.timeline.now() - over_since_ > kSettle);
    if (done_ && !idle) world_.oracle.Violate("all jobs have ended, and a worker still has ranks or exits");
  } else if (elapsed > kAllMended + kEndTime) {
    done_ = true;
  }
  if (done_) {
    if (!coordinator_.up()) return world_.oracle.Violate("the coordinator is down at the end");
    for (size_t i = 0; i < submitted_.size(); ++i) {
      if (submitted_[i].empty()) world_.oracle.Violate("job ", i, " was never acknowledged");
    }
    world_.oracle.CheckEnds(coordinator_.machine());
    if (Over() && coordinator_.has_open_calls()) world_.oracle.Violate("all jobs have ended, and a call was never answered");
    return trainers_.CheckDisks(coordinator_.machine());
  }
  world_.timeline.After(kWatchInterval, [this] { Watch(); });
}

Result Cluster::Run() {
  coordinator_.Start();
  for (size_t host = 0; host < plan_.slots.size(); ++host) {
    StartWorker(static_cast<int>(host), world_.random.Between(absl::ZeroDuration(), absl::Seconds(1)));
  }
  for (size_t job = 0; job < plan_.jobs.size(); ++job) {
    world_.timeline.After(plan_.jobs[job].at, [this, job] { Submit(job); });
  }
  for (const Fault& fault : plan_.faults) {
    world_.timeline.After(fault.at, [this, &fault] {
      world_.trace.Note("fault: ", ToString(fault));
      Make(fault);
    });
  }
  world_.timeline.After(kAllMended, [this] { coordinator_.FailNextAppend(SimCoordinator::AppendFault::kNone, {}); });
  Watch();
  while (!done_ && world_.oracle.status().ok() && world_.timeline.RunOne()) continue;
  Result result{.status = world_.oracle.status(),
                .digest = world_.trace.digest(),
                .steps = world_.oracle.steps(),
                .length = world_.timeline.elapsed(),
                .jobs = {}};
  if (!coordinator_.up()) return result;
  for (const JobId& id : coordinator_.machine().jobs().order) {
    result.jobs.push_back(coordinator_.machine().jobs().Find(id)->job);
    result.epochs += static_cast<int>(result.jobs.back().epochs.size());
  }
  return result;
}

Result Simulate(const Plan& plan, std::string* text) { return Cluster(plan, text).Run(); }

}  // namespace ringmaster::sim
