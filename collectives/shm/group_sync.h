// How the ranks of one host wait for each other in shared memory, and how they learn that it is of no use to wait: counters that
// only grow, awaited first by looking, then (where ranks share cores, at once) by giving way, at last asleep in a futex.
//
// Waking costs a rank nothing while nobody sleeps: a poster writes its counter and looks at one word of sleepers that has not
// changed. That the two are not reordered is the sleeper's concern, which calls membarrier(2) before it looks a last time; where
// the system has none, posters use a fence.
//
// Failure: the first rank that gives up writes why into its words and itself into Control::broken; the first one stays, so all
// ranks name the same culprit. A peer that closed counts only in operations that it has not finished.
//
// Threads: the operation's thread calls everything but PeerClosed and Abort, which may come from any thread.
#ifndef RINGMASTER_COLLECTIVES_SHM_GROUP_SYNC_H_
#define RINGMASTER_COLLECTIVES_SHM_GROUP_SYNC_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "collectives/flight/flight_recorder.h"
#include "collectives/shm/control.h"
#include "common/clock.h"
#include "common/mutex.h"

namespace ringmaster::shm {

struct GroupSyncOptions {
  int rank = 0;
  std::vector<std::string> names;  // by rank: "rank 3 (host h2, pid 812)"
  bool share_cores = false;        // more ranks than cores: give way instead of looking again
  // How long to look (or give way) before sleeping. Waking a core costs about 36 us.
  absl::Duration patience = absl::Microseconds(500);
  // For tests: called by the operation's thread before each counter that this rank writes.
  std::function<void()> before_publish = nullptr;
};

class GroupSync {
 public:
  GroupSync(Segment segment, const Clock& clock, GroupSyncOptions options);

  int rank() const { return options_.rank; }
  int size() const { return static_cast<int>(options_.names.size()); }
  const std::string& NameOf(int rank) const { return options_.names[static_cast<size_t>(rank)]; }
  bool share_cores() const { return options_.share_cores; }
  const Segment& segment() const { return segment_; }
  uint64_t sequence() const { return sequence_; }
  uint64_t number() const { return sequence_ - formed_; }  // for messages

  // Enters (or leaves: false) the ranks that can use membarrier; once, before any wait, and before all ranks call Start.
  void Announce();
  // All ranks have announced.
  void Start();
  // The next operation is number 1 for people: what came before formed the group.
  void CountFromHere() { formed_ = sequence_; }

  // A new operation: `call` must live until it has ended. `recorder` may be null; it learns whom a long wait is for.
  void Begin(const Call& call, bool collective, absl::Duration timeout, FlightRecorder* recorder);
  // The operation has ended well here: what it does is done.
  void Finish();

  // Writes a counter of this rank and wakes who waits for it.
  void Publish(std::atomic<uint64_t>& counter, uint64_t value) {
    if (careful_) [[unlikely]]
      return PublishCarefully(counter, value);
    counter.store(value, std::memory_order_release);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    if (segment_.control().sleepers.load(std::memory_order_relaxed) != 0) [[unlikely]]
      Ring();
  }

  // Waits until `counter` has reached `value`; `peer` is who must bring it there. False: the group is broken, see status().
  bool Await(const std::atomic<uint64_t>& counter, uint64_t value, int peer) {
    for (int look = 0; look < looks_; ++look) {
      if (counter.load(std::memory_order_acquire) >= value) return true;
    }
    return AwaitUntil([&] { return counter.load(std::memory_order_acquire) >= value; }, peer);
  }

  // Waits for the post of `peer`, which has `bytes` of its operand with it. Where these are few their lines are fetched again with
  // each look: they then cross from core to core together with the counter instead of after it. (Of more, the poster would lose
  // lines that it is still writing.)
  bool AwaitPost(int peer, size_t bytes) {
    const Slot& slot = segment_.slot(sequence_, peer);
    const char* const begin = reinterpret_cast<const char*>(&slot);
    const size_t end = bytes <= kFewBytes ? sizeof(Slot) + bytes : 0;
    for (int look = 0; look < looks_; ++look) {
      for (size_t at = sizeof(Slot); at < end; at += sizeof(Slot)) __builtin_prefetch(begin + at);
      if (slot.sequence.load(std::memory_order_acquire) >= sequence_) return true;
    }
    return AwaitUntil([&] { return slot.sequence.load(std::memory_order_acquire) >= sequence_; }, peer);
  }

  // Waits for any condition on the segment; `done` only looks. peer < 0: whoever is behind.
  bool AwaitUntil(absl::FunctionRef<bool()> done, int peer);

  // The same for a send or receive, which waits for the rings from and to some peers (bits by rank) to move. A peer that waits for
  // this rank in a collective meanwhile would do so for ever: that is a mismatch.
  bool AwaitRings(absl::FunctionRef<bool()> done, uint64_t receiving, uint64_t sending);

  // Gives up. Returns false, for `return Break(..)`. The words that stay are those of the first rank that did.
  bool Break(Cause cause, int culprit, std::string_view words);

  // What broke the group; OK while it is whole or its trouble does not concern the current operation.
  absl::Status status();
  // Cheap look whether an operation may begin.
  bool whole() const {
    return segment_.control().broken.load(std::memory_order_relaxed) == 0 && !aborted_.load(std::memory_order_relaxed);
  }

  void PeerClosed(int peer);
  void Abort(std::string_view reason);

 private:
  static constexpr size_t kFewBytes = 288;  // with the call: five lines

  void PublishCarefully(std::atomic<uint64_t>& counter, uint64_t value);
  void Ring();
  void RingBell(int rank);
  bool Troubled();
  bool GiveUp(int peer);
  uint64_t Behind(int peer) const;  // bits by rank
  bool IsCrossed(int peer, absl::FunctionRef<bool()> done) const;
  bool CheckForCrossedCalls(absl::FunctionRef<bool()> done);
  std::string During() const;
  bool Claim(BrokenWord word);

  // group_sync_waits.cc
  void GiveWay() const;
  void Sleep(absl::FunctionRef<bool()> done, absl::Duration most);

  const Segment segment_;
  const Clock& clock_;
  const GroupSyncOptions options_;
  const int looks_;
  bool fences_ = true;
  bool careful_ = true;  // fences, or a test looks on

  // The operation in progress.
  const Call* call_ = nullptr;
  FlightRecorder* recorder_ = nullptr;
  bool collective_ = false;
  absl::Duration timeout_;
  absl::Time deadline_;      // set by the first wait that lasts
  uint64_t exchanging_ = 0;  // bit by rank: a send or receive waits for it
  uint64_t sequence_ = 0;
  uint64_t formed_ = 0;

  std::atomic<uint64_t> closed_{0};  // bit by rank
  std::atomic<bool> aborted_{false};
  Mutex mu_;
  std::string abort_reason_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ringmaster::shm

#endif  // RINGMASTER_COLLECTIVES_SHM_GROUP_SYNC_H_
