#include "collectives/selection/cost_model.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "collectives/reduce.h"
#include "collectives/selection/traffic.h"

namespace ringmaster::selection {
namespace {

constexpr int64_t kLargestDirect = 1 << 20;  // of more than two ranks; above, two steps move less

// A rank passes on what it has reduced by the chunk: at the end of a vector its links have nothing to do for as long as the last
// one takes. Where links are fast, long chunks cost the fewest system calls.
constexpr double kLongestChunkUs = 1500;
constexpr int64_t kSmallestChunk = 64 << 10;
// Of a chain whose ranks share cores: while one waits for its chunk another one works, and long ones mean few changes of process.
constexpr int64_t kSharedChainChunk = 512 << 10;

const LinkCost& LinkBetween(int from, int to, const Layout& layout, const Constants& constants) {
  const bool same = layout.hosts[static_cast<size_t>(from)] == layout.hosts[static_cast<size_t>(to)];
  return same ? constants.host : constants.network;
}

// Links of the cycle 0 -> 1 -> .. -> 0 that leave a host; more than one for each host: neighbours are not next to each other.
int Crossings(const Layout& layout) {
  int crossings = 0;
  for (int rank = 0; rank < layout.size(); ++rank) {
    crossings += layout.hosts[static_cast<size_t>(rank)] != layout.hosts[static_cast<size_t>((rank + 1) % layout.size())];
  }
  return crossings;
}

int Hosts(const Layout& layout) {
  std::map<int, int> ranks;
  for (const int host : layout.hosts) ++ranks[host];
  return static_cast<int>(ranks.size());
}

int64_t LongestChunk(const Layout& layout, const Constants& constants) {
  const LinkCost& link = Hosts(layout) > 1 ? constants.network : constants.host;
  int64_t bytes = layout.chunk_bytes;
  while (bytes > kSmallestChunk && static_cast<double>(bytes) * link.us_per_byte > kLongestChunkUs) bytes /= 2;
  return bytes;
}

int64_t ChainChunk(const Layout& layout, const Constants& constants) {
  return std::min(LongestChunk(layout, constants), layout.ranks_per_core > 1 ? kSharedChainChunk : kChainChunk);
}

struct Vector {
  double bytes;
  double partial_bytes;  // of a partial result of the same length
};

class StreamModel {
 public:
  StreamModel(const Call& call, const Layout& layout, const Constants& constants)
      : call_(call), layout_(layout), constants_(constants), size_(layout.size()) {
    vector_.bytes = static_cast<double>(call.count) * static_cast<double>(BytesPerElement(call.type));
    vector_.partial_bytes =
        IsReduction(call.operation)
            ? static_cast<double>(call.count) * static_cast<double>(BytesPerElement(AccumulatorType(call.type, call.reduction)))
            : vector_.bytes;
    for (int rank = 0; rank < size_; ++rank) hop_us_ = std::max(hop_us_, HopUs(LinkBetween(0, rank, layout, constants)));
  }

  std::vector<Prediction> Ways() const {
    switch (call_.operation) {
      case Operation::kAllReduce:
        if (size_ == 2) return {Direct(), TwoStep(), Star(), Chain()};  // Bruck's one step is the direct exchange
        return {Direct(), TwoStep(), Star(), Bruck(), Chain()};
      case Operation::kReduce: return {Direct(), TwoStep()};
      default: return {Direct(), Chain()};  // broadcast
    }
  }

 private:
  // Where ranks share cores, what of the latency is not the work of Traffic's messages.
  double HopUs(const LinkCost& link) const {
    return layout_.ranks_per_core <= 1 ? link.latency_us : std::max(0.0, link.latency_us - SharedMessageUs(constants_));
  }

  double AddUs(double operands, double bytes) const { return operands * bytes * constants_.add_us_per_byte; }

  Prediction Direct() const {
    Traffic traffic(layout_);
    const bool broadcast = call_.operation == Operation::kBroadcast;
    for (int from = 0; from < size_; ++from) {
      for (int to = 0; to < size_; ++to) {
        const bool sends = call_.operation == Operation::kAllReduce || (broadcast ? from : to) == call_.root;
        if (sends) traffic.Send(from, to, vector_.bytes);
      }
    }
    traffic.CallAll();
    const double added = broadcast ? 0 : AddUs(size_ - 1, vector_.bytes);
    return {.way = Way::kDirect, .us = hop_us_ + traffic.Microseconds(constants_) + added};
  }

