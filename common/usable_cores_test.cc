#include "common/usable_cores.h"

#include <sched.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "gtest/gtest.h"

namespace ringmaster {
namespace {

class CpuQuotaTest : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = std::filesystem::path(std::getenv("TEST_TMPDIR")) / ::testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::create_directories(root_);
  }
  void Write(const std::string& name, const std::string& text) {
    std::filesystem::create_directories((root_ / name).parent_path());
    std::ofstream(root_ / name) << text;
  }
  std::optional<double> Quota() const { return ReadCpuQuota(root_ / "membership", root_); }

  std::filesystem::path root_;
};

TEST_F(CpuQuotaTest, Version2_OfOurGroup) {
  Write("membership", "0::/pod/x\n");
  Write("pod/x/cpu.max", "150000 100000\n");
  EXPECT_EQ(Quota(), 1.5);
}

TEST_F(CpuQuotaTest, Version2_UnlimitedIsNone) {
  Write("membership", "0::/\n");
  Write("cpu.max", "max 100000\n");
  EXPECT_EQ(Quota(), std::nullopt);
}

TEST_F(CpuQuotaTest, Version2_OfAGroupAroundOurs) {
  Write("membership", "0::/pod/x\n");
  Write("pod/x/cpu.max", "max 100000\n");
  Write("pod/cpu.max", "200000 100000\n");
  EXPECT_EQ(Quota(), 2.0);
}

TEST_F(CpuQuotaTest, TheLeastOfAllGroupsHolds) {
  Write("membership", "0::/pod/x\n");
  Write("pod/x/cpu.max", "400000 100000\n");
  Write("pod/cpu.max", "100000 100000\n");
  Write("cpu.max", "800000 100000\n");
  EXPECT_EQ(Quota(), 1.0);
}

TEST_F(CpuQuotaTest, Version1_OfOurGroup) {
  Write("membership", "5:memory:/m\n1:cpu,cpuacct:/docker/abc\n0::/\n");
  Write("cpu/docker/abc/cpu.cfs_quota_us", "300000\n");
  Write("cpu/docker/abc/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(Quota(), 3.0);
}

TEST_F(CpuQuotaTest, Version1_InsideAContainerTheGroupLiesAtTheTop) {
  Write("membership", "1:cpu:/docker/abc\n");
  Write("cpu/cpu.cfs_quota_us", "200000\n");
  Write("cpu/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(Quota(), 2.0);
}

TEST_F(CpuQuotaTest, Version1_MinusOneIsNone) {
  Write("membership", "1:cpu:/\n");
  Write("cpu/cpu.cfs_quota_us", "-1\n");
  Write("cpu/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(Quota(), std::nullopt);
}

TEST_F(CpuQuotaTest, NoFiles_IsNone) { EXPECT_EQ(Quota(), std::nullopt); }

TEST(UsableCores, IsTheSmallerOfCoresAndWholeQuotaButAtLeastOne) {
  EXPECT_EQ(UsableCores(8, std::nullopt), 8);
  EXPECT_EQ(UsableCores(8, 2.0), 2);
  EXPECT_EQ(UsableCores(8, 2.9), 2);
  EXPECT_EQ(UsableCores(2, 16.0), 2);
  EXPECT_EQ(UsableCores(8, 0.5), 1);
  EXPECT_EQ(UsableCores(0, std::nullopt), 1);
}

TEST(UsableCores, OfThisProcessAreNotMoreThanItsAffinityMask) {
  cpu_set_t set;
  ASSERT_EQ(sched_getaffinity(0, sizeof(set), &set), 0);
  EXPECT_GE(UsableCores(), 1);
  EXPECT_LE(UsableCores(), CPU_COUNT(&set));
}

}  // namespace
}  // namespace ringmaster
