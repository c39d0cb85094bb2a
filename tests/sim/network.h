// What lies between hosts and the coordinator: streams that keep their order, break and lose what is on the way; calls that fail,
// arrive late or twice; hosts that are cut off. Latency is drawn per message, so streams overtake each other.
#ifndef RINGMASTER_TESTS_SIM_NETWORK_H_
#define RINGMASTER_TESTS_SIM_NETWORK_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>

#include "tests/sim/sim_coordinator.h"
#include "tests/sim/world.h"

namespace ringmaster::sim {

// One connection of a worker.
struct Stream {
  coordinator::StreamId id;
  int host = 0;
  std::function<void(const coordinator::Effect&)> on_message;
  std::function<void(const absl::Status&)> on_closed;
  bool broken = false;  // nothing passes any more
  bool told_coordinator = false;
  absl::Time up, down;                     // when the last message of each direction arrives
  std::deque<std::function<void()>> held;  // while the host is cut
};
using StreamPtr = std::shared_ptr<Stream>;

class Network {
 public:
  Network(World& world, SimCoordinator& coordinator) : world_(world), coordinator_(coordinator) {}

  // Null while the coordinator cannot be reached.
  StreamPtr Open(int host, std::function<void(const coordinator::Effect&)> on_message,
                 std::function<void(const absl::Status&)> on_closed);
  void ToCoordinator(const StreamPtr& stream, coordinator::EventBody event);
  void ToWorker(const coordinator::Effect& effect);
  // Both sides hear of it, unless the host is cut.
  void Break(const StreamPtr& stream);
  void BreakAll();  // the coordinator is gone
  void BreakHost(int host);

  void Cut(int host);
  void Mend(int host);  // one cut of it
  bool IsCut(int host) const { return cut_.contains(host); }
  void RepeatCallsUntil(absl::Time time) { repeat_until_ = time; }

  // From a host, or from the user's machine, which is never cut (-1). `answered` runs inside the coordinator's step, `done` where
  // the caller is.
  using Answered = std::function<void(const absl::Status&, bool repeated)>;
  void Call(int host, const std::function<coordinator::EventBody(coordinator::CallId)>& make, const Answered& answered,
            const SimCoordinator::Done& done);

 private:
  void Deliver(const StreamPtr& stream, absl::Time* order, std::function<void()> what);
  void TellCoordinator(const StreamPtr& stream);

  World& world_;
  SimCoordinator& coordinator_;
  uint64_t next_stream_ = 1;
  std::map<coordinator::StreamId, StreamPtr> streams_;
  std::map<int, int> cut_;                   // how often
  std::map<int, absl::Time> refused_until_;  // streams of this host
  absl::Time repeat_until_ = absl::InfinitePast();
};

}  // namespace ringmaster::sim

#endif  // RINGMASTER_TESTS_SIM_NETWORK_H_
