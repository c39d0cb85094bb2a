#include "cli/doctor_gpus.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ringmaster::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// Two GPUs with links between them.
GpuTopology Two(int links) {
  GpuTopology topology;
  topology.gpus = {
      {.facts = {.name = "H100", .uuid = "GPU-a", .pci_bus_id = "0000:01:00.0", .memory_bytes = 80'000'000'000}, .numa_node = 0},
      {.facts = {.name = "H100", .uuid = "GPU-b", .pci_bus_id = "0000:02:00.0", .memory_bytes = 80'000'000'000}}};
  const GpuPath path = {.nvlinks = links, .distance = PcieDistance::kSystem};
  topology.paths = {{{}, path}, {path, {}}};
  return topology;
}

std::vector<PeerCopy> Copies(bool can_access, double rate) {
  return {{.from = "0000:01:00.0", .to = "0000:02:00.0", .can_access = can_access, .gigabytes_per_second = rate}};
}

TEST(DoctorGpus, ADriverThatIsMissingIsATroubleWhereThereAreGpus) {
  const absl::Status missing = absl::FailedPreconditionError("cannot load libnvidia-ml.so.1");
  EXPECT_EQ(JudgeGpus(missing, 0).health, Health::kOk);
  EXPECT_EQ(JudgeGpus(missing, 2).health, Health::kWarn);
  EXPECT_THAT(JudgeGpus(missing, 2).detail, AllOf(HasSubstr("2 NVIDIA devices"), HasSubstr("libnvidia-ml")));
}

TEST(DoctorGpus, SaysWhatThereIs) {
  EXPECT_THAT(JudgeGpus(Two(0), 2).detail, AllOf(HasSubstr("0: H100, 80 GB, 0000:01:00.0, NUMA node 0, GPU-a"),
                                                 HasSubstr("1: H100, 80 GB, 0000:02:00.0, NUMA node unknown")));
}

TEST(DoctorGpus, TheTableHasEveryTwo) {
  EXPECT_EQ(JudgeGpuPaths(Two(18)).detail,
            "ranks get them in the order 0, 1\n"
            "          0     1\n"
            "    0     X  NV18\n"
            "    1  NV18     X");
}

TEST(DoctorGpus, NvlinkThatIsNotUsedIsSaid) {
  EXPECT_EQ(JudgePeerCopies(Two(18), Copies(true, 270)).health, Health::kOk);
  EXPECT_THAT(JudgePeerCopies(Two(18), Copies(true, 270)).detail, HasSubstr("0 to 1 270 GB/s"));
  EXPECT_EQ(JudgePeerCopies(Two(18), Copies(true, 20)).health, Health::kWarn) << "slow";
  const Finding forbidden = JudgePeerCopies(Two(18), Copies(false, 200));
  EXPECT_EQ(forbidden.health, Health::kWarn);
  EXPECT_THAT(forbidden.detail, HasSubstr("through host memory"));
  EXPECT_THAT(forbidden.remedy, HasSubstr("0 to 1"));
  EXPECT_EQ(JudgePeerCopies(Two(0), Copies(false, 20)).health, Health::kOk) << "PCIe alone promises nothing";
  EXPECT_EQ(JudgePeerCopies(Two(18), absl::ResourceExhaustedError("cudaMalloc")).health, Health::kWarn);
}

TEST(DoctorGpus, ThisMachineIsLookedAt) { EXPECT_NE(CheckGpus()[0].health, Health::kFail); }

}  // namespace
}  // namespace ringmaster::cli
