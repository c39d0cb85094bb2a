// Conformance: ranks that go away, stay silent or are told to stop.
#ifndef RINGMASTER_COLLECTIVES_CONFORMANCE_COMMUNICATOR_CONFORMANCE_FAILURES_H_
#define RINGMASTER_COLLECTIVES_CONFORMANCE_COMMUNICATOR_CONFORMANCE_FAILURES_H_

#include <future>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "collectives/conformance/communicator_conformance_group.h"
#include "collectives/conformance/communicator_conformance_results.h"

namespace ringmaster::testing {

// One rank goes away without a word while the others are in a large operation: everybody names that rank, nobody its neighbour.
TEST_P(CommunicatorConformance, AllSurvivorsNameTheRankThatClosed) {
  for (const int size : {2, 3, 5}) {
    for (const int64_t count : {1, 300'000}) {
      SCOPED_TRACE(absl::StrCat(size, " ranks, count ", count));
      Group group = Make(size);
      const int gone = size - 2;
      const auto results = OnAllRanks(group, [&](Communicator& ranks) {
        absl::Status status = ranks.Barrier(kLong);
        if (ranks.rank() == gone) {
          group[gone].reset();
          return status;
        }
        std::vector<float> data(count);
        for (int round = 0; round < 3 && status.ok(); ++round) {
          status = ranks.AllReduce(data.data(), data.data(), count, DataType::kF32, Reduction::kSum, kLong);
        }
        return status;
      });
      for (int rank = 0; rank < size; ++rank) {
        if (rank == gone) continue;
        EXPECT_THAT(results[rank], StatusIs(absl::StatusCode::kUnavailable,
                                            ::testing::AllOf(::testing::HasSubstr(absl::StrCat("rank ", gone, " (")),
                                                             ::testing::HasSubstr("during all_reduce seq 2"))))
            << "on rank " << rank;
      }
    }
  }
}

TEST_P(CommunicatorConformance, ASilentRankIsNamedWhenTheDeadlinePasses) {
  using ::testing::HasSubstr;
  for (const int64_t count : {100, 300'000}) {
    Group group = Make(3);
    const auto results = OnAllRanks(group, [&](Communicator& ranks) {
      if (ranks.rank() == 2) return absl::OkStatus();
      std::vector<float> data(count);
      const absl::Duration timeout = ranks.rank() == 0 ? absl::Milliseconds(500) : kLong;
      return ranks.AllReduce(data.data(), data.data(), count, DataType::kF32, Reduction::kSum, timeout);
    });
    EXPECT_THAT(results[0], StatusIs(absl::StatusCode::kDeadlineExceeded,
                                     ::testing::AllOf(HasSubstr("rank 2"), ::testing::Not(HasSubstr("rank 1")))));
    if (count == 100) {
      EXPECT_THAT(results[1], StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("rank 2")))
          << "told by the rank whose deadline passed first";
    } else {  // where the news is stuck behind data that rank 1 has no room for, it sees rank 0 close
      EXPECT_THAT(results[1], ::testing::ResultOf([](const absl::Status& status) { return std::string(status.message()); },
                                                  ::testing::AnyOf(HasSubstr("rank 2"), HasSubstr("rank 0"))));
      EXPECT_FALSE(results[1].ok());
    }
    std::vector<float> data(1);
    EXPECT_FALSE(group[2]->AllReduce(data.data(), data.data(), 1, DataType::kF32, Reduction::kSum, kLong).ok())
        << "the late rank finds a broken group";
  }
}

TEST_P(CommunicatorConformance, AbortWakesABlockedCallAndTellsTheOthers) {
  for (const int64_t count : {1, 300'000}) {
    Group group = Make(3);
    std::thread aborter([&] { group[0]->Abort("the job was cancelled"); });
    const auto results = OnAllRanks(group, [&](Communicator& ranks) {
      if (ranks.rank() == 2) return absl::OkStatus();
      std::vector<float> data(count);
      return ranks.AllReduce(data.data(), data.data(), count, DataType::kF32, Reduction::kSum, kLong);
    });
    aborter.join();
    group[0]->Abort("too late to be the reason");
    EXPECT_THAT(results[0], StatusIs(absl::StatusCode::kAborted, "the job was cancelled"));
    EXPECT_THAT(results[1], StatusIs(absl::StatusCode::kUnavailable, ::testing::HasSubstr("rank 0")));
    EXPECT_THAT(group[0]->Barrier(kLong), StatusIs(absl::StatusCode::kAborted, "the job was cancelled"));
    EXPECT_THAT(group[2]->Barrier(kLong), ::testing::Not(IsOk()));
  }
}

// At some point between and in the operations of a busy group, from a thread that issues none.
TEST_P(CommunicatorConformance, AbortFromAnotherThreadEndsABusyGroup) {
  for (int after = 1; after <= 20; ++after) {
    Group group = Make(3);
    std::promise<void> busy;
    std::thread aborter([&] {
      busy.get_future().wait();
      group[1]->Abort("enough");
    });
    const auto results = OnAllRanks(group, [&](Communicator& ranks) {
      std::vector<float> data(after % 2 == 0 ? 100 : 20'000);
      absl::Status status;
      for (int done = 0; status.ok(); ++done) {
        if (done == after && ranks.rank() == 0) busy.set_value();
        status =
            ranks.AllReduce(data.data(), data.data(), static_cast<int64_t>(data.size()), DataType::kF32, Reduction::kSum, kLong);
      }
      return status;
    });
    aborter.join();
    EXPECT_THAT(results[1], StatusIs(absl::StatusCode::kAborted, "enough"));
    for (const int rank : {0, 2}) {
      EXPECT_THAT(results[rank], StatusIs(absl::StatusCode::kUnavailable, ::testing::HasSubstr("rank 1 (")));
    }
  }
}

TEST_P(CommunicatorConformance, AGroupOfOneCanBeAborted) {
  Group group = Make(1);
  group[0]->Abort("enough");
  EXPECT_THAT(group[0]->Barrier(kLong), StatusIs(absl::StatusCode::kAborted, "enough"));
}

// Whatever the survivors are in.
TEST_P(CommunicatorConformance, TheRankThatClosedIsNamedInEveryOperation) {
  using ::testing::HasSubstr;
  for (int number = 0; number < kOperations; ++number) {
    const auto operation = static_cast<Operation>(number);
    SCOPED_TRACE(NameOf(operation));
    Group group = Make(3);
    const auto results = OnAllRanks(group, [&](Communicator& ranks) {
      if (ranks.rank() == 1) {
        group[1].reset();
        return absl::OkStatus();
      }
      constexpr int64_t kCount = 50'000;
      std::vector<float> send(3 * kCount), receive(3 * kCount);
      const std::vector<int64_t> counts(3, kCount);
      Call call{.operation = operation, .type = DataType::kF32, .root = 1, .send = send.data(), .receive = receive.data()};
      if (operation != Operation::kBarrier && operation < Operation::kReduceScatterV) call.count = kCount;
      if (operation >= Operation::kReduceScatterV && operation < Operation::kSend) call.send_counts = counts;
      if (operation == Operation::kAllToAllV) call.receive_counts = counts;
      absl::Status status;
      for (int round = 0; round < 3 && status.ok(); ++round) status = ranks.Run(call, kLong);  // a send may return before
      return status.ok() ? ranks.Barrier(kLong) : status;
    });
    for (const int rank : {0, 2}) {
      EXPECT_THAT(results[rank], StatusIs(absl::StatusCode::kUnavailable, HasSubstr("rank 1 ("))) << "on rank " << rank;
    }
  }
}

TEST_P(CommunicatorConformance, AbortWakesWhoWaitsForAMessage) {
  Group group = Make(2);
  std::thread aborter([&] { group[0]->Abort("enough"); });
  float value = 0;
  EXPECT_THAT(group[0]->Receive(&value, 1, DataType::kF32, 1, kLong), StatusIs(absl::StatusCode::kAborted, "enough"));
  aborter.join();
  EXPECT_THAT(group[1]->Receive(&value, 1, DataType::kF32, 0, kLong),
              StatusIs(absl::StatusCode::kUnavailable, ::testing::HasSubstr("rank 0")));
}

TEST_P(CommunicatorConformance, AMessageThatDoesNotComeIsWaitedForInVain) {
  Group group = Make(2);
  float value = 0;
  EXPECT_THAT(group[0]->Receive(&value, 1, DataType::kF32, 1, absl::Milliseconds(50)),
              StatusIs(absl::StatusCode::kDeadlineExceeded, ::testing::HasSubstr("rank 1")));
  EXPECT_THAT(group[1]->Receive(&value, 1, DataType::kF32, 0, kLong), ::testing::Not(IsOk()));
}

}  // namespace ringmaster::testing

#endif  // RINGMASTER_COLLECTIVES_CONFORMANCE_COMMUNICATOR_CONFORMANCE_FAILURES_H_
