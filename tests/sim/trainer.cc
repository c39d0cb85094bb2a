#include "tests/sim/trainer.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "common/exit_codes.h"
#include "tests/sim/describe.h"
#include "tests/sim/group.h"
#include "tests/sim/trainers.h"

namespace ringmaster::sim {
namespace {

constexpr char kAwaitEpoch[] = "AwaitEpoch";
constexpr absl::Duration kAwait = absl::Seconds(40);
constexpr absl::Duration kAwaitEpochAgain = absl::Seconds(12);
constexpr absl::Duration kPeerLostGrace = absl::Seconds(5);

std::string AddressOf(const coordinator::RankIdentity& identity) {
  return absl::StrCat(identity.job.value(), "/", identity.epoch.value(), "/", identity.rank.value(), "#",
                      identity.incarnation.value());
}

}  // namespace

Trainer::Trainer(World& world, Network& network, Trainers& all, Start start)
    : world_(world),
      network_(network),
      all_(all),
      start_(std::move(start)),
      identity_{start_.key.job, start_.key.epoch, start_.key.rank, start_.incarnation} {
  stubborn_ = all_.stubborn() && world_.random.OneIn(3);
  stuck_ = stubborn_ && world_.random.OneIn(4);
  if (stubborn_) world_.oracle.IgnoresSigterm(start_.incarnation, stuck_);
}

void Trainer::Do(std::function<void()> what) {
  if (!alive_) return;
  if (standstill_ != Standstill::kNone) {
    deferred_.push_back(std::move(what));
  } else {
    what();
  }
}

void Trainer::Run() {
  const auto self = shared_from_this();
  world_.timeline.After(world_.random.Between(absl::Milliseconds(1), absl::Milliseconds(60)), [self] {
    if (!self->alive_) return;
    self->pid_ = self->all_.NextPid();
    self->start_.started(self->pid_);
    self->world_.timeline.After(self->world_.random.Between(absl::Milliseconds(20), absl::Milliseconds(500)), [self] {
      self->Do([self] {
        if (self->start_.job->spec.joins) return self->Join();
        self->group_ = self->all_.GroupOf(self->identity_.job, self->identity_.epoch, self->start_.world_size);
        self->group_->Connected(self);
      });
    });
  });
}

void Trainer::Call(const char* name, Make make, std::function<void(const coordinator::Answer&)> then) {
  if (!alive_ || lost_peer_) return;
  const auto self = shared_from_this();
  // Now and then somebody else claims to be this rank.
  if (world_.random.OneIn(60)) {
    coordinator::RankIdentity forged = identity_;
    forged.incarnation = forged.incarnation.Next();
    network_.Call(
        start_.host, [make, forged](coordinator::CallId call) { return make(call, forged); },
        [self, name, forged](const absl::Status& status, bool) { self->all_.CheckReply(forged, name, status, true); },
        [](const absl::Status&, const coordinator::Answer&) {});
  }
  network_.Call(
      start_.host, [make, identity = identity_](coordinator::CallId call) { return make(call, identity); },
      [self, name, identity = identity_](const absl::Status& status, bool repeated) {
        self->all_.CheckReply(identity, name, status, repeated);
      },
      [self, name, make, then, epoch = identity_.epoch](const absl::Status& status, const coordinator::Answer& answer) {
        self->Do([=] {
          if (self->identity_.epoch != epoch) return;
          if (status.ok()) return then(answer);
          if (status.code() == absl::StatusCode::kUnavailable || status.code() == absl::StatusCode::kResourceExhausted) {
            self->world_.timeline.After(self->world_.random.Between(absl::Milliseconds(100), absl::Seconds(1)), [=] {
              self->Do([=] {
                if (self->identity_.epoch == epoch) self->Call(name, make, then);
              });
            });
            return;
          }
          self->LosePeer(epoch);
        });
      });
}

void Trainer::AwaitEpoch(bool lost, std::function<void(const absl::Status&, const coordinator::Answer&)> then) {
  if (!alive_) return;
  const auto self = shared_from_this();
  const std::string why = lost ? "a peer is gone" : "";
  network_.Call(
      start_.host,
      [why, identity = identity_, step = std::max<int64_t>(completed_, 0)](coordinator::CallId call) {
        return coordinator::AwaitEpoch{call, identity, why, step, kAwaitEpochAgain};
      },
      [self, identity = identity_](const absl::Status& status, bool repeated) {
        self->all_.CheckReply(identity, kAwaitEpoch, status, repeated);
      },
      [self, lost, then, epoch = identity_.epoch](const absl::Status& status, const coordinator::Answer& answer) {
        const bool again = status.code() == absl::StatusCode::kUnavailable || absl::IsDeadlineExceeded(status) ||
                           status.code() == absl::StatusCode::kResourceExhausted;
        const absl::Duration pause =
            again ? self->world_.random.Between(absl::Milliseconds(100), absl::Seconds(1)) : absl::ZeroDuration();
        self->world_.timeline.After(pause, [=] {
          self->Do([=] {
            if (self->identity_.epoch != epoch || (!lost && self->lost_peer_)) return;
            again ? self->AwaitEpoch(lost, then) : then(status, answer);
          });
        });
      });
}

void Trainer::Join() {
  const bool stays = start_.job->stays;
  Call(
      "Join",
      [stays](coordinator::CallId call, const auto& identity) {
        return coordinator::JoinEpoch{call, identity, stays};
      },
      [self = shared_from_this()](const coordinator::Answer& answer) {
        const auto& joined = std::get<coordinator::JoinAnswer>(answer);
        self->world_.oracle.Joined(self->identity_, joined.world_size);
        if (joined.serialized_spec != self->start_.job->spec.name)
          self->world_.oracle.Violate(Describe(self->key()), ": joined another spec");
        self->group_ = self->all_.GroupOf(self->identity_.job, self->identity_.epoch, joined.world_size);
        if (self->start_.job->stays) self->WatchEpoch();
        self->Restore(joined, 0);
      });
}

void Trainer::WatchEpoch() {
  AwaitEpoch(false, [self = shared_from_this(), epoch = identity_.epoch](const absl::Status&, const coordinator::Answer&) {
    self->LosePeer(epoch);
  });
}

void Trainer::AwaitNextEpoch() {
  AwaitEpoch(true, [self = shared_from_this()](const absl::Status& status, const coordinator::Answer& answer) {
    if (!status.ok()) return self->ExitSoon();
    const coordinator::RankIdentity& next = std::get<coordinator::EpochAnswer>(answer).identity;
    self->world_.oracle.Moved(self->identity_, next);
    self->identity_ = next;
    self->group_ = nullptr;
    self->lost_peer_ = false;
    self->Join();
  });
}

void Trainer::PublishAddress() {
  const std::string value = AddressOf(identity_);
  world_.oracle.Published(key(), value);
  Call(
      "Publish",
      [value](coordinator::CallId call, const auto& identity) {
        return coordinator::PublishKey{call, identity, absl::StrCat("collectives/world/", identity.rank.value()), value};
      },
      [self = shared_from_this()](const coordinator::Answer&) { self->AwaitAddress(0); });
}

void Trainer::AwaitAddress(int rank) {
  if (rank == group_->size()) return group_->Connected(shared_from_this());
  Call(
      "Await",
      [rank](coordinator::CallId call, const auto& identity) {
        return coordinator::AwaitKey{call, identity, absl::StrCat("collectives/world/", rank), kAwait};
      },
      [self = shared_from_this(), rank](const coordinator::Answer& answer) {
        self->world_.oracle.Read(self->key(), Rank(rank), std::get<coordinator::ValueAnswer>(answer).value);
        self->AwaitAddress(rank + 1);
      });
}

bool Trainer::is_at_its_end() const { return group_ != nullptr && group_->finished; }

void Trainer::Finish() {
  finishing_ = true;
  Do([self = shared_from_this()] { self->End({}); });
}

void Trainer::LosePeer(Epoch epoch) {
  if (!alive_ || finishing_ || identity_.epoch != epoch || std::exchange(lost_peer_, true)) return;
  if (group_ != nullptr) group_->Collapse();
  if (!start_.job->stays) return ExitSoon();
  world_.timeline.After(world_.random.Between(absl::Milliseconds(1), absl::Milliseconds(30)),
                        [self = shared_from_this()] { self->Do([self] { self->AwaitNextEpoch(); }); });
}

void Trainer::ExitSoon() {
  world_.timeline.After(kPeerLostGrace, [self = shared_from_this()] {
    self->Do([self] {
      if (!self->signalled_) self->End({.exit_code = kExitPeerLost});
    });
  });
}

void Trainer::Pause(absl::Duration length, Standstill how) {
  if (!alive_ || frozen()) return;
  standstill_ = how;
  world_.oracle.Frozen(start_.incarnation, group_ != nullptr && group_->steps());
  world_.timeline.After(length, [self = shared_from_this()] { self->Wake(); });
}

void Trainer::Wake() {
  if (standstill_ == Standstill::kNone) return;
  standstill_ = Standstill::kNone;
  world_.oracle.Thawed(start_.incarnation);
  for (const auto& what : std::exchange(deferred_, {})) Do(what);
}

coordinator::Progress Trainer::Board() const {
  coordinator::Progress board;
  board.phase = "joining";
  if (group_ != nullptr) board = group_->BoardOf(*this);
  board.step = std::max<int64_t>(completed_, 0);
  board.is_stopped = standstill_ == Standstill::kStopped;
  if (standstill_ == Standstill::kInData) board.phase = "data";
  return board;
}

void Trainer::Terminate() {
  if (!alive_) return;
  if (standstill_ == Standstill::kStopped) Wake();
  if (stubborn_ || frozen()) return;
  signalled_ = true;
  world_.timeline.After(world_.random.Between(absl::Milliseconds(1), absl::Milliseconds(150)),
                        [self = shared_from_this()] { self->End({.exit_code = kExitSignalBase + 15}); });
}

void Trainer::Kill() {
  if (!stuck_) Destroy();
}

void Trainer::Destroy() {
  world_.timeline.After(world_.random.Between(absl::Milliseconds(1), absl::Milliseconds(20)),
                        [self = shared_from_this()] { self->End({.exit_code = kExitSignalBase + 9, .signal = 9}); });
}

void Trainer::End(const ProcessEnd& end) {
  if (!std::exchange(alive_, false)) return;
  world_.trace.Note(Describe(key()), " ends with ", end.exit_code);
  world_.oracle.ProcessEnded(start_.incarnation, end.exit_code);
  deferred_.clear();
  all_.Forget(start_.incarnation);
  if (group_ != nullptr) group_->Died(end.exit_code);
  start_.ended(end);
}

}  // namespace ringmaster::sim
