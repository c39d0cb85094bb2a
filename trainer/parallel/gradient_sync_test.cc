#include "trainer/parallel/gradient_sync.h"

#include <thread>
#include <vector>

#include "collectives/host_communicator.h"
#include "collectives/transport/inproc_transport.h"
#include "common/fake_clock.h"
#include "common/real_clock.h"
#include "common/status_matchers.h"
#include "gtest/gtest.h"

namespace ringmaster::trainer {
namespace {

using ::ringmaster::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A group of one rank per thread.
class GradientSyncTest : public ::testing::Test {
 protected:
  std::vector<std::unique_ptr<GradientSync>> Make(int size, GradientSyncOptions options) {
    std::vector<std::unique_ptr<GradientSync>> ranks;
    boards_ = std::vector<ProgressBoard>(size);
    for (std::unique_ptr<Transport>& transport : CreateInprocTransports(size)) {
      ProgressBoard* const board = &boards_[ranks.size()];
      auto communicator = std::make_unique<HostCommunicator>(std::move(transport), clock_, HostCommunicatorOptions{});
      ranks.push_back(std::make_unique<GradientSync>(std::move(communicator), clock_, board, options));
    }
    return ranks;
  }

  template <typename Body>
  static void OnAll(std::vector<std::unique_ptr<GradientSync>>& ranks, const Body& body) {
    std::vector<std::thread> threads;
    for (auto& sync : ranks) threads.emplace_back([&] { body(*sync); });
    for (std::thread& thread : threads) thread.join();
  }

  RealClock clock_;
  std::vector<ProgressBoard> boards_;
};

TEST_F(GradientSyncTest, SumsGradientsAcrossBucketBorders) {
  auto ranks = Make(3, {.bucket_elements = 4});
  std::vector<std::vector<float>> gradients(3);
  for (int rank = 0; rank < 3; ++rank) {
    for (int index = 0; index < 10; ++index) gradients[rank].push_back(static_cast<float>(index + 100 * rank));
  }
  OnAll(ranks, [&](GradientSync& sync) { EXPECT_OK(sync.SumGradients(std::span<float>(gradients[sync.rank()]))); });
  for (int index = 0; index < 10; ++index) {
    for (int rank = 0; rank < 3; ++rank) EXPECT_EQ(gradients[rank][index], static_cast<float>(3 * index + 300));
  }
}

TEST_F(GradientSyncTest, SumsByAndByWhatAllAtOnceWouldBe) {
  constexpr int kRanks = 3;
  auto at_once = Make(kRanks, {});
  const auto fill = [](int rank, std::vector<float>* gradients) {
    for (int index = 0; index < 1000; ++index) gradients->push_back(1.0f / static_cast<float>(1 + index + 7 * rank));
  };
  std::vector<std::vector<float>> expected(kRanks), found(kRanks);
  OnAll(at_once, [&](GradientSync& sync) {
    fill(sync.rank(), &expected[sync.rank()]);
    EXPECT_OK(sync.SumGradients(expected[sync.rank()]));
  });
  auto begun = Make(kRanks, {.bucket_elements = 64, .smallest_begun = 100});
  OnAll(begun, [&](GradientSync& sync) {
    std::vector<float>& gradients = found[sync.rank()];
    fill(sync.rank(), &gradients);
    for (int step = 0; step < 3; ++step) {
      if (step > 0) fill(sync.rank(), &(gradients = {}));
      sync.BeginSum(gradients, 950);  // too few
      sync.BeginSum(gradients, 800);
      std::vector<int64_t> values{sync.rank()};
      EXPECT_OK(sync.Min(values)) << "waits for what has begun";
      sync.BeginSum(gradients, 300);
      std::fill(gradients.begin(), gradients.begin() + 300, static_cast<float>(sync.rank()));  // goes on computing
      EXPECT_OK(sync.SumGradients(gradients));
      EXPECT_EQ(gradients[0], 3);
      EXPECT_EQ(gradients[299], 3);
    }
    EXPECT_EQ(sync.counters().collectives, 3u * (4 + 1 + 8 + 5));
  });
  for (int rank = 0; rank < kRanks; ++rank) {
    EXPECT_TRUE(std::equal(found[rank].begin() + 300, found[rank].end(), expected[rank].begin() + 300)) << "rank " << rank;
  }
}

TEST_F(GradientSyncTest, OneThatGivesUpInTheMiddleOfAStepTellsTheOthers) {
  auto ranks = Make(2, {.smallest_begun = 1});
  std::vector<std::vector<float>> gradients(2, std::vector<float>(100, 1.0f));
  std::thread other([&] {
    ranks[1]->BeginSum(gradients[1], 50);
    EXPECT_THAT(ranks[1]->SumGradients(gradients[1]), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("rank 0")));
  });
  ranks[0]->BeginSum(gradients[0], 50);
  ranks[0].reset();
  other.join();
}

TEST_F(GradientSyncTest, ANewGroupCountsFromZeroAgain) {
  ProgressBoard board;
  board.collective_sequence = 512;
  board.collective_bytes = 4096;
  const GradientSync sync(nullptr, clock_, &board, {});
  EXPECT_EQ(board.collective_sequence, 0u);
  EXPECT_EQ(board.collective_bytes, 0u);
}

TEST_F(GradientSyncTest, GivesZeroedMemoryThatItSums) {
  auto ranks = Make(2, {.bucket_elements = 16});
  OnAll(ranks, [&](GradientSync& sync) {
    ASSERT_OK_AND_ASSIGN(const std::span<float> gradients, sync.AllocateGradients(40));
    ASSERT_EQ(gradients.size(), 40u);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(gradients.data()) % 64, 0u);
    for (const float value : gradients) EXPECT_EQ(value, 0);
    gradients[39] = static_cast<float>(1 + sync.rank());
    EXPECT_OK(sync.SumGradients(gradients));
    EXPECT_EQ(gradients[39], 3);
  });
}

