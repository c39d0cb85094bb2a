// Which GPUs a spare warms up, and when it stops, against a fake NCCL with eight of them.
#include "trainer/spare/warm_up.h"

#include <vector>

#include "collectives/nccl/fake_nccl_api.h"
#include "common/real_clock.h"
#include "common/status_matchers.h"
#include "gtest/gtest.h"
#include "trainer/train_cluster.h"

namespace ringmaster::trainer {
namespace {

using ringmaster::testing::FakeNcclApi;
using ringmaster::testing::StatusIs;
using ::testing::ElementsAre;

class WarmUpTest : public ::testing::Test {
 protected:
  absl::Status WarmUp(int tell_after = 1000) {
    return WarmUpGpus({.nccl = nccl_,
                       .clock = clock_,
                       .step =
                           [this](int device) {
                             stepped_.push_back(device);
                             return step_result_;
                           },
                       .is_told = [&, tell_after] { return static_cast<int>(stepped_.size()) >= tell_after; }});
  }

  const RealClock clock_{};
  FakeNcclApi nccl_;
  std::vector<int> stepped_;
  absl::Status step_result_;
};

TEST_F(WarmUpTest, GoesThroughAllGpus) {
  ASSERT_OK(WarmUp());
  EXPECT_THAT(stepped_, ElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
  EXPECT_EQ(nccl_.inits(), 8);
}

TEST_F(WarmUpTest, StopsWhenTheSpareIsNeeded) {
  ASSERT_OK(WarmUp(/*tell_after=*/2));
  EXPECT_THAT(stepped_, ElementsAre(0, 1));
  EXPECT_EQ(nccl_.inits(), 1) << "told after the second step";
}

TEST_F(WarmUpTest, OneGpuThatFailsDoesNotKeepTheOthersCold) {
  step_result_ = absl::ResourceExhaustedError("no memory on the device");
  EXPECT_THAT(WarmUp(), StatusIs(absl::StatusCode::kResourceExhausted, ::testing::HasSubstr("no memory")));
  EXPECT_EQ(stepped_.size(), 8u);
  EXPECT_EQ(nccl_.inits(), 8);
}

TEST_F(WarmUpTest, AnNcclThatFailsIsSaid) {
  nccl_.FailInit(0, absl::InternalError("ncclCommInitRankConfig: unhandled cuda error"));
  EXPECT_THAT(WarmUp(), StatusIs(absl::StatusCode::kInternal, ::testing::HasSubstr("unhandled cuda error")));
  EXPECT_EQ(stepped_.size(), 8u);
}

// What a rank would be refused for is said, and nothing is waited for.
TEST(StepOnCpu, DoesAStepOfTheJobOrSaysWhyNot) {
  v1::JobSpec job = TinyGpt(FreshDirectory("spare"));
  EXPECT_OK(StepOnCpu(job, 2));
  job.mutable_data()->mutable_text()->set_files(0, "/nonexistent/text");
  EXPECT_THAT(StepOnCpu(job, 2), StatusIs(absl::StatusCode::kNotFound, ::testing::HasSubstr("/nonexistent/text")));
}

}  // namespace
}  // namespace ringmaster::trainer
