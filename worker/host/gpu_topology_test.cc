#include "worker/host/gpu_topology.h"

#include <filesystem>
#include <fstream>
#include <memory>
#include <set>
#include <string>

#include "common/status_matchers.h"
#include "worker/host/fake_gpu_driver.h"

namespace ringmaster {
namespace {

using ::testing::ElementsAre;
using testing::FakeGpuDriver;
using ::testing::HasSubstr;
using testing::StatusIs;
namespace fs = std::filesystem;

// What every driver keeps to.
using MakeDriver = absl::StatusOr<std::unique_ptr<GpuDriver>> (*)();

absl::StatusOr<std::unique_ptr<GpuDriver>> MakeFake() {
  auto fake = std::make_unique<FakeGpuDriver>(std::vector<int>{1, 1, 11});
  fake->Link(0, 1, 4);
  return fake;
}

class GpuDriverConformance : public ::testing::TestWithParam<MakeDriver> {
 protected:
  void SetUp() override {
    auto made = GetParam()();
    if (absl::IsFailedPrecondition(made.status())) GTEST_SKIP() << "no GPU: " << made.status().message();
    ASSERT_OK(made);
    driver_ = *std::move(made);
    ASSERT_OK_AND_ASSIGN(count_, driver_->Count());
  }
  std::unique_ptr<GpuDriver> driver_;
  int count_ = 0;
};

TEST_P(GpuDriverConformance, EachGpuHasANameAndAnAddressOfItsOwn) {
  std::set<std::string> uuids, addresses;
  for (int gpu = 0; gpu < count_; ++gpu) {
    ASSERT_OK_AND_ASSIGN(const GpuFacts facts, driver_->Facts(gpu));
    EXPECT_NE(facts.name, "");
    EXPECT_TRUE(facts.uuid.starts_with("GPU-")) << facts.uuid;
    EXPECT_THAT(facts.pci_bus_id, ::testing::MatchesRegex("[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\\.0"));
    EXPECT_GT(facts.memory_bytes, int64_t{1} << 30);
    uuids.insert(facts.uuid);
    addresses.insert(facts.pci_bus_id);
  }
  EXPECT_EQ(static_cast<int>(uuids.size()), count_);
  EXPECT_EQ(static_cast<int>(addresses.size()), count_);
}

TEST_P(GpuDriverConformance, PathsAreTheSameBothWays) {
  for (int from = 0; from < count_; ++from) {
    EXPECT_OK(driver_->NvLinks(from));
    for (int to = 0; to < count_; ++to) {
      ASSERT_OK_AND_ASSIGN(const PcieDistance there, driver_->Distance(from, to));
      ASSERT_OK_AND_ASSIGN(const PcieDistance back, driver_->Distance(to, from));
      EXPECT_EQ(there, back);
      EXPECT_EQ(there == PcieDistance::kBoard, from == to);
    }
  }
}

TEST_P(GpuDriverConformance, AGpuThatDoesNotExistIsRefused) {
  for (const int gpu : {-1, count_}) {
    EXPECT_THAT(driver_->Facts(gpu), StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("this host has")));
    EXPECT_THAT(driver_->NvLinks(gpu), StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("this host has")));
    EXPECT_THAT(driver_->Distance(0, gpu), StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("this host has")));
  }
}

INSTANTIATE_TEST_SUITE_P(Fake, GpuDriverConformance, ::testing::Values(&MakeFake));
INSTANTIATE_TEST_SUITE_P(Nvml, GpuDriverConformance, ::testing::Values(&LoadNvml));

// A /sys with two NUMA nodes of four cores.
fs::path MakeSystem(const std::string& name, const std::vector<int>& node_of_gpu) {
  const fs::path system = fs::path(::testing::TempDir()) / name;
  fs::remove_all(system);
  const auto write = [](const fs::path& path, const std::string& text) {
    fs::create_directories(path.parent_path());
    std::ofstream(path) << text << "\n";
  };
  for (size_t gpu = 0; gpu < node_of_gpu.size(); ++gpu) {
    write(system / "bus/pci/devices" / FakeGpuDriver::AddressOf(static_cast<int>(gpu)) / "numa_node",
          std::to_string(node_of_gpu[gpu]));
  }
  write(system / "devices/system/node/node0/cpulist", "0-1,4-5");
  write(system / "devices/system/node/node1/cpulist", "2-3,6-7");
  return system;
}

TEST(GpuTopology, CountsTheNvlinksBetweenTwoGpus) {
  FakeGpuDriver driver({1, 1, 11});
  driver.Link(0, 1, 4);
  driver.Link(1, 2, 2);
  ASSERT_OK_AND_ASSIGN(const GpuTopology topology, ReadGpuTopology(driver, "/nowhere"));
  EXPECT_EQ(NameOf(topology.paths[0][1]), "NV4");
  EXPECT_EQ(NameOf(topology.paths[2][1]), "NV2");
  EXPECT_EQ(NameOf(topology.paths[0][2]), "SYS");
  EXPECT_EQ(NameOf(topology.paths[1][1]), "X");
  EXPECT_EQ(topology.gpus[0].numa_node, -1);
}

