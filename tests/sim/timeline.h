// Virtual time: what is to happen, in order of its time and, at the same time, in order of being asked for. One thread, no clock.
#ifndef RINGMASTER_TESTS_SIM_TIMELINE_H_
#define RINGMASTER_TESTS_SIM_TIMELINE_H_

#include <algorithm>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "absl/time/time.h"

namespace ringmaster::sim {

class Timeline {
 public:
  using Action = std::function<void()>;

  static absl::Time Start() { return absl::UnixEpoch() + absl::Hours(1000); }
  absl::Time now() const { return now_; }
  absl::Duration elapsed() const { return now_ - Start(); }

  // A time in the past counts as now.
  void At(absl::Time time, Action action) {
    if (time == absl::InfiniteFuture()) return;
    items_.push_back({std::max(time, now_), next_++, std::move(action)});
    std::push_heap(items_.begin(), items_.end());
  }
  void After(absl::Duration delay, Action action) { At(now_ + delay, std::move(action)); }

  // False when nothing is left.
  bool RunOne() {
    if (items_.empty()) return false;
    std::pop_heap(items_.begin(), items_.end());
    Item item = std::move(items_.back());
    items_.pop_back();
    now_ = item.time;
    item.action();
    return true;
  }

 private:
  struct Item {
    absl::Time time;
    uint64_t number = 0;
    Action action;
    bool operator<(const Item& other) const { return time != other.time ? time > other.time : number > other.number; }
  };

  absl::Time now_ = Start();
  uint64_t next_ = 0;
  std::vector<Item> items_;  // a heap, the next on top
};

}  // namespace ringmaster::sim

#endif  // RINGMASTER_TESTS_SIM_TIMELINE_H_
