#include "tests/sim/sim_worker.h"

#include <algorithm>
#include <set>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "common/exit_codes.h"
#include "tests/sim/describe.h"

namespace ringmaster::sim {
namespace {

// As in worker/driver.cc; heartbeats only as often as idle ones are, or a run would be mostly heartbeats.
constexpr absl::Duration kFirstBackoff = absl::Milliseconds(50);
constexpr absl::Duration kMaxBackoff = absl::Seconds(2);
constexpr absl::Duration kWelcomeTimeout = absl::Seconds(5);
constexpr absl::Duration kHeartbeat = absl::Seconds(1);
constexpr absl::Duration kGoodbyeTimeout = absl::Seconds(2);

}  // namespace

void SimWorker::Do(std::function<void()> what) {
  if (!alive_) return;
  if (paused()) {
    deferred_.push_back(std::move(what));
  } else {
    what();
  }
}

void SimWorker::After(absl::Duration delay, std::function<void()> what) {
  world_.timeline.After(delay, [self = shared_from_this(), what = std::move(what)] { self->Do(what); });
}

void SimWorker::Start() {
  world_.trace.Note("worker ", options_.name.value(), " starts as ", options_.incarnation.value());
  OpenStream();
}

void SimWorker::Kill() {
  if (!std::exchange(alive_, false)) return;
  world_.trace.Note("worker ", options_.name.value(), " is gone");
  if (stream_ != nullptr) network_.Break(stream_);
  for (const auto& [key, process] : processes_) {
    world_.timeline.After(world_.random.Between(absl::Milliseconds(1), absl::Seconds(1)),
                          [process = process] { process->End({.exit_code = kExitSignalBase + 9, .signal = 9}); });
  }
}

void SimWorker::Pause(absl::Duration length) {
  if (!alive_) return;
  ++pauses_;
  world_.timeline.After(length, [self = shared_from_this()] {
    if (--self->pauses_ > 0) return;
    for (const auto& what : std::exchange(self->deferred_, {})) self->Do(what);
  });
}

void SimWorker::Shutdown(std::function<void()> gone) {
  Do([this, gone = std::move(gone)] {
    gone_ = gone;
    Feed(worker_event::ShutdownRequested{});
  });
}

void SimWorker::OpenStream() {
  link_ = Link::kOpening;
  const auto self = shared_from_this();
  stream_ = network_.Open(
      options_.host, [self](const coordinator::Effect& effect) { self->Do([self, effect] { self->OnMessage(effect); }); },
      [self](const absl::Status& status) { self->Do([self, status] { self->OnClosed(status); }); });
  if (stream_ == nullptr) return OnClosed(absl::UnavailableError("not reachable"));
  After(kWelcomeTimeout, [this, attempt = ++attempt_] {
    if (link_ == Link::kOpening && attempt == attempt_) network_.Break(stream_);
  });
  coordinator::WorkerHello hello{.stream = stream_->id,
                                 .worker = options_.name,
                                 .incarnation = options_.incarnation,
                                 .address = options_.name.value(),
                                 .slots = options_.slots,
                                 .cores = 1,
                                 .version = "sim",
                                 .master_port = 1000,
                                 .running = {}};
  for (const RunningRank& rank : machine_.Running()) hello.running.push_back(Hosted(rank.key, rank.incarnation));
  network_.ToCoordinator(stream_, std::move(hello));
}

coordinator::HostedRank SimWorker::Hosted(const RankKey& key, Incarnation incarnation) const {
  const auto process = processes_.find(key);
  return {key.job, key.epoch, key.rank, incarnation, process == processes_.end() ? 0 : process->second->pid()};
}

void SimWorker::OnMessage(const coordinator::Effect& effect) {
  if (const auto* welcome = std::get_if<coordinator::SendWelcome>(&effect)) {
    if (link_ != Link::kOpening) return;
    link_ = Link::kAttached;
    attached_since_ = world_.timeline.now();
    lease_ = welcome->lease;
    if (options_.other_attached_since() < world_.timeline.now() - absl::Seconds(1)) {
      world_.oracle.Violate("worker ", options_.name.value(),
                            " is accepted beside another one of its name, which is attached and well");
    }
    failed_attempts_ = 0;
    Heartbeat();
    worker_event::Welcomed event;
    for (const auto& rank : welcome->stale) event.stale.push_back({{rank.job, rank.epoch, rank.rank}, rank.incarnation});
    Feed(event);
  } else if (const auto* assign = std::get_if<coordinator::SendAssign>(&effect)) {
    OnAssign(*assign);
  } else if (const auto* stop = std::get_if<coordinator::SendStop>(&effect)) {
    Feed(worker_event::StopRequested{stop->job, stop->epoch, stop->grace, stop->only});
  } else if (const auto* seen = std::get_if<coordinator::SendExitSeen>(&effect)) {
    Feed(worker_event::ExitAcknowledged{{{seen->rank.job, seen->rank.epoch, seen->rank.rank}, seen->rank.incarnation}});
  }
}

void SimWorker::OnAssign(const coordinator::SendAssign& assign) {
  std::set<int> slots;
  Assignment assignment{assign.job, assign.epoch, trainers_.JobNamed(assign.job).spec.stop_grace, {}};
  for (const coordinator::AssignedRank& rank : assign.ranks) {
    assignment.ranks.push_back({rank.rank, rank.incarnation, rank.keeps_process});
    if (rank.keeps_process) world_.oracle.MustHaveRun(rank.incarnation, NameInThisLife());
    if (rank.slot < 0 || rank.slot >= options_.slots || !slots.insert(rank.slot).second) {
      world_.oracle.Violate("worker ", options_.name.value(), " is told to use slot ", rank.slot, " of ", options_.slots);
    }
  }
  if (assign.restart_count != assign.epoch.value() - 1) world_.oracle.Violate(assign.job.value(), ": wrong restart count");
  offered_ = assign;
  Feed(worker_event::Assigned{std::move(assignment)});
}

void SimWorker::OnClosed(const absl::Status& status) {
  if (absl::IsAlreadyExists(status) && options_.predecessor_gone + absl::Seconds(1) < world_.timeline.now()) {
    world_.oracle.Violate("worker ", options_.name.value(), " is refused, and nobody else has its name");
  }
  const Link before = std::exchange(link_, Link::kWaiting);
  refused_since_ = absl::IsAlreadyExists(status) ? std::min(refused_since_, world_.timeline.now()) : absl::InfiniteFuture();
  if (world_.timeline.now() - refused_since_ > lease_) Feed(worker_event::Replaced{});
  stream_ = nullptr;
  ++attempt_;
  if (before == Link::kFinishing) return Finished();
  if (before == Link::kAttached) Feed(worker_event::Disconnected{});
  const absl::Duration ceiling = std::min(kMaxBackoff, kFirstBackoff * (int64_t{1} << std::min(failed_attempts_, 10)));
  ++failed_attempts_;
  if (machine_.draining() && machine_.Running().empty()) return Finished();
  After(world_.random.Between(ceiling / 2, ceiling), [this, attempt = attempt_] {
    if (attempt == attempt_ && link_ == Link::kWaiting) OpenStream();
  });
}

void SimWorker::Heartbeat() {
  coordinator::WorkerHeartbeat heartbeat{stream_->id, 1000, {}};
  for (const auto& [key, process] : processes_) {
    if (process->pid() == 0 || !process->alive()) continue;
    heartbeat.ranks.push_back({Hosted(key, process->start().incarnation), process->Board()});
  }
  network_.ToCoordinator(stream_, std::move(heartbeat));
  After(kHeartbeat, [this, attempt = attempt_] {
    if (attempt == attempt_ && link_ == Link::kAttached) Heartbeat();
  });
}

RankKey SimWorker::KeyOf(Incarnation incarnation) const {
  return std::find_if(processes_.begin(), processes_.end(),
                      [&](const auto& entry) { return entry.second->start().incarnation == incarnation; })
      ->first;
}

WorkerId SimWorker::NameInThisLife() const {
  return WorkerId(absl::StrCat(options_.name.value(), "#", options_.incarnation.value()));
}

void SimWorker::Feed(const WorkerEvent& event) { Perform(machine_.Step(event, world_.timeline.now())); }

void SimWorker::Arm() {
  const absl::Time deadline = machine_.NextDeadline();
  if (deadline >= armed_) return;
  armed_ = deadline;
  After(deadline - world_.timeline.now(), [this, deadline] {
    if (armed_ != deadline) return;
    armed_ = absl::InfiniteFuture();
    if (machine_.NextDeadline() <= world_.timeline.now()) Perform(machine_.OnDeadline(world_.timeline.now()));
    Arm();
  });
}

void SimWorker::StartRanks(const worker_effect::StartRanks& start) {
  const auto assign = assigns_.find({start.job, start.epoch});
  if (assign == assigns_.end()) {
    return world_.oracle.Violate("worker ", options_.name.value(), " starts epoch ", start.epoch.value(), " after it was gone");
  }
  for (const RankAssignment& rank : start.ranks) {
    const RankKey key{start.job, start.epoch, rank.rank};
    world_.oracle.ProcessStarted(key, rank.incarnation, NameInThisLife());
    const auto self = shared_from_this();
    processes_[key] = trainers_.Start(
        {.key = key,
         .incarnation = rank.incarnation,
         .host = options_.host,
         .world_size = assign->second.world_size,
         .started =
             [self, incarnation = rank.incarnation](int64_t) {
               self->Do([self, incarnation] { self->Feed(worker_event::ProcessStarted{self->KeyOf(incarnation)}); });
             },
         .ended =
             [self, incarnation = rank.incarnation](const ProcessEnd& end) {
               // Mostly at once; a busy host may be slower than the peers of the rank.
               const absl::Duration slowest = absl::Milliseconds(self->world_.random.OneIn(4) ? 150 : 10);
               self->After(self->world_.random.Between(absl::Milliseconds(1), slowest), [self, incarnation, end] {
                 const RankKey key = self->KeyOf(incarnation);
                 const auto process = self->processes_.at(key);
                 self->exits_[key] = {.stream = {},
                                      .rank = self->Hosted(key, process->start().incarnation),
                                      .exit_code = end.exit_code,
                                      .signal = end.signal,
                                      .out_of_memory = end.out_of_memory,
                                      .stderr_tail = {},
                                      .last_progress = {},
                                      .error = ""};
                 self->exits_[key].last_progress = process->Board();
                 self->processes_.erase(key);
                 self->Feed(worker_event::ProcessGone{key});
               });
             }});
  }
}

void SimWorker::Perform(const std::vector<WorkerEffect>& effects) {
  const auto signal = [this](const RankKey& key, void (Trainer::*what)()) {
    if (const auto it = processes_.find(key); it != processes_.end()) (it->second.get()->*what)();
  };
  for (const WorkerEffect& effect : effects) {
    if (std::holds_alternative<worker_effect::Accepted>(effect)) {
      assigns_.insert_or_assign({offered_.job, offered_.epoch}, offered_);
    } else if (const auto* start = std::get_if<worker_effect::StartRanks>(&effect)) {
      StartRanks(*start);
    } else if (const auto* keep = std::get_if<worker_effect::Keep>(&effect)) {
      const auto found = processes_.find(keep->from);
      if (found == processes_.end()) continue;
      world_.oracle.Kept(found->second->start().incarnation, keep->to);
      processes_[keep->to] = found->second;
      processes_.erase(keep->from);
    } else if (const auto* terminate = std::get_if<worker_effect::Terminate>(&effect)) {
      signal(terminate->key, &Trainer::Terminate);
    } else if (const auto* kill = std::get_if<worker_effect::Kill>(&effect)) {
      signal(kill->key, &Trainer::Kill);
    } else if (const auto* destroy = std::get_if<worker_effect::Destroy>(&effect)) {
      signal(destroy->key, &Trainer::Destroy);
    } else if (const auto* started = std::get_if<worker_effect::SendStarted>(&effect)) {
      if (link_ != Link::kAttached)
        world_.oracle.Violate("worker ", options_.name.value(), " reports a start while it is not attached");
      if (stream_ != nullptr)
        network_.ToCoordinator(stream_,
                               coordinator::RankStarted{stream_->id, Hosted(started->rank.key, started->rank.incarnation), "cpu"});
    } else if (const auto* sent = std::get_if<worker_effect::SendExit>(&effect)) {
      const auto kept = exits_.find(sent->rank.key);
      if (kept == exits_.end() || link_ != Link::kAttached) {
        world_.oracle.Violate("worker ", options_.name.value(), " reports an exit that it ",
                              kept == exits_.end() ? "does not know" : "cannot send");
        continue;
      }
      coordinator::RankExited exited = kept->second;
      exited.stream = stream_->id;
      network_.ToCoordinator(stream_, std::move(exited));
    } else if (const auto* never = std::get_if<worker_effect::RecordNeverStarted>(&effect)) {
      coordinator::RankExited& exited = exits_[never->rank.key];
      exited.rank = Hosted(never->rank.key, never->rank.incarnation);
      exited.exit_code = kExitFailed;
      exited.error = never->reason;
    } else if (const auto* forget = std::get_if<worker_effect::ForgetExit>(&effect)) {
      exits_.erase(forget->key);
    } else if (const auto* gone = std::get_if<worker_effect::EpochGone>(&effect)) {
      assigns_.erase({gone->job, gone->epoch});
    } else if (std::holds_alternative<worker_effect::Drained>(effect)) {
      if (link_ != Link::kAttached) {
        Finished();
        continue;
      }
      network_.ToCoordinator(stream_, coordinator::WorkerGoodbye{stream_->id, "the worker was stopped"});
      link_ = Link::kFinishing;
      After(kGoodbyeTimeout, [this] { Finished(); });
    }
  }
  Arm();
}

void SimWorker::Finished() {
  if (!alive_) return;
  const auto gone = gone_;
  Kill();
  if (gone) gone();
}

}  // namespace ringmaster::sim
