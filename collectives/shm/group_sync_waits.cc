// How a rank waits: looking, giving way, asleep.
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bit>

#include "collectives/shm/group_sync.h"
#include "common/pause.h"

namespace ringmaster::shm {
namespace {

constexpr int kTurnsBeforeTheClock = 2;

bool Membarrier(int command) { return syscall(SYS_membarrier, command, 0, 0) == 0; }

}  // namespace

void GroupSync::Announce() {
  if (!Membarrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED)) segment_.control().fences.fetch_add(1);
}

void GroupSync::Start() {
  fences_ = segment_.control().fences.load() != 0;
  careful_ = fences_ || options_.before_publish != nullptr;
}

bool GroupSync::AwaitUntil(absl::FunctionRef<bool()> done, int peer) {
  // Others are soon through where ranks share a core, and a look at the clock takes long beside a turn.
  for (int turn = 0; options_.share_cores && turn < kTurnsBeforeTheClock; ++turn) {
    if (done()) return true;
    sched_yield();
  }
  absl::Time patient_until = absl::InfinitePast();
  bool reached = false;
  while (!(reached = done())) {
    if (Troubled()) break;
    const absl::Time now = clock_.Now();
    if (patient_until == absl::InfinitePast()) patient_until = now + options_.patience;
    if (deadline_ == absl::InfiniteFuture()) deadline_ = now + timeout_;
    if (now >= deadline_) {
      GiveUp(peer);
      break;
    }
    if (now < patient_until) {
      GiveWay();
      continue;
    }
    // Looks at memory of every peer: too much for each turn of ranks that share a core, and who calls last looks in any case.
    if (!CheckForCrossedCalls(done)) break;
    if (const uint64_t behind = Behind(peer); recorder_ != nullptr && behind != 0) recorder_->WaitsFor(std::countr_zero(behind));
    Sleep(done, deadline_ - now);
  }
  return reached;
}

void GroupSync::GiveWay() const {
  if (options_.share_cores) {
    sched_yield();
  } else {
    for (int i = 0; i < 16; ++i) Pause();
  }
}

bool GroupSync::AwaitRings(absl::FunctionRef<bool()> done, uint64_t receiving, uint64_t sending) {
  RankState& state = segment_.state(rank());
  exchanging_ = receiving | sending;
  if (!collective_) {
    state.blocked_call = Post(*call_);
    state.blocked_receiving.store(receiving, std::memory_order_release);
    state.blocked_sending.store(sending, std::memory_order_release);
  }
  const bool reached = AwaitUntil(done, -1);
  exchanging_ = 0;
  if (!collective_) {
    state.blocked_receiving.store(0, std::memory_order_release);
    state.blocked_sending.store(0, std::memory_order_release);
  }
  return reached;
}

void GroupSync::Sleep(absl::FunctionRef<bool()> done, absl::Duration most) {
  std::atomic<uint64_t>& sleepers = segment_.control().sleepers;
  std::atomic<uint32_t>& bell = segment_.state(rank()).bell;
  sleepers.fetch_or(Bit(rank()));
  if (!fences_) Membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED);
  const uint32_t seen = bell.load();
  if (!done() && !Troubled()) {
    const timespec limit = absl::ToTimespec(most);
    syscall(SYS_futex, reinterpret_cast<uint32_t*>(&bell), FUTEX_WAIT, seen, &limit, nullptr, 0);
  }
  sleepers.fetch_and(~Bit(rank()));
}

}  // namespace ringmaster::shm
