#include "collectives/work_queue.h"

#include <numeric>

#include "collectives/conformance/communicator_group.h"
#include "collectives/host_communicator.h"
#include "collectives/transport/inproc_transport.h"
#include "common/real_clock.h"
#include "common/status_matchers.h"
#include "gtest/gtest.h"

namespace ringmaster {
namespace {

using ::ringmaster::testing::kLong;
using ::ringmaster::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Remembers what it was asked; while closed, an operation waits for Open() or Abort().
class FakeCommunicator final : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 2; }
  std::string Explain(const Call& call) const override { return Describe(call); }
  void Abort(std::string_view reason) override {
    MutexLock lock(&mu_);
    if (broken_.ok()) broken_ = absl::AbortedError(absl::string_view(reason.data(), reason.size()));
    changed_.SignalAll();
  }

  void Close() {
    MutexLock lock(&mu_);
    open_ = false;
  }
  void Open() {
    MutexLock lock(&mu_);
    open_ = true;
    changed_.SignalAll();
  }
  void FailAt(int64_t count) {
    MutexLock lock(&mu_);
    fail_at_ = count;
  }
  void AwaitEntered(size_t operations) {
    MutexLock lock(&mu_);
    while (counts_.size() < operations) changed_.WaitFor(&mu_, kLong);
  }
  std::vector<int64_t> counts() {
    MutexLock lock(&mu_);
    return counts_;
  }

 protected:
  absl::Status Execute(const Call& call, absl::Duration timeout) override {
    MutexLock lock(&mu_);
    counts_.push_back(call.send_counts.empty() ? call.count
                                               : std::accumulate(call.send_counts.begin(), call.send_counts.end(), int64_t{0}));
    changed_.SignalAll();
    while (!open_ && broken_.ok()) changed_.WaitFor(&mu_, timeout);
    if (broken_.ok() && call.count == fail_at_) broken_ = absl::UnavailableError("rank 1 closed its connection");
    return broken_;
  }
  absl::Status ExchangePointToPoint(std::span<const Call> calls, absl::Duration) override {
    MutexLock lock(&mu_);
    counts_.push_back(-static_cast<int64_t>(calls.size()));
    return broken_;
  }

 private:
  Mutex mu_;
  CondVar changed_;
  bool open_ ABSL_GUARDED_BY(mu_) = true;
  int64_t fail_at_ ABSL_GUARDED_BY(mu_) = -1;
  std::vector<int64_t> counts_ ABSL_GUARDED_BY(mu_);
  absl::Status broken_ ABSL_GUARDED_BY(mu_);
};

class WorkQueueTest : public ::testing::Test {
 protected:
  Call Sum(int64_t count) {
    return {.operation = Operation::kAllReduce, .type = DataType::kF32, .count = count, .send = data_, .receive = data_};
  }

  RealClock clock_;
  float data_[64] = {};
  FakeCommunicator communicator_;
  WorkQueue queue_{communicator_, clock_};
};

TEST_F(WorkQueueTest, RunsInTheOrderOfIssue) {
  Work last;
  for (int64_t count = 1; count <= 20; ++count) last = queue_.Issue(Sum(count), kLong);
  EXPECT_FALSE(last.Done()) << "it has not been started";
  queue_.Start();
  EXPECT_OK(last.Wait(kLong));
  EXPECT_TRUE(last.Done());
  std::vector<int64_t> expected(20);
  std::iota(expected.begin(), expected.end(), 1);
  EXPECT_EQ(communicator_.counts(), expected);
}

TEST_F(WorkQueueTest, AWaitThatEndsLeavesTheOperationRunning) {
  communicator_.Close();
  queue_.Start();
  const Work work = queue_.Issue(Sum(3), kLong);
  communicator_.AwaitEntered(1);
  EXPECT_THAT(work.Wait(absl::Milliseconds(1)),
              StatusIs(absl::StatusCode::kDeadlineExceeded, AllOf(HasSubstr("all_reduce(count 3"), HasSubstr("still runs"))));
  EXPECT_FALSE(work.Done());
  communicator_.Open();
  EXPECT_OK(work.Wait(kLong));
  EXPECT_OK(queue_.Issue(Sum(4), kLong).Wait(kLong)) << "nothing is broken";
}

TEST_F(WorkQueueTest, AfterAFailureAllLaterWorkFailsWithTheSameStatus) {
  communicator_.FailAt(2);
  communicator_.Close();
  queue_.Start();
  const Work first = queue_.Issue(Sum(1), kLong);
  const Work second = queue_.Issue(Sum(2), kLong);
  const Work third = queue_.Issue(Sum(3), kLong);
  communicator_.Open();
  EXPECT_THAT(third.Wait(kLong), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("rank 1 closed")));
  EXPECT_THAT(second.Wait(kLong), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("rank 1 closed")));
  EXPECT_OK(first.Wait(kLong));
  EXPECT_THAT(queue_.Issue(Sum(4), kLong).Wait(kLong), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("rank 1 closed")));
  EXPECT_THAT(communicator_.counts(), ElementsAre(1, 2)) << "the third never began";
}

