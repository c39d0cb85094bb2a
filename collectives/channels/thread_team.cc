#include "collectives/channels/thread_team.h"

#include "common/check.h"
#include "common/pause.h"

namespace ringmaster {
namespace {

constexpr int kMostParts = 255;
constexpr int kBitsOfParts = 16;

// Looks between two looks at the clock.
constexpr int kLooks = 64;

}  // namespace

void ThreadTeam::Start(int helpers) {
  RM_CHECK(helpers_.empty()) << "started twice";
  stopping_.store(false);
  for (int helper = 0; helper < helpers; ++helper) helpers_.emplace_back([this] { Help(); });
}

void ThreadTeam::Stop() {
  stopping_.store(true);
  ticket_.fetch_add(Ticket{1} << kBitsOfParts);
  ticket_.notify_all();
  for (std::thread& helper : helpers_) helper.join();
  helpers_.clear();
}

void ThreadTeam::Run(int parts, absl::FunctionRef<void(int part)> work) {
  RM_CHECK(parts >= 1 && parts <= kMostParts) << parts << " parts";
  work_ = &work;
  ended_.store(0, std::memory_order_relaxed);
  const Ticket job = (ticket_.load(std::memory_order_relaxed) >> kBitsOfParts) + 1;
  ticket_.store(job << kBitsOfParts | static_cast<Ticket>(parts) << 8);
  ticket_.notify_all();
  while (TakePart()) {
  }
  for (int ended = ended_.load(); ended != parts; ended = ended_.load()) AwaitChange(ended_, ended);
}

bool ThreadTeam::TakePart() {
  Ticket ticket = ticket_.load();
  while (NextOf(ticket) < PartsOf(ticket)) {
    if (!ticket_.compare_exchange_weak(ticket, ticket + 1)) continue;
    (*work_)(NextOf(ticket));
    ended_.fetch_add(1);
    ended_.notify_one();
    return true;
  }
  return false;
}

void ThreadTeam::Help() {
  while (true) {
    const Ticket seen = ticket_.load();
    if (stopping_.load()) return;
    if (!TakePart()) AwaitChange(ticket_, seen);
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
