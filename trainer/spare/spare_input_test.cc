#include "trainer/spare/spare_input.h"

#include <sys/socket.h>
#include <unistd.h>

#include <string>

#include "common/file_descriptor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ringmaster::trainer {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

class SpareInputTest : public ::testing::Test {
 protected:
  void SetUp() override {
    int ends[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    own_ = FileDescriptor(ends[0]);
    workers_ = FileDescriptor(ends[1]);
  }
  void Write(const std::string& bytes) {
    ASSERT_EQ(write(workers_.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  }

  FileDescriptor own_;
  FileDescriptor workers_;
};

TEST_F(SpareInputTest, IsToldWhenTheFirstByteComes) {
  const SpareInput input(own_.get());
  EXPECT_FALSE(input.IsTold(absl::ZeroDuration()));
  Write("RANK");
  EXPECT_TRUE(input.IsTold(absl::Seconds(30)));
}

TEST_F(SpareInputTest, ReadsAllVariables) {
  Write(std::string("RANK=3\0NAME=x=y\0EMPTY=\0", 23));
  workers_.Reset();
  EXPECT_THAT(SpareInput(own_.get()).Read(), ElementsAre(Pair("RANK", "3"), Pair("NAME", "x=y"), Pair("EMPTY", "")));
}

TEST_F(SpareInputTest, MoreThanABufferComesWhole) {
  const std::string longer(100000, 'x');
  Write("A=" + longer + std::string(1, '\0'));
  workers_.Reset();
  EXPECT_THAT(SpareInput(own_.get()).Read(), ElementsAre(Pair("A", longer)));
}

TEST_F(SpareInputTest, AWorkerThatGoesHasNoNeedOfIt) {
  workers_.Reset();
  const SpareInput input(own_.get());
  EXPECT_TRUE(input.IsTold(absl::ZeroDuration()));
  EXPECT_THAT(input.Read(), IsEmpty());
}

}  // namespace
}  // namespace ringmaster::trainer
