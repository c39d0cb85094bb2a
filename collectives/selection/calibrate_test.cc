#include "collectives/selection/calibrate.h"

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "collectives/conformance/communicator_group.h"
#include "collectives/host_communicator.h"
#include "collectives/transport/inproc_transport.h"
#include "common/real_clock.h"
#include "common/status_matchers.h"
#include "gtest/gtest.h"

namespace ringmaster::selection {
namespace {

using ringmaster::testing::Group;
using ringmaster::testing::kLong;
using ringmaster::testing::OnAllRanks;

// Every look takes rank + 1 microseconds, so every rank measures something else.
class RankClock final : public Clock {
 public:
  explicit RankClock(int rank) : step_(absl::Microseconds(rank + 1)) {}
  absl::Time Now() const override { return now_ += step_; }
  absl::Time WallNow() const override { return absl::FromUnixSeconds(1'800'000'000); }

 private:
  const absl::Duration step_;
  mutable absl::Time now_;
};

std::vector<Calibration> CalibrateGroup(const std::vector<int>& hosts, const std::string& cache = {},
                                        const std::string& machines = {}) {
  static const RealClock clock;
  Group group;
  for (std::unique_ptr<Transport>& transport : CreateInprocTransports(static_cast<int>(hosts.size()))) {
    group.push_back(std::make_unique<HostCommunicator>(std::move(transport), clock, HostCommunicatorOptions{}));
  }
  std::vector<Calibration> results(hosts.size());
  const auto statuses = OnAllRanks(group, [&](Communicator& ranks) {
    const auto rank = static_cast<size_t>(ranks.rank());
    const RankClock rank_clock(ranks.rank());
    auto calibration = Calibrate(ranks, {.host = hosts[rank], .cache_directory = cache, .machine = machines}, kLong, rank_clock);
    if (calibration.ok()) results[rank] = *calibration;
    return calibration.status();
  });
  for (const absl::Status& status : statuses) EXPECT_OK(status);
  return results;
}

TEST(CalibrateTest, AllRanksGetTheFiguresOfThoseThatMeasured) {
  // Ranks 1 and 2 stand for links within a host, 0 and 1 for those between hosts, 0 for processors.
  const std::vector<Calibration> results = CalibrateGroup({7, 1, 1, 2});
  for (const Calibration& result : results) {
    EXPECT_EQ(result.layout.hosts, (std::vector<int>{7, 1, 1, 2}));
    EXPECT_EQ(result.constants.host.latency_us, 1.0);      // half of a round trip of one step of rank 1
    EXPECT_EQ(result.constants.network.latency_us, 0.5);   // of rank 0
    EXPECT_EQ(result.constants.network.us_per_byte, 0.0);  // here a long message takes as long as a short one
    EXPECT_EQ(result.constants.add_us_per_byte, 1.0 / (64 << 10));
    EXPECT_EQ(result.constants.copy_us_per_byte, 1.0 / (64 << 10));
  }
}

TEST(CalibrateTest, LinksThatAGroupHasNotGotKeepTheirDefaults) {
  EXPECT_EQ(CalibrateGroup({0, 0})[1].constants.network.latency_us, Constants().network.latency_us);
  EXPECT_EQ(CalibrateGroup({0, 1})[1].constants.host.latency_us, Constants().host.latency_us);
  EXPECT_EQ(CalibrateGroup({3})[0].constants.host.latency_us, Constants().host.latency_us);
}

TEST(CalibrateTest, WhatWasMeasuredOnceIsNotMeasuredAgainForTheSameRanksOnTheSameMachines) {
  const std::string cache = ::testing::TempDir() + "/calibrations";
  std::filesystem::remove_all(cache);
  const std::vector<Calibration> first = CalibrateGroup({0, 1}, cache, "machine a");
  EXPECT_FALSE(first[1].from_cache);
  EXPECT_EQ(first[0].trouble, "");
  const std::vector<Calibration> second = CalibrateGroup({0, 1}, cache, "machine a");
  for (const Calibration& result : second) {
    EXPECT_TRUE(result.from_cache);
    EXPECT_EQ(result.constants.network.latency_us, first[0].constants.network.latency_us);
    EXPECT_EQ(result.measured_at, first[0].measured_at);
  }
  EXPECT_FALSE(CalibrateGroup({0, 1}, cache, "machine b")[0].from_cache) << "rebooted, or another one";
  EXPECT_FALSE(CalibrateGroup({0, 0}, cache, "machine a")[0].from_cache);
  for (const auto& file : std::filesystem::directory_iterator(cache)) std::ofstream(file.path()) << "garbage";
  EXPECT_FALSE(CalibrateGroup({0, 1}, cache, "machine a")[1].from_cache);
  EXPECT_TRUE(CalibrateGroup({0, 1}, cache, "machine a")[1].from_cache) << "what was damaged has been replaced";
}

}  // namespace
}  // namespace ringmaster::selection
