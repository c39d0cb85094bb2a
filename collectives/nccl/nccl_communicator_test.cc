// NcclCommunicator without a GPU: results by the conformance suite, and how it fails, against a fake NCCL.
#include "collectives/nccl/nccl_communicator.h"

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "collectives/conformance/communicator_conformance.h"
#include "collectives/memory_rendezvous.h"
#include "collectives/nccl/fake_nccl_api.h"
#include "common/real_clock.h"
#include "common/status_macros.h"

namespace ringmaster {
namespace {

using ::testing::AllOf;
using testing::CommunicatorConformance;
using testing::FakeNcclApi;
using testing::Group;
using testing::GroupFactory;
using ::testing::HasSubstr;
using testing::kLong;
using testing::OnAllRanks;
using testing::StatusIs;

constexpr absl::Duration kShort = absl::Milliseconds(50);

using Made = std::vector<absl::StatusOr<std::unique_ptr<NcclCommunicator>>>;

// Ranks [0, come) of a group of `size`.
Made MakeRanks(FakeNcclApi& api, int size, int come, absl::Duration timeout) {
  static const RealClock clock;
  MemoryRendezvous rendezvous(clock);
  Made made(static_cast<size_t>(come));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < come; ++rank) {
    threads.emplace_back([&, rank] {
      made[static_cast<size_t>(rank)] = NcclCommunicator::Create({.rank = rank, .size = size, .device = rank % 8, .group = "test"},
                                                                 api, rendezvous, timeout, clock);
    });
  }
  for (std::thread& thread : threads) thread.join();
  return made;
}

Group MakeGroup(FakeNcclApi& api, int size) {
  Group group;
  for (auto& made : MakeRanks(api, size, size, kLong)) {
    EXPECT_OK(made);
    group.push_back(std::move(*made));
  }
  return group;
}

NcclCommunicator& Nccl(Communicator& ranks) { return static_cast<NcclCommunicator&>(ranks); }

GroupFactory FakeGroup() {
  return {"Fake",
          [](int size) {
            static FakeNcclApi api;
            return MakeGroup(api, size);
          },
          testing::kSeveralChunks,
          /*splits=*/true};
}

INSTANTIATE_TEST_SUITE_P(Nccl, CommunicatorConformance, ::testing::Values(FakeGroup()), testing::GroupName);

absl::Status ReduceOne(Communicator& ranks, absl::Duration timeout) {
  float value = 1;
  return ranks.AllReduce(&value, &value, 1, DataType::kF32, Reduction::kSum, timeout);
}

TEST(NcclCommunicator, ARankThatDoesNotComeIsNamedBeforeNcclBegins) {
  FakeNcclApi api;
  for (const auto& made : MakeRanks(api, 3, 2, kShort)) {
    EXPECT_THAT(made, StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("rank 2")));
  }
}

TEST(NcclCommunicator, AFailedInitIsReportedAndThePeersEndAtTheirDeadline) {
  FakeNcclApi api;
  api.FailInit(1, absl::InternalError("ncclCommInitRankConfig: out of luck"));
  const Made made = MakeRanks(api, 2, 2, kShort);
  EXPECT_THAT(made[1], StatusIs(absl::StatusCode::kInternal, HasSubstr("out of luck")));
  EXPECT_THAT(made[0], StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("ncclCommInitRankConfig")));
  EXPECT_EQ(api.aborts(), 1);  // rank 0 gave its half of the communicator back
}

TEST(NcclCommunicator, ASplitThatFailsIsReportedAndHoldsUpThePeersNoLongerThanTheirDeadline) {
  FakeNcclApi api;
  api.FailDuplicate(1, absl::InternalError("ncclCommSplit: out of memory"));
  const Made made = MakeRanks(api, 2, 2, kShort);
  EXPECT_THAT(made[1], StatusIs(absl::StatusCode::kInternal, HasSubstr("out of memory")));
  EXPECT_THAT(made[0], StatusIs(absl::StatusCode::kDeadlineExceeded, AllOf(HasSubstr("ncclCommSplit"), HasSubstr("group test"))));
  EXPECT_EQ(api.aborts(), 2);  // no rank had the second communicator
}

