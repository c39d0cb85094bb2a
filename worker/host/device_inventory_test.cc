#include "worker/host/device_inventory.h"

#include <sched.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ringmaster {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(CpuShare, DividesAllCoresWithoutOverlap) {
  const DeviceInventory five{{2, 3, 5, 7, 11}, 5};
  EXPECT_THAT(CpuShare(five, 0, 2), ElementsAre(2, 3));
  EXPECT_THAT(CpuShare(five, 1, 2), ElementsAre(5, 7, 11));
  EXPECT_THAT(CpuShare(five, 4, 5), ElementsAre(11));
}

TEST(CpuShare, MoreRanksThanCores_IsNotPinned) {
  const DeviceInventory two{{0, 1}, 2};
  EXPECT_THAT(CpuShare(two, 0, 3), IsEmpty());
}

TEST(CpuShare, TimeQuota_IsNotPinned) {
  const DeviceInventory throttled{{0, 1, 2, 3}, 2};
  EXPECT_THAT(CpuShare(throttled, 0, 2), IsEmpty());
}

TEST(DeviceInventory, ThisMachine_HasTheCoresOfOurAffinityMask) {
  cpu_set_t set;
  ASSERT_EQ(sched_getaffinity(0, sizeof(set), &set), 0);

  const DeviceInventory inventory = ReadDeviceInventory("/proc/self/cgroup", "/sys/fs/cgroup");

  EXPECT_EQ(inventory.cpus.size(), static_cast<size_t>(CPU_COUNT(&set)));
  EXPECT_GE(inventory.usable_cores, 1);
  EXPECT_LE(inventory.usable_cores, CPU_COUNT(&set));
}

}  // namespace
}  // namespace ringmaster