TEST_F(WorkQueueTest, ACallThatCannotBeFailsWhatFollows) {
  queue_.Start();
  EXPECT_THAT(queue_.Issue(Sum(-1), kLong).Wait(kLong), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("count is -1")));
  EXPECT_THAT(queue_.Issue(Sum(1), kLong).Wait(kLong), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("count is -1")));
}

TEST_F(WorkQueueTest, AbortEndsTheRunningOperationAndTheWaitingOnes) {
  communicator_.Close();
  queue_.Start();
  const Work running = queue_.Issue(Sum(1), kLong);
  const Work waiting = queue_.Issue(Sum(2), kLong);
  communicator_.AwaitEntered(1);
  communicator_.Abort("the job is over");
  EXPECT_THAT(running.Wait(kLong), StatusIs(absl::StatusCode::kAborted, HasSubstr("the job is over")));
  EXPECT_THAT(waiting.Wait(kLong), StatusIs(absl::StatusCode::kAborted, HasSubstr("the job is over")));
}

TEST_F(WorkQueueTest, StopCancelsWhatHasNotBegunAndHandlesOutliveTheQueue) {
  Work work;
  {
    WorkQueue queue(communicator_, clock_);
    work = queue.Issue(Sum(1), kLong);  // never started
  }
  EXPECT_THAT(work.Wait(kLong), StatusIs(absl::StatusCode::kCancelled, HasSubstr("stopped")));
  queue_.Start();
  EXPECT_OK(queue_.Issue(Sum(1), kLong).Wait(kLong));
  queue_.Stop();
  EXPECT_THAT(queue_.Issue(Sum(1), kLong).Wait(kLong), StatusIs(absl::StatusCode::kCancelled, HasSubstr("stopped")));
  EXPECT_OK(Work().Wait(absl::ZeroDuration()));
}

TEST_F(WorkQueueTest, GroupsAndCountsOutliveTheirIssuer) {
  communicator_.Close();
  queue_.Start();
  const Work blocker = queue_.Issue(Sum(1), kLong);
  Work gather;
  {
    std::vector<int64_t> counts{5, 6};
    gather = queue_.Issue(
        {.operation = Operation::kAllGatherV, .type = DataType::kF32, .send = data_, .receive = data_, .send_counts = counts},
        kLong);
    counts.assign({100, 100});
  }
  const Call pair[] = {{.operation = Operation::kSend, .type = DataType::kF32, .root = 1, .count = 1, .send = data_},
                       {.operation = Operation::kReceive, .type = DataType::kF32, .root = 1, .count = 1, .receive = data_ + 1}};
  const Work group = queue_.IssueGroup(pair, kLong);
  communicator_.Open();
  EXPECT_OK(group.Wait(kLong));
  EXPECT_THAT(communicator_.counts(), ElementsAre(1, 11, -2));
  EXPECT_OK(queue_.IssueGroup({}, kLong).Wait(absl::ZeroDuration()));
}

TEST(WorkQueueOverInproc, SumsWhileTheCallerGoesOn) {
  const RealClock clock;
  testing::Group group;
  for (auto& transport : CreateInprocTransports(3)) {
    group.push_back(std::make_unique<HostCommunicator>(std::move(transport), clock, HostCommunicatorOptions{}));
  }
  const auto statuses = testing::OnAllRanks(group, [&](Communicator& communicator) -> absl::Status {
    WorkQueue queue(communicator, clock);
    queue.Start();
    std::vector<std::vector<float>> buckets;
    std::vector<Work> works;
    for (int bucket = 0; bucket < 10; ++bucket) {
      buckets.emplace_back(1000, static_cast<float>(bucket + 100 * communicator.rank()));
    }
    for (std::vector<float>& bucket : buckets) {
      works.push_back(queue.Issue({.operation = Operation::kAllReduce,
                                   .type = DataType::kF32,
                                   .count = 1000,
                                   .send = bucket.data(),
                                   .receive = bucket.data()},
                                  kLong));
    }
    for (size_t bucket = works.size(); bucket-- > 0;) {
      if (absl::Status status = works[bucket].Wait(kLong); !status.ok()) return status;
      EXPECT_EQ(buckets[bucket], std::vector<float>(1000, static_cast<float>(3 * bucket + 300)));
    }
    return absl::OkStatus();
  });
  for (const absl::Status& status : statuses) EXPECT_OK(status);
}

}  // namespace
}  // namespace ringmaster
