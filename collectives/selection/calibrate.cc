#include "collectives/selection/calibrate.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "collectives/reduce.h"
#include "common/status_macros.h"

namespace ringmaster::selection {
namespace {

constexpr int kRounds = 9;  // of each measurement: the median counts
constexpr int64_t kMessageBytes = 128 << 10;
constexpr size_t kBlockFloats = 16 << 10;

// Microseconds.
absl::StatusOr<double> MedianOf(absl::FunctionRef<absl::Status()> what, const Clock& clock) {
  std::array<double, kRounds> times{};
  for (double& time : times) {
    const absl::Time begin = clock.Now();
    RM_RETURN_IF_ERROR(what());
    time = absl::ToDoubleMicroseconds(clock.Now() - begin);
  }
  std::nth_element(times.begin(), times.begin() + kRounds / 2, times.end());
  return times[kRounds / 2];
}

using Pair = std::pair<int, int>;

// The first two ranks with that kind of link.
std::optional<Pair> FindPair(const std::vector<int>& hosts, bool same_host) {
  for (size_t a = 0; a < hosts.size(); ++a) {
    for (size_t b = a + 1; b < hosts.size(); ++b) {
      if ((hosts[a] == hosts[b]) == same_host) return Pair(a, b);
    }
  }
  return std::nullopt;
}

// The lower rank sends and times, the other answers with a byte.
absl::Status MeasureLink(Communicator& communicator, const Pair& pair, absl::Duration timeout, const Clock& clock, LinkCost* cost) {
  std::vector<char> message(kMessageBytes);
  if (communicator.rank() == pair.first) {
    const auto round_trip = [&](int64_t bytes) -> absl::Status {
      RM_RETURN_IF_ERROR(communicator.Send(message.data(), bytes, DataType::kU8, pair.second, timeout));
      return communicator.Receive(message.data(), 1, DataType::kU8, pair.second, timeout);
    };
    RM_RETURN_IF_ERROR(round_trip(1));  // the first one finds caches cold
    RM_ASSIGN_OR_RETURN(const double small, MedianOf([&] { return round_trip(1); }, clock));
    RM_RETURN_IF_ERROR(round_trip(kMessageBytes));
    RM_ASSIGN_OR_RETURN(const double large, MedianOf([&] { return round_trip(kMessageBytes); }, clock));
    cost->latency_us = small / 2;
    cost->us_per_byte = std::max(0.0, large - small) / static_cast<double>(kMessageBytes);
  } else if (communicator.rank() == pair.second) {
    for (int round = 0; round < 2 * (kRounds + 1); ++round) {
      const int64_t bytes = round <= kRounds ? 1 : kMessageBytes;
      RM_RETURN_IF_ERROR(communicator.Receive(message.data(), bytes, DataType::kU8, pair.first, timeout));
      RM_RETURN_IF_ERROR(communicator.Send(message.data(), 1, DataType::kU8, pair.first, timeout));
    }
  }
  return communicator.Broadcast(cost, sizeof(*cost), DataType::kU8, pair.first, timeout);
}

}  // namespace

absl::Status MeasureProcessor(const Clock& clock, Constants* constants) {
  std::vector<float> a(kBlockFloats, 1), b(kBlockFloats, 2), c(kBlockFloats);
  constexpr double kBytes = kBlockFloats * sizeof(float);
  const void* const operands[] = {a.data(), b.data()};
  void* const result = c.data();
  RM_ASSIGN_OR_RETURN(const double add, MedianOf(
                                            [&] {
                                              ReduceInOrder(operands, {&result, 1}, kBlockFloats, DataType::kF32, Reduction::kSum);
                                              return absl::OkStatus();
                                            },
                                            clock));
  RM_ASSIGN_OR_RETURN(const double copy, MedianOf(
                                             [&] {
                                               std::memcpy(c.data(), a.data(), kBlockFloats * sizeof(float));
                                               return absl::OkStatus();
                                             },
                                             clock));
  constants->add_us_per_byte = add / kBytes;
  constants->copy_us_per_byte = copy / kBytes;
  return absl::OkStatus();
}

absl::StatusOr<Calibration> Calibrate(Communicator& communicator, int host, absl::Duration timeout, const Clock& clock) {
  Calibration calibration;
  calibration.layout.hosts.resize(static_cast<size_t>(communicator.size()));
  const int32_t own = host;
  RM_RETURN_IF_ERROR(communicator.AllGather(&own, calibration.layout.hosts.data(), 1, DataType::kI32, timeout));
  Constants& constants = calibration.constants;
  for (const bool same_host : {true, false}) {
    const std::optional<Pair> pair = FindPair(calibration.layout.hosts, same_host);
    if (!pair.has_value()) continue;
    RM_RETURN_IF_ERROR(MeasureLink(communicator, *pair, timeout, clock, same_host ? &constants.host : &constants.network));
  }
  if (communicator.rank() == 0) RM_RETURN_IF_ERROR(MeasureProcessor(clock, &constants));
  RM_RETURN_IF_ERROR(communicator.Broadcast(&constants, sizeof(constants), DataType::kU8, /*root=*/0, timeout));
  return calibration;
}

}  // namespace ringmaster::selection
