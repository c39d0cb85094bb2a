#include "worker/process/oom_counter.h"

#include <cstdlib>
#include <fstream>
#include <string>

#include "gtest/gtest.h"

namespace ringmaster {
namespace {

class OomCounterTest : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = std::filesystem::path(std::getenv("TEST_TMPDIR")) / ::testing::UnitTest::GetInstance()->current_test_info()->name();
  }
  void Write(const std::string& name, const std::string& text) {
    std::filesystem::create_directories((root_ / name).parent_path());
    std::ofstream(root_ / name) << text;
  }
  std::optional<int64_t> Read() const { return ReadOomKills(root_ / "membership", root_); }

  std::filesystem::path root_;
};

TEST_F(OomCounterTest, Version1_OfOurGroup) {
  Write("membership", "8:pids:/\n4:memory:/pool/a\n0::/\n");
  Write("memory/pool/a/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n");
  Write("memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 99\n");
  EXPECT_EQ(Read(), 3);
}

TEST_F(OomCounterTest, Version2_OfOurGroup) {
  Write("membership", "0::/pool/a\n");
  Write("pool/a/memory.events", "low 0\nhigh 0\nmax 12\noom 4\noom_kill 2\noom_group_kill 0\n");
  EXPECT_EQ(Read(), 2);
}

TEST_F(OomCounterTest, InsideAContainer_TheGroupLiesAtTheTop) {
  Write("membership", "4:memory:/docker/abc\n");
  Write("memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 7\n");
  EXPECT_EQ(Read(), 7);
}

TEST_F(OomCounterTest, NoCounter_IsNothing) {
  EXPECT_EQ(Read(), std::nullopt);
  Write("membership", "0::/\n");
  EXPECT_EQ(Read(), std::nullopt);
}

}  // namespace
}  // namespace ringmaster
