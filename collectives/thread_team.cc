#include "collectives/thread_team.h"

#include "common/check.h"
#include "common/pause.h"

namespace ringmaster {
namespace {

constexpr int kBitsOfParts = 8;

// Looks between two looks at the clock.
constexpr int kLooks = 64;

}  // namespace

void ThreadTeam::Start(int helpers) {
  RM_CHECK(helpers_.empty()) << "started twice";
  stopping_.store(false);
  for (int part = 1; part <= helpers; ++part) helpers_.emplace_back([this, part] { Help(part); });
}

void ThreadTeam::Stop() {
  stopping_.store(true);
  ticket_.store(NextJob());  // of no parts
  ticket_.notify_all();
  for (std::thread& helper : helpers_) helper.join();
  helpers_.clear();
}

void ThreadTeam::Run(int parts, absl::FunctionRef<void(int part)> work) {
  RM_CHECK(parts >= 1 && parts <= kMostParts) << parts << " parts";
  work_ = &work;
  ended_.store(0, std::memory_order_relaxed);
  const Ticket ticket = NextJob() | static_cast<Ticket>(parts);
  ticket_.store(ticket);
  ticket_.notify_all();
  for (int part = 0; part < parts; ++part) Take(part, ticket);
  for (int ended = ended_.load(); ended != parts; ended = ended_.load()) AwaitChange(ended_, ended);
}

ThreadTeam::Ticket ThreadTeam::NextJob() const { return ((ticket_.load() >> kBitsOfParts) + 1) << kBitsOfParts; }

// Tickets only grow: one that is behind what a part was last taken for is of a job that is over.
void ThreadTeam::Take(int part, Ticket ticket) {
  std::atomic<Ticket>& taken = seats_[static_cast<size_t>(part)].taken;
  Ticket last = taken.load();
  if (last >= ticket || !taken.compare_exchange_strong(last, ticket)) return;
  (*work_)(part);
  ended_.fetch_add(1);
  ended_.notify_one();
}

void ThreadTeam::Help(int part) {
  while (true) {
    const Ticket seen = ticket_.load();
    if (stopping_.load()) return;
    if (part < PartsOf(seen)) Take(part, seen);
    AwaitChange(ticket_, seen);
  }
}

template <typename Value>
void ThreadTeam::AwaitChange(const std::atomic<Value>& value, Value seen) const {
  const absl::Time end = clock_.Now() + patience_;
  while (true) {
    for (int look = 0; look < kLooks; ++look) {
      if (value.load(std::memory_order_relaxed) != seen) return;
      Pause();
    }
    if (clock_.Now() >= end) return value.wait(seen);
  }
}

}  // namespace ringmaster