TEST(NcclCommunicator, ACallThatDoesNotReturnIsEndedAtItsDeadline) {
  FakeNcclApi api;
  Group group = MakeGroup(api, 2);
  api.HangOperations(0);
  ASSERT_OK_AND_ASSIGN(const CudaStream stream, api.CreateStream());
  float value = 1;
  const Call call{.operation = Operation::kAllReduce, .type = DataType::kF32, .count = 1, .send = &value, .receive = &value};
  EXPECT_THAT(Nccl(*group[0]).Enqueue(call, stream, kShort),
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       AllOf(HasSubstr("all_reduce"), HasSubstr("rank 0 of group test"), HasSubstr("operation number 1"))));
  EXPECT_EQ(api.hanging(), 0);
  EXPECT_OK(Nccl(*group[0]).Close(kLong));
  EXPECT_EQ(api.aborts(), 2);
}

// A deadline far away, then one that is near: the thread that watches must not sleep until the first.
TEST(NcclCommunicator, EachCallHasItsOwnDeadline) {
  FakeNcclApi api;
  Group group = MakeGroup(api, 1);
  ASSERT_OK_AND_ASSIGN(const CudaStream stream, api.CreateStream());
  float value = 1;
  const Call call{.operation = Operation::kAllReduce, .type = DataType::kF32, .count = 1, .send = &value, .receive = &value};
  ASSERT_OK(Nccl(*group[0]).Enqueue(call, stream, absl::Hours(1)));
  api.HangOperations(0);
  EXPECT_THAT(Nccl(*group[0]).Enqueue(call, stream, kShort),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("operation number 2")));
}

TEST(NcclCommunicator, AbortEndsACallerWhoIsInsideNccl) {
  FakeNcclApi api;
  Group group = MakeGroup(api, 2);
  api.HangOperations(0);
  absl::Status status;
  std::thread inside([&] { status = ReduceOne(*group[0], kLong); });
  while (api.hanging() == 0) std::this_thread::yield();
  group[0]->Abort("the coordinator says stop");
  inside.join();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kAborted, HasSubstr("the coordinator says stop")));
  EXPECT_OK(Nccl(*group[0]).Close(kLong));
}

TEST(NcclCommunicator, AbortOfAPartLeavesTheWholeAlone) {
  FakeNcclApi api;
  Group group = MakeGroup(api, 2);
  const auto results = OnAllRanks(group, [](Communicator& ranks) -> absl::Status {
    RM_ASSIGN_OR_RETURN(const std::unique_ptr<Communicator> part, ranks.Split(0, -ranks.rank(), kLong));
    EXPECT_EQ(part->rank(), 1 - ranks.rank());
    part->Abort("of no more use");
    return ReduceOne(ranks, kLong);
  });
  for (const absl::Status& status : results) EXPECT_OK(status);
}

TEST(NcclCommunicator, APeerThatDoesNotCallEndsAtTheDeadlineWithTheOperationsNumber) {
  FakeNcclApi api;
  Group group = MakeGroup(api, 2);
  const absl::Status status = ReduceOne(*group[0], kShort);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kDeadlineExceeded,
                               AllOf(HasSubstr("all_reduce"), HasSubstr("operation number 1"), HasSubstr("group test"))));
  EXPECT_EQ(ReduceOne(*group[0], kShort), status);  // broken for good
  EXPECT_OK(Nccl(*group[0]).Close(kLong));
  EXPECT_EQ(api.aborts(), 2);  // both of its communicators
}

TEST(NcclCommunicator, AnAsynchronousErrorEndsTheWait) {
  FakeNcclApi api;
  Group group = MakeGroup(api, 2);
  absl::Status status;
  std::thread waiting([&] { status = ReduceOne(*group[0], kLong); });
  api.FailLater(0, absl::UnavailableError("ncclRemoteError: peer closed"));
  waiting.join();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnavailable, HasSubstr("peer closed")));
  EXPECT_OK(Nccl(*group[0]).Close(kLong));
  EXPECT_EQ(api.aborts(), 2);  // both of its communicators
}