TEST(GpuTopology, ThroughASwitchAllGpusAreLinkedByAsManyAsTheLesserHas) {
  FakeGpuDriver driver({1, 2, 11});
  for (const int gpu : {0, 1, 2}) driver.LinkToSwitch(gpu, gpu == 2 ? 12 : 18);
  ASSERT_OK_AND_ASSIGN(const GpuTopology topology, ReadGpuTopology(driver, "/nowhere"));
  EXPECT_EQ(NameOf(topology.paths[0][1]), "NV18");
  EXPECT_EQ(NameOf(topology.paths[1][2]), "NV12");
  EXPECT_THAT(OrderGpus(topology), ElementsAre(0, 1, 2));
}

TEST(GpuTopology, NeighboursInOrderHaveTheBestPaths) {
  FakeGpuDriver driver({1, 11, 1, 11});  // 0 and 2 share a switch, 1 and 3 another at the other node
  ASSERT_OK_AND_ASSIGN(const GpuTopology by_switch, ReadGpuTopology(driver, "/nowhere"));
  EXPECT_THAT(OrderGpus(by_switch), ElementsAre(0, 2, 1, 3));
  driver.Link(0, 3, 2);  // counts for more
  ASSERT_OK_AND_ASSIGN(const GpuTopology by_link, ReadGpuTopology(driver, "/nowhere"));
  EXPECT_THAT(OrderGpus(by_link), ElementsAre(0, 3, 1, 2));
}

TEST(GpuTopology, RanksGetCoresAtTheNodeOfTheirGpu) {
  FakeGpuDriver driver({1, 11, 1, 11});
  ASSERT_OK_AND_ASSIGN(const GpuTopology topology, ReadGpuTopology(driver, MakeSystem("near", {0, 1, 0, 1})));
  const std::vector<int> order = OrderGpus(topology);
  const DeviceInventory all = {{0, 1, 2, 3, 4, 5, 6, 7}, 8};
  EXPECT_THAT(CpuShareNearGpu(all, topology, order, 0, 4), ElementsAre(0, 1));
  EXPECT_THAT(CpuShareNearGpu(all, topology, order, 1, 4), ElementsAre(4, 5));
  EXPECT_THAT(CpuShareNearGpu(all, topology, order, 2, 4), ElementsAre(2, 3));
  EXPECT_THAT(CpuShareNearGpu(all, topology, order, 0, 1), ElementsAre(0, 1, 4, 5));
  const DeviceInventory some = {{1, 2, 3}, 3};  // what a container leaves
  EXPECT_THAT(CpuShareNearGpu(some, topology, order, 2, 3), ElementsAre(2, 3)) << "two ranks have one core at their node";
}

TEST(GpuTopology, WhereANodeIsNotKnownCoresAreSharedAsWithoutGpus) {
  FakeGpuDriver driver({1, 11});
  const DeviceInventory all = {{0, 1, 2, 3, 4, 5, 6, 7}, 8};
  ASSERT_OK_AND_ASSIGN(const GpuTopology unknown, ReadGpuTopology(driver, MakeSystem("unknown", {0, -1})));
  EXPECT_EQ(CpuShareNearGpu(all, unknown, {0, 1}, 1, 2), CpuShare(all, 1, 2));
  ASSERT_OK_AND_ASSIGN(const GpuTopology known, ReadGpuTopology(driver, MakeSystem("known", {0, 1})));
  const DeviceInventory elsewhere = {{2, 3}, 2};
  EXPECT_EQ(CpuShareNearGpu(elsewhere, known, {0, 1}, 0, 2), CpuShare(elsewhere, 0, 2)) << "no core of node 0 is ours";
  const DeviceInventory limited = {{0, 1, 2, 3, 4, 5, 6, 7}, 4};
  EXPECT_EQ(CpuShareNearGpu(limited, known, {0, 1}, 0, 2), CpuShare(limited, 0, 2));
  EXPECT_EQ(CpuShareNearGpu(all, {}, {}, 1, 2), CpuShare(all, 1, 2)) << "no GPU";
}

TEST(GpuTopology, ReadsTheKernelsListsOfCores) {
  EXPECT_THAT(ParseCpuList("0-3,8,10-11"), ElementsAre(0, 1, 2, 3, 8, 10, 11));
  EXPECT_THAT(ParseCpuList(""), ElementsAre());
}

}  // namespace
}  // namespace ringmaster