  Prediction TwoStep() const {
    Traffic traffic(layout_);
    const double slice = vector_.bytes / size_;
    for (int from = 0; from < size_; ++from) {
      for (int to = 0; to < size_; ++to) {
        traffic.Send(from, to, slice);
        if (call_.operation == Operation::kAllReduce || to == call_.root) traffic.Send(from, to, slice);
      }
    }
    traffic.CallAll();
    return {.way = Way::kTwoStep, .us = 2 * hop_us_ + traffic.Microseconds(constants_) + AddUs(size_ - 1, slice)};
  }

  Prediction Star() const {
    Traffic traffic(layout_);
    for (int rank = 1; rank < size_; ++rank) {
      traffic.Send(rank, 0, vector_.bytes);
      traffic.Send(0, rank, vector_.bytes);
    }
    return {.way = Way::kStar, .us = 2 * hop_us_ + traffic.Microseconds(constants_) + AddUs(size_ - 1, vector_.bytes)};
  }

  Prediction Bruck() const {
    Traffic traffic(layout_);
    int steps = 0;
    for (int distance = 1; distance < size_; distance *= 2, ++steps) {
      const int vectors = std::min(distance, size_ - distance);
      for (int rank = 0; rank < size_; ++rank) traffic.Send(rank, (rank - distance + size_) % size_, vectors * vector_.bytes);
    }
    const bool fits = size_ * vector_.bytes <= static_cast<double>(layout_.chunk_bytes);
    return {.way = Way::kBruck,
            .us = steps * hop_us_ + traffic.Microseconds(constants_, steps) + AddUs(size_ - 1, vector_.bytes),
            .possible = fits,
            .remark = fits ? "" : "the vectors of all ranks do not fit into a chunk"};
  }

  // Partial results go up from rank 0 to the last, results on from there to the last but one: see plan.h.
  Prediction Chain() const {
    Traffic traffic(layout_);
    const bool broadcast = call_.operation == Operation::kBroadcast;
    // Of ranks that share cores one works while another waits for its first chunk.
    const bool waits = layout_.ranks_per_core <= 1;
    const double chunk = waits ? std::min(static_cast<double>(ChainChunk(layout_, constants_)), vector_.partial_bytes) : 0;
    const int maker = broadcast ? call_.root : size_ - 1;  // has the results first
    double fill = 0;
    for (int rank = 0; rank < size_; ++rank) {
      const int next = (rank + 1) % size_;
      const LinkCost& link = LinkBetween(rank, next, layout_, constants_);
      const double hop = HopUs(link) + chunk * link.us_per_byte;
      if (next != maker) {
        traffic.Send(rank, next, vector_.bytes);
        fill += hop;
      }
      if (!broadcast && rank != size_ - 1) {
        // The first partial result is plain input.
        traffic.Send(rank, next, rank == 0 ? vector_.bytes : vector_.partial_bytes);
        fill += hop;
      }
    }
    traffic.CallAll();
    // The first chunk's way is the fill; the busiest link carries the others meanwhile and after it.
    const double others = vector_.partial_bytes > 0 ? 1 - chunk / vector_.partial_bytes : 0;
    Prediction chain{.way = Way::kChain,
                     .us = fill + others * traffic.BytesUs(constants_) + traffic.MessagesUs(constants_) +
                           (broadcast ? 0 : AddUs(1, vector_.partial_bytes))};
    const int hosts = Hosts(layout_);
    if (hosts > 1 && Crossings(layout_) > hosts) {
      chain.remark = absl::StrCat("ranks of one host are not neighbours: ", Crossings(layout_), " links between ", hosts, " hosts");
    }
    return chain;
  }

