#include "collectives/selection/calibrate.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "collectives/reduce.h"
#include "collectives/selection/constants_cache.h"
#include "common/crc32c.h"
#include "common/status_macros.h"

namespace ringmaster::selection {
namespace {

constexpr int kRounds = 9;  // of each measurement: the least counts, whatever else the machine does
constexpr int64_t kMessageBytes = 128 << 10;
constexpr size_t kBlockFloats = 16 << 10;

// Microseconds.
absl::StatusOr<double> LeastOf(absl::FunctionRef<absl::Status()> what, const Clock& clock) {
  absl::Duration least = absl::InfiniteDuration();
  for (int round = 0; round < kRounds; ++round) {
    const absl::Time begin = clock.Now();
    RM_RETURN_IF_ERROR(what());
    least = std::min(least, clock.Now() - begin);
  }
  return absl::ToDoubleMicroseconds(least);
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
    RM_ASSIGN_OR_RETURN(const double small, LeastOf([&] { return round_trip(1); }, clock));
    RM_RETURN_IF_ERROR(round_trip(kMessageBytes));
    RM_ASSIGN_OR_RETURN(const double large, LeastOf([&] { return round_trip(kMessageBytes); }, clock));
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

absl::Status Measure(Communicator& communicator, const std::vector<int>& hosts, absl::Duration timeout, const Clock& clock,
                     Constants* constants) {
  for (const bool same_host : {true, false}) {
    const std::optional<Pair> pair = FindPair(hosts, same_host);
    if (!pair.has_value()) continue;
    RM_RETURN_IF_ERROR(MeasureLink(communicator, *pair, timeout, clock, same_host ? &constants->host : &constants->network));
  }
  if (communicator.rank() != 0) return absl::OkStatus();
  return MeasureProcessor(clock, constants);
}

}  // namespace

absl::Status MeasureProcessor(const Clock& clock, Constants* constants) {
  std::vector<float> a(kBlockFloats, 1), b(kBlockFloats, 2), c(kBlockFloats);
  constexpr double kBytes = kBlockFloats * sizeof(float);
  const void* const operands[] = {a.data(), b.data()};
  void* const result = c.data();
  RM_ASSIGN_OR_RETURN(const double add, LeastOf(
                                            [&] {
                                              ReduceInOrder(operands, {&result, 1}, kBlockFloats, DataType::kF32, Reduction::kSum);
                                              return absl::OkStatus();
                                            },
                                            clock));
  RM_ASSIGN_OR_RETURN(const double copy, LeastOf(
                                             [&] {
                                               std::memcpy(c.data(), a.data(), kBlockFloats * sizeof(float));
                                               return absl::OkStatus();
                                             },
                                             clock));
  constants->add_us_per_byte = add / kBytes;
  constants->copy_us_per_byte = copy / kBytes;
  return absl::OkStatus();
}

absl::StatusOr<Calibration> Calibrate(Communicator& communicator, const CalibrationOptions& options, absl::Duration timeout,
                                      const Clock& clock) {
  struct Where {
    int64_t host;
    uint64_t machine;
    double ranks_per_core;
  };
  const Where own{options.host, Crc32c(options.machine.data(), options.machine.size()), options.ranks_per_core};
  std::vector<Where> all(static_cast<size_t>(communicator.size()));
  RM_RETURN_IF_ERROR(communicator.AllGather(&own, all.data(), sizeof(own), DataType::kU8, timeout));
  Calibration calibration;
  std::string key = "rank:host/machine";
  for (const Where& where : all) {
    calibration.layout.hosts.push_back(static_cast<int>(where.host));
    calibration.layout.ranks_per_core = std::max(calibration.layout.ranks_per_core, where.ranks_per_core);
    absl::StrAppend(&key, " ", where.host, "/", absl::Hex(where.machine));
  }
  const bool keeps = communicator.rank() == 0 && !options.cache_directory.empty();
  MeasuredConstants known{.constants = {}, .when = clock.WallNow()};
  uint8_t found = 0;
  if (keeps) {
    if (const auto loaded = LoadConstants(options.cache_directory, key, known.when); loaded.ok()) {
      known = *loaded;
      found = 1;
    }
  }
  RM_RETURN_IF_ERROR(communicator.Broadcast(&found, 1, DataType::kU8, /*root=*/0, timeout));
  if (found == 0) {
    RM_RETURN_IF_ERROR(Measure(communicator, calibration.layout.hosts, timeout, clock, &known.constants));
    if (keeps) calibration.trouble = std::string(StoreConstants(options.cache_directory, key, known).message());
  }
  calibration.from_cache = found != 0;
  calibration.measured_at = absl::ToUnixSeconds(known.when);
  RM_RETURN_IF_ERROR(communicator.Broadcast(&known.constants, sizeof(known.constants), DataType::kU8, /*root=*/0, timeout));
  RM_RETURN_IF_ERROR(communicator.Broadcast(&calibration.measured_at, 1, DataType::kI64, /*root=*/0, timeout));
  calibration.constants = known.constants;
  return calibration;
}

}  // namespace ringmaster::selection