TEST_F(GradientSyncTest, CountsWhatItDidOnTheBoardAndRestoresThePhase) {
  auto ranks = Make(2, {.bucket_elements = 4});
  for (ProgressBoard& board : boards_) board.phase = TrainerPhase::kBackward;
  OnAll(ranks, [&](GradientSync& sync) {
    std::vector<float> gradients(10);
    EXPECT_OK(sync.SumGradients(std::span<float>(gradients)));
    EXPECT_OK(sync.Barrier());
  });
  for (int rank = 0; rank < 2; ++rank) {
    EXPECT_EQ(boards_[rank].collective_sequence, 4u) << "three buckets and a barrier";
    EXPECT_EQ(boards_[rank].collective_bytes, 40u);
    EXPECT_EQ(boards_[rank].phase, TrainerPhase::kBackward);
    EXPECT_EQ(ranks[rank]->counters().collectives, 4u);
    EXPECT_GT(ranks[rank]->counters().waiting, absl::ZeroDuration());
  }
}

TEST_F(GradientSyncTest, AgreesOnTheRootsChoiceAndOnTheSmallest) {
  auto ranks = Make(3, {});
  OnAll(ranks, [&](GradientSync& sync) {
    ASSERT_OK_AND_ASSIGN(const int64_t step, sync.Agree(100 + sync.rank(), 1));
    EXPECT_EQ(step, 101);
    std::vector<int64_t> values{sync.rank(), 5 - sync.rank()};
    EXPECT_OK(sync.Min(std::span<int64_t>(values)));
    EXPECT_THAT(values, ElementsAre(0, 3));
    std::vector<double> sums{1.5, static_cast<double>(sync.rank())};
    EXPECT_OK(sync.Sum(std::span<double>(sums)));
    EXPECT_THAT(sums, ElementsAre(4.5, 3));
    std::vector<float> weights(100, static_cast<float>(sync.rank()));
    EXPECT_OK(sync.Broadcast(std::span<float>(weights), 2));
    EXPECT_EQ(weights[99], 2);
  });
}

TEST_F(GradientSyncTest, AFailureStaysOnTheBoardAsCommunicationAndIsTheAnswerFromThenOn) {
  auto ranks = Make(2, {});
  ranks.pop_back();
  std::vector<double> values{1};
  EXPECT_THAT(ranks[0]->Sum(std::span<double>(values)), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("rank 1")));
  EXPECT_EQ(boards_[0].phase, TrainerPhase::kCommunication);
  EXPECT_THAT(ranks[0]->Barrier(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("rank 1")));
}

TEST(GradientSyncOfOneTest, LeavesEverythingAsItIsAndCountsNothing) {
  FakeClock clock;
  ProgressBoard board;
  GradientSync sync(nullptr, clock, &board, {});
  std::vector<float> gradients{1, 2};
  EXPECT_OK(sync.SumGradients(std::span<float>(gradients)));
  EXPECT_THAT(gradients, ElementsAre(1, 2));
  EXPECT_OK(sync.Barrier());
  ASSERT_OK_AND_ASSIGN(const int64_t step, sync.Agree(7, 0));
  EXPECT_EQ(step, 7);
  EXPECT_EQ(sync.size(), 1);
  EXPECT_EQ(board.collective_sequence, 0u);
  sync.Abort("no effect");
}

}  // namespace
}  // namespace ringmaster::trainer