  const Call& call_;
  const Layout& layout_;
  const Constants& constants_;
  const int size_;
  Vector vector_{};
  double hop_us_ = 0;  // the longest from rank 0 on
};

std::vector<Prediction> SharedMemoryWays(const Call& call, const Layout& layout, const Constants& constants) {
  const double bytes = static_cast<double>(call.count) * static_cast<double>(BytesPerElement(call.type));
  const double others = layout.size() - 1, slice = bytes / layout.size();
  const double add = others * slice * constants.add_us_per_byte, copy = bytes * constants.copy_us_per_byte;
  const double chunks = std::max(1.0, bytes / static_cast<double>(layout.chunk_bytes));
  const bool readable = constants.cross_memory_us_per_byte >= 0, pair = layout.size() == 2;
  const bool fits = bytes <= static_cast<double>(layout.post_bytes);
  return {{.way = Way::kOneShot,
           .us = constants.flag_us + copy + others * bytes * constants.add_us_per_byte,
           .possible = fits,
           .remark = fits ? "" : "the operand does not fit into a post"},
          {.way = Way::kTwoShot, .us = 2 * constants.flag_us * chunks + 2 * copy + add},
          {.way = Way::kPairExchange,
           .us = constants.flag_us * (1 + chunks) + copy + bytes * constants.add_us_per_byte,
           .possible = pair,
           .remark = pair ? "" : "for two ranks"},
          {.way = Way::kCrossMemory,
           .us = 2 * constants.flag_us + 2 * others * chunks * constants.cross_memory_us / layout.size() +
                 2 * others * slice * constants.cross_memory_us_per_byte + add,
           .possible = readable,
           .remark = readable ? "" : "the system forbids reading the memory of peers"},
          {.way = Way::kRegistered,
           .us = 2 * constants.flag_us + add + copy,
           .possible = layout.registered,
           .remark = layout.registered ? "" : "the buffers are not registered"}};
}

}  // namespace

const char* NameOf(Way way) {
  switch (way) {
    case Way::kDirect: return "direct";
    case Way::kTwoStep: return "two step";
    case Way::kStar: return "star";
    case Way::kBruck: return "bruck";
    case Way::kChain: return "chain";
    case Way::kOneShot: return "one shot";
    case Way::kTwoShot: return "two shot";
    case Way::kPairExchange: return "pair exchange";
    case Way::kCrossMemory: return "cross memory";
    case Way::kRegistered: return "registered";
  }
  return "unknown";
}

std::vector<Prediction> Predict(const Call& call, const Layout& layout, const Constants& constants) {
  std::vector<Prediction> ways;
  if (layout.size() < 2) return ways;
  if (layout.shared_memory) {
    if (call.operation == Operation::kAllReduce) ways = SharedMemoryWays(call, layout, constants);
  } else if (call.operation == Operation::kAllReduce || call.operation == Operation::kReduce ||
             call.operation == Operation::kBroadcast) {
    ways = StreamModel(call, layout, constants).Ways();
  }
  std::stable_sort(ways.begin(), ways.end(), [](const Prediction& a, const Prediction& b) {
    return std::pair(!a.possible, a.us) < std::pair(!b.possible, b.us);
  });
  return ways;
}

std::string ExplainChoice(const Call& call, const Layout& layout, const Constants& constants, std::optional<Way> chosen) {
  std::string text = absl::StrCat(Describe(call), ", ", layout.size(), " ranks on ", Hosts(layout), " hosts\n");
  const std::vector<Prediction> ways = Predict(call, layout, constants);
  if (ways.empty()) absl::StrAppend(&text, "  ", chosen.has_value() ? NameOf(*chosen) : "there is one algorithm", "\n");
  for (const Prediction& way : ways) {
    const std::string time = way.possible ? absl::StrFormat("%12.1f us", way.us) : std::string("      cannot  ");
    std::string why = way.possible ? absl::StrFormat("%.1f times the least", way.us / ways[0].us) : "";
    if (way.way == chosen.value_or(ways[0].way)) why = "chosen";
    if (!way.remark.empty()) absl::StrAppend(&why, why.empty() ? "" : "; ", way.remark);
    absl::StrAppend(&text, absl::StrFormat("  %-13s%s  %s\n", NameOf(way.way), time, why));
  }
  return text;
}

StreamChoice ChooseForStreams(const Layout& layout, const Constants& constants) {
  StreamChoice choice;
  const auto best = [&](int64_t bytes) {
    const Call call{.operation = Operation::kAllReduce, .type = DataType::kF32, .count = bytes / 4};
    const std::vector<Prediction> ways = Predict(call, layout, constants);
    return ways.empty() ? Way::kDirect : ways[0].way;
  };
  int64_t bytes = 4;
  if (best(bytes) == Way::kBruck) choice.small = Way::kBruck;
  const auto is_small = [&](Way way) { return way == Way::kDirect || way == choice.small; };
  for (; bytes <= kLargestDirect && is_small(best(bytes)); bytes *= 2) choice.direct_bytes = bytes;
  for (; bytes <= kLargestDirect && best(bytes) == Way::kStar; bytes *= 2) choice.star_bytes = bytes;
  choice.large = best(int64_t{1} << 30);
  choice.chunk_bytes = LongestChunk(layout, constants);
  choice.chain_chunk_bytes = ChainChunk(layout, constants);
  // Two ranks send equal bytes either way; directly, nobody waits for a second step.
  if (layout.size() == 2) choice.large = Way::kDirect;
  return choice;
}

}  // namespace ringmaster::selection
