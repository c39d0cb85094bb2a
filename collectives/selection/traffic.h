// What the ranks of an operation over streams send to each other, and what that takes: a part of the cost model.
#ifndef RINGMASTER_COLLECTIVES_SELECTION_TRAFFIC_H_
#define RINGMASTER_COLLECTIVES_SELECTION_TRAFFIC_H_

#include <algorithm>
#include <cstddef>
#include <map>
#include <numeric>
#include <set>
#include <utility>
#include <vector>

#include "collectives/selection/cost_model.h"

namespace ringmaster::selection {

// What sending a message between hosts and receiving it takes of both processors, as system calls do on loopback.
inline constexpr double kMessageUs = 5;
// Where system calls are slow, the latency of loopback shows it; more than this is a network's.
inline constexpr double kLongestMessageUs = 15;

// Ranks that share a core share its cache. Where they have more streams between hosts than this, what is on its way on all of them
// has left the cache before it is taken, it seems: fitted to 4, 6 and 8 ranks on two cores.
inline constexpr double kStreamsInCache = 12;
inline constexpr double kOutOfCache = 1.7;

// Bytes that ranks send to each other, summed up by host (what crosses the network) and by rank (what stays within the host), and
// messages between hosts.
class Traffic {
 public:
  explicit Traffic(const Layout& layout) : layout_(layout), streams_(layout.hosts.size()), ends_(layout.hosts.size()) {}

  void Send(int from, int to, double bytes) {
    if (from == to || bytes <= 0) return;
    const int from_host = layout_.hosts[static_cast<size_t>(from)], to_host = layout_.hosts[static_cast<size_t>(to)];
    if (from_host == to_host) {
      streams_[static_cast<size_t>(from)] += bytes;
      streams_[static_cast<size_t>(to)] += bytes;
    } else {
      out_[from_host] += bytes;
      in_[to_host] += bytes;
      between_hosts_.emplace(from, to);
      ends_[static_cast<size_t>(from)] += 0.5;
      ends_[static_cast<size_t>(to)] += 0.5;
    }
  }

  // In `steps`, one behind the other.
  double Microseconds(const Constants& constants, int steps = 1) const {
    double network = 0;
    for (const auto& [host, bytes] : out_) network = std::max(network, bytes);
    for (const auto& [host, bytes] : in_) network = std::max(network, bytes);
    if (StreamsOfCore() > kStreamsInCache) network *= kOutOfCache;
    const double local = *std::max_element(streams_.begin(), streams_.end()) / 2;
    return std::max(network * constants.network.us_per_byte, local * constants.host.us_per_byte) + MessagesUs(constants, steps);
  }

 private:
  double StreamsOfCore() const {
    if (layout_.ranks_per_core <= 1) return 0;
    return layout_.ranks_per_core * static_cast<double>(between_hosts_.size()) / layout_.size();
  }

  // With a core of its own, the busiest rank's behind the first one of each step, which is in the latency. Else those of all ranks
  // of a core; or what the busiest rank sends and receives, for which the others wait.
  double MessagesUs(const Constants& constants, int steps) const {
    const double busiest = *std::max_element(ends_.begin(), ends_.end());
    if (layout_.ranks_per_core <= 1) return kMessageUs * std::max(0.0, busiest - steps);
    const double all = std::accumulate(ends_.begin(), ends_.end(), 0.0);
    const double each = all / static_cast<double>(ends_.size());
    return std::clamp(constants.network.latency_us, kMessageUs, kLongestMessageUs) *
           std::max(layout_.ranks_per_core * each, 2 * busiest);
  }

  const Layout& layout_;
  std::vector<double> streams_;     // by rank, in and out
  std::vector<double> ends_;        // by rank: messages, half for each end
  std::map<int, double> out_, in_;  // by host
  std::set<std::pair<int, int>> between_hosts_;
};

}  // namespace ringmaster::selection

#endif  // RINGMASTER_COLLECTIVES_SELECTION_TRAFFIC_H_
