// Conformance: ranks that call different things, and calls that cannot be.
#ifndef RINGMASTER_COLLECTIVES_CONFORMANCE_COMMUNICATOR_CONFORMANCE_MISMATCHES_H_
#define RINGMASTER_COLLECTIVES_CONFORMANCE_COMMUNICATOR_CONFORMANCE_MISMATCHES_H_

#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "collectives/conformance/communicator_conformance_group.h"

namespace ringmaster::testing {

// A call without its buffers, which are made where it is issued.
struct CallOfTest {
  Call call;
  std::vector<int64_t> send_counts = {};
  std::vector<int64_t> receive_counts = {};
};

inline absl::Status Issue(Communicator& ranks, const CallOfTest& test) {
  constexpr size_t kRoom = size_t{4} * 400'000;
  const int64_t total = std::max(std::accumulate(test.send_counts.begin(), test.send_counts.end(), int64_t{0}),
                                 std::accumulate(test.receive_counts.begin(), test.receive_counts.end(), int64_t{0}));
  const size_t room = std::max(kRoom, static_cast<size_t>(std::max(total, test.call.count * ranks.size())) * 8);
  std::vector<char> send(room), receive(room);
  Call call = test.call;
  call.send = send.data();
  call.receive = receive.data();
  call.send_counts = test.send_counts;
  call.receive_counts = test.receive_counts;
  return ranks.Run(call, kLong);
}

// What every rank must answer: both operations by name, and the rank that differs.
inline void ExpectMismatch(const std::vector<absl::Status>& results, const std::string& right, const std::string& wrong) {
  using ::testing::AllOf;
  using ::testing::HasSubstr;
  for (size_t rank = 0; rank < results.size(); ++rank) {
    EXPECT_THAT(results[rank],
                StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr(right), HasSubstr(wrong), HasSubstr("rank 1"))))
        << "on rank " << rank;
  }
}