TEST(NcclCommunicator, AbortFromAnotherThreadEndsTheWaitWithItsReason) {
  FakeNcclApi api;
  Group group = MakeGroup(api, 2);
  absl::Status status;
  std::thread waiting([&] { status = ReduceOne(*group[0], kLong); });
  group[0]->Abort("the coordinator says stop");
  waiting.join();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kAborted, HasSubstr("the coordinator says stop")));
  group[0]->Abort("too late");
  EXPECT_THAT(ReduceOne(*group[0], kLong), StatusIs(absl::StatusCode::kAborted, HasSubstr("the coordinator says stop")));
}

TEST(NcclCommunicator, AbortEndsWhatRunsOnAStreamThoughNobodyWaits) {
  FakeNcclApi api;
  Group group = MakeGroup(api, 2);
  ASSERT_OK_AND_ASSIGN(const CudaStream stream, api.CreateStream());
  ASSERT_OK_AND_ASSIGN(const CudaEvent event, api.CreateEvent(false));
  float value = 1;
  ASSERT_OK(Nccl(*group[0]).Enqueue(
      {.operation = Operation::kAllReduce, .type = DataType::kF32, .count = 1, .send = &value, .receive = &value}, stream, kLong));
  ASSERT_OK(api.RecordEvent(event, stream));
  EXPECT_THAT(api.EventDone(event), ::testing::Property(&absl::StatusOr<bool>::value, false));
  group[0]->Abort("stop");
  EXPECT_OK(Nccl(*group[0]).Close(kLong));
  ASSERT_OK_AND_ASSIGN(const bool done, api.EventDone(event));
  EXPECT_TRUE(done);
}

TEST(NcclCommunicator, AnAbortThatHangsIsReportedAndNotWaitedFor) {
  FakeNcclApi api;
  Group group = MakeGroup(api, 2);
  api.HangAborts();
  EXPECT_THAT(ReduceOne(*group[0], kShort), StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("all_reduce")));
  EXPECT_THAT(Nccl(*group[0]).Close(kShort), StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("process must end")));
  api.ReleaseAborts();
  EXPECT_OK(Nccl(*group[0]).Close(kLong));
}

TEST(NcclCommunicator, OperationsOnAStreamRunInOrderAndAreWaitedForByEvent) {
  FakeNcclApi api;
  Group group = MakeGroup(api, 3);
  const auto results = OnAllRanks(group, [&](Communicator& ranks) -> absl::Status {
    RM_ASSIGN_OR_RETURN(const CudaStream stream, api.CreateStream());
    RM_ASSIGN_OR_RETURN(const CudaEvent event, api.CreateEvent(false));
    float value = 1;
    const Call call{.operation = Operation::kAllReduce, .type = DataType::kF32, .count = 1, .send = &value, .receive = &value};
    for (int i = 0; i < 3; ++i) RM_RETURN_IF_ERROR(Nccl(ranks).Enqueue(call, stream, kLong));
    RM_RETURN_IF_ERROR(api.RecordEvent(event, stream));
    RM_RETURN_IF_ERROR(Nccl(ranks).WaitFor(event, kLong));
    return value == 27 ? absl::OkStatus() : absl::InternalError(absl::StrCat("3 sums over 3 ranks gave ", value));
  });
  for (const absl::Status& status : results) EXPECT_OK(status);
}

TEST(NcclCommunicator, AnAllToAllInPlaceIsRefusedOnAStream) {
  FakeNcclApi api;
  Group group = MakeGroup(api, 1);
  ASSERT_OK_AND_ASSIGN(const CudaStream stream, api.CreateStream());
  float value = 1;
  EXPECT_THAT(Nccl(*group[0]).Enqueue(
                  {.operation = Operation::kAllToAll, .type = DataType::kF32, .count = 1, .send = &value, .receive = &value},
                  stream, kLong),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("in place")));
  EXPECT_OK(ReduceOne(*group[0], kLong));
}

TEST(NcclCommunicator, AClosedCommunicatorSaysSo) {
  FakeNcclApi api;
  Group group = MakeGroup(api, 1);
  EXPECT_OK(Nccl(*group[0]).Close(kLong));
  EXPECT_THAT(ReduceOne(*group[0], kLong), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("closed")));
  group[0]->Abort("late");
  EXPECT_EQ(api.aborts(), 0);
}

}  // namespace
}  // namespace ringmaster
