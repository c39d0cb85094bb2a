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
// A longer latency is a network's.
inline constexpr double kLongestMessageUs = 15;

// Ranks that share a core share its cache. Where each sends to two others and more at a time, what is on its way has left the cache
// before it is taken, it seems: fitted to 3, 4, 5, 6 and 8 ranks on two cores, where it was 1.3 to 2.1.
inline constexpr double kStreamsInCache = 2;
inline constexpr double kOutOfCache = 1.7;

// A rank finds less in the cache of a core that it shares than the pair of ranks that measured the link.
inline constexpr double kSharedCore = 1.5;

// Where ranks share cores: what a message takes of both, with the change of process that it makes. Loopback's latency shows what
// system calls take: fitted to two cores of two machines, 9 and 16 us where the latency was 6 and 11.
inline double SharedMessageUs(const Constants& constants) {
  return 1.5 * std::clamp(constants.network.latency_us, kMessageUs, kLongestMessageUs);
}

// Bytes that ranks send to each other, summed up by host (what crosses the network) and by rank (what stays within the host), and
// messages between hosts.
class Traffic {
 public:
  explicit Traffic(const Layout& layout)
      : layout_(layout),
        streams_(layout.hosts.size()),
        sent_(layout.hosts.size()),
        taken_(layout.hosts.size()),
        ends_(layout.hosts.size()) {}

  void Send(int from, int to, double bytes) {
    if (from == to || bytes <= 0) return;
    const int from_host = layout_.hosts[static_cast<size_t>(from)], to_host = layout_.hosts[static_cast<size_t>(to)];
    if (from_host == to_host) {
      streams_[static_cast<size_t>(from)] += bytes;
      streams_[static_cast<size_t>(to)] += bytes;
    } else {
      out_[from_host] += bytes;
      in_[to_host] += bytes;
      sent_[static_cast<size_t>(from)] += bytes;
      taken_[static_cast<size_t>(to)] += bytes;
      between_hosts_.emplace(from, to);
      Message(from, to);
    }
  }

  // Each rank calls every other; where it has sent something, together with that. On a shared core calls are sent, and taken, many
  // in one turn.
  void CallAll() {
    for (int from = 0; from < layout_.size(); ++from) {
      for (int to = 0; to < layout_.size(); ++to) {
        const bool apart = layout_.hosts[static_cast<size_t>(from)] != layout_.hosts[static_cast<size_t>(to)];
        if (apart && !between_hosts_.contains({from, to})) Message(from, to, layout_.ranks_per_core > 1 ? 0.5 : 1);
      }
    }
  }

  // In `steps`, one behind the other.
  double Microseconds(const Constants& constants, int steps = 1) const { return BytesUs(constants) + MessagesUs(constants, steps); }

  double BytesUs(const Constants& constants) const {
    double network = CoreBytes();
    for (const auto& [host, bytes] : out_) network = std::max(network, bytes);
    for (const auto& [host, bytes] : in_) network = std::max(network, bytes);
    if (layout_.ranks_per_core > 1 && StreamsOfRank() >= kStreamsInCache) network *= kOutOfCache;
    const double local = *std::max_element(streams_.begin(), streams_.end()) / 2;
    return std::max(network * constants.network.us_per_byte, local * constants.host.us_per_byte);
  }

  // With a core of its own, the busiest rank's behind the first one of each step, which is in the latency. Else those of all ranks
  // of a core, or of the busiest rank.
  double MessagesUs(const Constants& constants, int steps = 1) const {
    const double busiest = *std::max_element(ends_.begin(), ends_.end());
    if (layout_.ranks_per_core <= 1) return kMessageUs * std::max(0.0, busiest - steps);
    const double each = std::accumulate(ends_.begin(), ends_.end(), 0.0) / static_cast<double>(ends_.size());
    return SharedMessageUs(constants) * std::max(layout_.ranks_per_core * each, busiest);
  }

 private:
  void Message(int from, int to, double cost = 1) {
    ends_[static_cast<size_t>(from)] += cost / 2;
    ends_[static_cast<size_t>(to)] += cost / 2;
  }

  double StreamsOfRank() const { return static_cast<double>(between_hosts_.size()) / layout_.size(); }

  // What the core of the busiest rank copies, for it and for those that share it; 0: it shares with nobody.
  double CoreBytes() const {
    if (layout_.ranks_per_core <= 1) return 0;
    double busiest = 0;
    for (size_t rank = 0; rank < sent_.size(); ++rank) busiest = std::max({busiest, sent_[rank], taken_[rank]});
    const double each = std::accumulate(sent_.begin(), sent_.end(), 0.0) / static_cast<double>(sent_.size());
    return kSharedCore * (busiest + (layout_.ranks_per_core - 1) * each);
  }

  const Layout& layout_;
  std::vector<double> streams_;       // by rank, in and out
  std::vector<double> sent_, taken_;  // by rank, between hosts
  std::vector<double> ends_;          // by rank: messages, half for each end
  std::map<int, double> out_, in_;    // by host
  std::set<std::pair<int, int>> between_hosts_;
};

}  // namespace ringmaster::selection

#endif  // RINGMASTER_COLLECTIVES_SELECTION_TRAFFIC_H_