// Rank 1 calls something else: every rank learns both calls, none hangs and none gets data.
TEST_P(CommunicatorConformance, MismatchedCallsAreNamedOnAllRanks) {
  struct Case {
    const char* name;
    CallOfTest right;
    CallOfTest wrong;
    const char* right_text;
    const char* wrong_text;
  };
  const auto call = [](Operation operation, int64_t count, DataType type = DataType::kF32, Reduction reduction = Reduction::kSum,
                       int root = 0) -> CallOfTest {
    return {{.operation = operation, .type = type, .reduction = reduction, .root = root, .count = count}};
  };
  const auto varied = [](Operation operation, std::vector<int64_t> counts) -> CallOfTest {
    return {{.operation = operation, .type = DataType::kF32}, std::move(counts)};
  };
  using O = Operation;
  const CallOfTest sum = call(O::kAllReduce, 100), barrier = call(O::kBarrier, 0);
  const std::vector<Case> cases = {
      {"count", sum, call(O::kAllReduce, 101), "count 100", "count 101"},
      {"large count", call(O::kAllReduce, 400'000), sum, "count 400000", "count 100"},
      {"type", sum, call(O::kAllReduce, 100, DataType::kI32), "f32", "i32"},
      {"reduction", sum, call(O::kAllReduce, 100, DataType::kF32, Reduction::kMax), "sum", "max"},
      {"operation", sum, barrier, "all_reduce", "barrier"},
      {"large operation", barrier, call(O::kAllReduce, 400'000), "barrier", "all_reduce"},
      {"root", call(O::kBroadcast, 100), call(O::kBroadcast, 100, DataType::kF32, Reduction::kSum, 2), "root 0", "root 2"},
      {"reduce root", call(O::kReduce, 100), call(O::kReduce, 100, DataType::kF32, Reduction::kSum, 1), "root 0", "root 1"},
      {"gather for scatter", call(O::kGather, 100), call(O::kScatter, 100), "gather", "scatter"},
      {"all_to_all", call(O::kAllToAll, 100), call(O::kAllToAll, 99), "count 100", "count 99"},
      {"order of counts", varied(O::kAllGatherV, {1, 2, 3, 4}), varied(O::kAllGatherV, {2, 1, 3, 4}), "all_gather_v",
       "other counts"},
      {"sum of counts", varied(O::kReduceScatterV, {1, 2, 3, 4}), varied(O::kReduceScatterV, {1, 2, 3, 5}), "count 10", "count 11"},
  };
  for (const int size : {2, 4}) {
    for (const Case& mismatch : cases) {
      if (size == 2 && (std::string(mismatch.name) == "root" || !mismatch.right.send_counts.empty())) continue;
      SCOPED_TRACE(absl::StrCat(mismatch.name, ", ", size, " ranks"));
      Group group = Make(size);
      const auto results =
          OnAllRanks(group, [&](Communicator& ranks) { return Issue(ranks, ranks.rank() == 1 ? mismatch.wrong : mismatch.right); });
      ExpectMismatch(results, mismatch.right_text, mismatch.wrong_text);
      EXPECT_EQ(group[0]->Barrier(kLong), results[0]) << "a broken communicator stays broken";
    }
  }
}

// Ranks that have what they need may have returned before anybody finds out: at the latest their next call fails.
inline std::vector<absl::Status> IssueThenBarrier(Group& group, const std::vector<CallOfTest>& calls) {
  return OnAllRanks(group, [&](Communicator& ranks) {
    absl::Status status = Issue(ranks, calls[static_cast<size_t>(ranks.rank())]);
    return status.ok() ? ranks.Barrier(kLong) : status;
  });
}

TEST_P(CommunicatorConformance, AllToAllVWhoseCountsDisagreeIsAMismatchOnBothEnds) {
  Group group = Make(4);
  std::vector<CallOfTest> calls(4, {{.operation = Operation::kAllToAllV, .type = DataType::kI64}, {7, 7, 7, 7}, {7, 7, 7, 7}});
  calls[1].send_counts[2] = 8;
  const auto results = IssueThenBarrier(group, calls);
  ExpectMismatch({results[1], results[2]}, "all_to_all_v", "rank 2");
  for (const int end : {1, 2}) {  // whoever finds it, both say who gives and who takes
    EXPECT_THAT(results[static_cast<size_t>(end)],
                StatusIs(absl::StatusCode::kInvalidArgument, ::testing::HasSubstr("gives 8 elements where rank 2 takes 7")));
  }
  for (const absl::Status& result : results) EXPECT_FALSE(result.ok());
}

inline CallOfTest RandomCall(std::mt19937& random, int size) {
  CallOfTest test;
  Call& call = test.call;
  call.operation = static_cast<Operation>(random() % static_cast<uint32_t>(Operation::kSend));
  if (call.operation == Operation::kBarrier) return test;
  call.type = static_cast<DataType>(random() % kDataTypes);
  if (IsReduction(call.operation)) call.reduction = static_cast<Reduction>(random() % kReductions);
  if (IsRooted(call.operation)) call.root = static_cast<int>(random() % static_cast<uint32_t>(size));
  const int64_t count = random() % 4 == 0 ? static_cast<int64_t>(random() % 20'000) : static_cast<int64_t>(random() % 3);
  if (call.operation < Operation::kReduceScatterV) {
    call.count = count;
    return test;
  }
  for (int rank = 0; rank < size; ++rank) test.send_counts.push_back(count + rank);
  if (call.operation == Operation::kAllToAllV) test.send_counts.assign(size, count);
  if (call.operation == Operation::kAllToAllV) test.receive_counts = test.send_counts;
  return test;
}

inline bool Same(const CallOfTest& a, const CallOfTest& b) {
  return a.call.operation == b.call.operation && a.call.type == b.call.type && a.call.reduction == b.call.reduction &&
         a.call.root == b.call.root && a.call.count == b.call.count && a.send_counts == b.send_counts &&
         a.receive_counts == b.receive_counts;
}

// One field of `test`, or all of it, is another.
inline CallOfTest Another(std::mt19937& random, int size, const CallOfTest& test) {
  while (true) {
    CallOfTest other = random() % 3 == 0 ? RandomCall(random, size) : test;
    Call& call = other.call;
    const bool barrier = call.operation == Operation::kBarrier;
    switch (random() % 5) {
      case 0:
        if (!barrier) call.type = static_cast<DataType>(random() % kDataTypes);
        break;
      case 1:
        if (IsReduction(call.operation)) call.reduction = static_cast<Reduction>(random() % kReductions);
        break;
      case 2:
        if (IsRooted(call.operation)) call.root = static_cast<int>(random() % static_cast<uint32_t>(size));
        break;
      case 3:
        if (!barrier && other.send_counts.empty()) call.count += static_cast<int64_t>(random() % 4);
        break;
      default:
        if (!other.send_counts.empty() && other.receive_counts.empty()) std::swap(other.send_counts[0], other.send_counts[1]);
        if (!other.receive_counts.empty()) other.send_counts[0] += 1;
    }
    if (!Same(other, test)) return other;
  }
}

TEST_P(CommunicatorConformance, EveryRandomMismatchIsFoundByEveryRank) {
  std::mt19937 random(7);
  for (int trial = 0; trial < (Thorough() ? 250 : 50); ++trial) {
    const int size = 2 + trial % 3;
    const CallOfTest right = RandomCall(random, size);
    const CallOfTest wrong = Another(random, size, right);
    SCOPED_TRACE(absl::StrCat("trial ", trial, ": ", Describe(right.call), " and ", Describe(wrong.call)));
    Group group = Make(size);
    std::vector<CallOfTest> calls(size, right);
    calls[1] = wrong;
    auto results = IssueThenBarrier(group, calls);
    const bool pair = right.call.operation == Operation::kAllToAllV && wrong.call.operation == Operation::kAllToAllV;
    if (pair && right.call.type == wrong.call.type) results.resize(2);  // the others are in the barrier
    ExpectMismatch(results, NameOf(right.call.operation), NameOf(wrong.call.operation));
    if (HasFailure()) return;
  }
}

TEST_P(CommunicatorConformance, AMessageThatIsNotWhatItsReceiverExpectsIsAMismatchOnBothEnds) {
  struct Case {
    const char* name;
    Call zero, one;
    const char* text_of_zero;
    const char* text_of_one;
  };
  const auto send = [](int to, int64_t count, DataType type = DataType::kF32) -> Call {
    return {.operation = Operation::kSend, .type = type, .root = to, .count = count};
  };
  const auto receive = [](int from, int64_t count, DataType type = DataType::kF32) -> Call {
    return {.operation = Operation::kReceive, .type = type, .root = from, .count = count};
  };
  const Call sum{.operation = Operation::kAllReduce, .type = DataType::kF32, .count = 100};
  const Case cases[] = {
      {"shorter", send(1, 4), receive(0, 5), "count 4", "count 5"},
      {"longer", send(1, 5), receive(0, 0), "count 5", "count 0"},
      {"much longer", send(1, 200'000), receive(0, 5), "count 200000", "count 5"},
      {"another type", send(1, 4), receive(0, 4, DataType::kI32), "f32", "i32"},
      {"received in a collective", send(1, 4), sum, "send", "all_reduce"},
      {"a large one received in a collective", send(1, 200'000), sum, "send", "all_reduce"},
      {"a collective received", sum, receive(0, 100), "all_reduce", "receive"},
      {"both send", send(1, 4), send(0, 4), "send", "barrier"},
  };
  for (const Case& mismatch : cases) {
    SCOPED_TRACE(mismatch.name);
    Group group = Make(2);
    const auto results = IssueThenBarrier(group, {{mismatch.zero}, {mismatch.one}});
    EXPECT_THAT(results[0], StatusIs(absl::StatusCode::kInvalidArgument, ::testing::HasSubstr("rank 1")));
    ExpectMismatch({results[1]}, mismatch.text_of_zero, mismatch.text_of_one);
  }
}

// Rank 2 takes part in neither call that differs, and still learns both.
TEST_P(CommunicatorConformance, ThoseInACollectiveLearnOfAMessageInsteadOfIt) {
  Group group = Make(3);
  const Call sum{.operation = Operation::kAllReduce, .type = DataType::kF32, .count = 100'000};
  const Call receive{.operation = Operation::kReceive, .type = DataType::kF32, .root = 0, .count = 3};
  ExpectMismatch(IssueThenBarrier(group, {{sum}, {receive}, {sum}}), "all_reduce", "receive");
}

TEST_P(CommunicatorConformance, TwoThatWaitForEachOtherDoNotHang) {
  Group group = Make(2);
  const auto results = OnAllRanks(group, [](Communicator& ranks) {
    float value = 0;
    return ranks.Receive(&value, 1, DataType::kF32, 1 - ranks.rank(), absl::Milliseconds(100));
  });
  for (const absl::Status& result : results) EXPECT_FALSE(result.ok());
  EXPECT_THAT(results[0].message(), ::testing::HasSubstr("rank 1"));
}

TEST_P(CommunicatorConformance, WrongArgumentsAreRefusedAndHarmNobody) {
  Group group = Make(2);
  float value = 1;
  EXPECT_THAT(group[0]->Broadcast(&value, 1, DataType::kF32, 2, kLong),
              StatusIs(absl::StatusCode::kInvalidArgument, ::testing::HasSubstr("root is 2")));
  EXPECT_THAT(group[0]->AllReduce(&value, &value, -1, DataType::kF32, Reduction::kSum, kLong),
              StatusIs(absl::StatusCode::kInvalidArgument, ::testing::HasSubstr("count is -1")));
  ExpectAllOk(OnAllRanks(group, [](Communicator& ranks) { return ranks.Barrier(kLong); }));
}

TEST_P(CommunicatorConformance, CountsThatDoNotFitTheGroupAreRefused) {
  Group group = Make(2);
  const std::vector<int64_t> three = {1, 2, 3}, two = {1, 2};
  std::vector<float> data(10);
  EXPECT_THAT(group[0]->AllGatherV(data.data(), data.data(), three, DataType::kF32, kLong),
              StatusIs(absl::StatusCode::kInvalidArgument, ::testing::HasSubstr("3 entries")));
  EXPECT_THAT(group[0]->AllToAllV(data.data(), two, data.data() + 5, std::vector<int64_t>{2, 2}, DataType::kF32, kLong),
              StatusIs(absl::StatusCode::kInvalidArgument, ::testing::HasSubstr("to itself")));
  EXPECT_THAT(group[0]->Send(data.data(), 1, DataType::kF32, 0, kLong),
              StatusIs(absl::StatusCode::kInvalidArgument, ::testing::HasSubstr("peer is 0")));
  ExpectAllOk(OnAllRanks(group, [](Communicator& ranks) { return ranks.Barrier(kLong); }));
}

}  // namespace ringmaster::testing

#endif  // RINGMASTER_COLLECTIVES_CONFORMANCE_COMMUNICATOR_CONFORMANCE_MISMATCHES_H_
