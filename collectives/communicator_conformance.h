// What every Communicator promises, as tests. A test file says how to make a group, and gets the suite:
//   INSTANTIATE_TEST_SUITE_P(Tcp, CommunicatorConformance, ::testing::Values(GroupFactory{"tcp", &MakeTcpGroup}), GroupName);
#ifndef RINGMASTER_COLLECTIVES_COMMUNICATOR_CONFORMANCE_H_
#define RINGMASTER_COLLECTIVES_COMMUNICATOR_CONFORMANCE_H_

#include <algorithm>
#include <atomic>
#include <cstring>
#include <functional>
#include <future>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "collectives/communicator.h"
#include "collectives/communicator_group.h"
#include "common/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ringmaster::testing {

// Largest counts of the sweeps. The first is enough for several chunks; far beyond it the sweeps take minutes where every access is
// instrumented.
constexpr int64_t kSeveralChunks = 70'000;
#ifdef __SANITIZE_THREAD__
constexpr int64_t kLargestCount = kSeveralChunks;
#else
constexpr int64_t kLargestCount = 2'000'000;
#endif

struct GroupFactory {
  std::string name;
  std::function<Group(int size)> make;
  int64_t largest_count = kLargestCount;
};

inline std::string GroupName(const ::testing::TestParamInfo<GroupFactory>& info) { return info.param.name; }

// Small whole numbers: every sum is exact in every type (for u8 up to 8 ranks), so equality is equality.
template <typename T>
T ExactElement(int rank, int64_t index) {
  return static_cast<T>((index * 7 + rank * 13 + rank * index % 5) % 31);
}

// Anything that rounds: magnitudes from 1e-3 to 1e3, so the order of addition shows in the last bits.
template <typename T>
T RoundingElement(int rank, int64_t index) {
  constexpr double kScale[] = {1e-3, 1e-2, 0.1, 1, 10, 100, 1000};
  const uint64_t hash = static_cast<uint64_t>(index * 31 + rank + 1) * 0x9e3779b97f4a7c15;
  return static_cast<T>(static_cast<double>(static_cast<int64_t>(hash) >> 20) * 1e-13 * kScale[(hash >> 3) % 7]);
}

template <typename T>
constexpr DataType TypeOf() {
  if constexpr (std::is_same_v<T, float>) return DataType::kF32;
  if constexpr (std::is_same_v<T, double>) return DataType::kF64;
  if constexpr (std::is_same_v<T, int32_t>) return DataType::kI32;
  if constexpr (std::is_same_v<T, int64_t>) return DataType::kI64;
  return DataType::kU8;
}

template <typename T>
using Element = T (*)(int rank, int64_t index);

template <typename T>
std::vector<T> InputOf(int rank, int64_t count, Element<T> element) {
  std::vector<T> input(count);
  for (int64_t index = 0; index < count; ++index) input[index] = element(rank, index);
  return input;
}

// The definition: rank 0 first, one after the other.
template <typename T>
std::vector<T> ReducedInRankOrder(int size, int64_t count, Reduction reduction, Element<T> element) {
  std::vector<T> result = InputOf<T>(0, count, element);
  for (int rank = 1; rank < size; ++rank) {
    for (int64_t index = 0; index < count; ++index) {
      const T value = element(rank, index);
      T& sum = result[index];
      if (reduction == Reduction::kSum) sum = static_cast<T>(sum + value);
      if (reduction == Reduction::kMin && value < sum) sum = value;
      if (reduction == Reduction::kMax && value > sum) sum = value;
    }
  }
  return result;
}

template <typename T>
absl::Status ExpectSame(const std::vector<T>& found, const std::vector<T>& expected, const std::string& what) {
  if (found.size() != expected.size()) return absl::InternalError(absl::StrCat(what, ": length ", found.size()));
  for (size_t index = 0; index < found.size(); ++index) {
    if (std::memcmp(&found[index], &expected[index], sizeof(T)) != 0) {
      return absl::InternalError(absl::StrCat(what, ": element ", index, " is ", found[index], ", expected ", expected[index]));
    }
  }
  return absl::OkStatus();
}

inline const std::vector<int64_t>& InterestingCounts() {
  static const auto& counts = *new std::vector<int64_t>{0, 1, 2, 3, 17, 1023, 4097, 64 * 1024 + 1, 1024 * 1024 + 3};
  return counts;
}

class CommunicatorConformance : public ::testing::TestWithParam<GroupFactory> {
 protected:
  Group Make(int size) const { return GetParam().make(size); }

  static void ExpectAllOk(const std::vector<absl::Status>& results) {
    for (size_t rank = 0; rank < results.size(); ++rank) EXPECT_OK(results[rank]) << "on rank " << rank;
  }

  template <typename T>
  static absl::Status CheckAllReduce(Communicator& ranks, int64_t count, Reduction reduction, Element<T> element, bool in_place) {
    const std::vector<T> input = InputOf<T>(ranks.rank(), count, element);
    std::vector<T> result = in_place ? input : std::vector<T>(count, T{99});
    absl::Status status =
        ranks.AllReduce(in_place ? result.data() : input.data(), result.data(), count, TypeOf<T>(), reduction, kLong);
    if (!status.ok()) return status;
    return ExpectSame(result, ReducedInRankOrder<T>(ranks.size(), count, reduction, element),
                      absl::StrCat("all_reduce of ", count, in_place ? " in place" : ""));
  }

  template <typename T>
  static absl::Status CheckReduceScatter(Communicator& ranks, int64_t count, Reduction reduction, Element<T> element,
                                         bool in_place) {
    std::vector<T> input = InputOf<T>(ranks.rank(), count * ranks.size(), element);
    std::vector<T> result(count, T{99});
    T* const receive = in_place ? input.data() + ranks.rank() * count : result.data();
    absl::Status status = ranks.ReduceScatter(input.data(), receive, count, TypeOf<T>(), reduction, kLong);
    if (!status.ok()) return status;
    if (in_place) result.assign(receive, receive + count);
    const std::vector<T> whole = ReducedInRankOrder<T>(ranks.size(), count * ranks.size(), reduction, element);
    return ExpectSame(result, {whole.begin() + ranks.rank() * count, whole.begin() + (ranks.rank() + 1) * count},
                      absl::StrCat("reduce_scatter of ", count, in_place ? " in place" : ""));
  }

  template <typename T>
  static absl::Status CheckAllGather(Communicator& ranks, int64_t count, bool in_place) {
    const std::vector<T> input = InputOf<T>(ranks.rank(), count, &ExactElement<T>);
    std::vector<T> result(count * ranks.size(), T{99}), expected;
    T* const own = result.data() + ranks.rank() * count;
    if (in_place) std::copy(input.begin(), input.end(), own);
    absl::Status status = ranks.AllGather(in_place ? own : input.data(), result.data(), count, TypeOf<T>(), kLong);
    if (!status.ok()) return status;
    for (int rank = 0; rank < ranks.size(); ++rank) {
      const std::vector<T> part = InputOf<T>(rank, count, &ExactElement<T>);
      expected.insert(expected.end(), part.begin(), part.end());
    }
    return ExpectSame(result, expected, absl::StrCat("all_gather of ", count, in_place ? " in place" : ""));
  }

  template <typename T>
  static absl::Status CheckBroadcast(Communicator& ranks, int64_t count, int root) {
    std::vector<T> buffer = InputOf<T>(ranks.rank(), count, &ExactElement<T>);
    absl::Status status = ranks.Broadcast(buffer.data(), count, TypeOf<T>(), root, kLong);
    if (!status.ok()) return status;
    return ExpectSame(buffer, InputOf<T>(root, count, &ExactElement<T>), absl::StrCat("broadcast of ", count, " from ", root));
  }

  template <typename T>
  static absl::Status CheckEverything(Communicator& ranks, int64_t count) {
    for (const bool in_place : {false, true}) {
      for (const Reduction reduction : {Reduction::kSum, Reduction::kMin, Reduction::kMax}) {
        if (count > 5000 && in_place != (reduction == Reduction::kSum)) continue;  // the rest shows at small counts
        absl::Status status = CheckAllReduce<T>(ranks, count, reduction, &ExactElement<T>, in_place);
        if (status.ok()) status = CheckReduceScatter<T>(ranks, count, reduction, &ExactElement<T>, in_place);
        if (!status.ok()) return status;
      }
      if (absl::Status status = CheckAllGather<T>(ranks, count, in_place); !status.ok()) return status;
    }
    for (const int root : {0, ranks.size() - 1}) {
      if (absl::Status status = CheckBroadcast<T>(ranks, count, root); !status.ok()) return status;
    }
    return ranks.Barrier(kLong);
  }
};

TEST_P(CommunicatorConformance, KnowsRankAndSize) {
  const Group group = Make(3);
  for (int rank = 0; rank < 3; ++rank) {
    EXPECT_EQ(group[rank]->rank(), rank);
    EXPECT_EQ(group[rank]->size(), 3);
  }
}

TEST_P(CommunicatorConformance, EveryOperationIsExactForEveryCountAndRankNumber) {
  for (const int size : {1, 2, 3, 4, 5, 7, 8}) {
    Group group = Make(size);
    for (const int64_t count : InterestingCounts()) {
      SCOPED_TRACE(absl::StrCat(size, " ranks, count ", count));
      if ((size > 4 && count > 5000) || count > GetParam().largest_count) continue;
      ExpectAllOk(OnAllRanks(group, [&](Communicator& ranks) { return CheckEverything<float>(ranks, count); }));
      if (HasFailure()) return;
    }
  }
}

TEST_P(CommunicatorConformance, EveryTypeIsExact) {
  for (const int size : {2, 3}) {
    Group group = Make(size);
    for (const int64_t count : {1, 3, 1023, 64 * 1024 + 1}) {
      SCOPED_TRACE(absl::StrCat(size, " ranks, count ", count));
      ExpectAllOk(OnAllRanks(group, [&](Communicator& ranks) {
        absl::Status status = CheckEverything<double>(ranks, count);
        if (status.ok()) status = CheckEverything<int32_t>(ranks, count);
        if (status.ok()) status = CheckEverything<int64_t>(ranks, count);
        if (status.ok()) status = CheckEverything<uint8_t>(ranks, count);
        return status;
      }));
      if (HasFailure()) return;
    }
  }
}

TEST_P(CommunicatorConformance, SumsAreTheBitsOfAdditionInRankOrder) {
  for (const int size : {2, 3, 4, 7}) {
    Group group = Make(size);
    for (const int64_t count : {5, 1000, 30'001, 300'007}) {
      if (count > GetParam().largest_count) continue;
      SCOPED_TRACE(absl::StrCat(size, " ranks, count ", count));
      ExpectAllOk(OnAllRanks(group, [&](Communicator& ranks) {
        absl::Status status = CheckAllReduce<float>(ranks, count, Reduction::kSum, &RoundingElement<float>, true);
        if (status.ok()) status = CheckAllReduce<double>(ranks, count, Reduction::kSum, &RoundingElement<double>, false);
        if (status.ok()) status = CheckReduceScatter<float>(ranks, count, Reduction::kSum, &RoundingElement<float>, true);
        return status;
      }));
    }
  }
}

// The same random calls on all ranks; every result is compared with its definition.
TEST_P(CommunicatorConformance, AnySequenceOfCallsIsExact) {
  for (const uint32_t seed : {1u, 2u, 3u}) {
    const int size = 2 + static_cast<int>(seed % 3);
    Group group = Make(size);
    ExpectAllOk(OnAllRanks(group, [&](Communicator& ranks) {
      std::mt19937 random(seed);
      absl::Status status;
      for (int call = 0; call < 150 && status.ok(); ++call) {
        const int64_t count = random() % 3 == 0 ? static_cast<int64_t>(random() % 40'000) : static_cast<int64_t>(random() % 40);
        const bool in_place = random() % 2 == 0;
        const auto reduction = static_cast<Reduction>(random() % 3);
        const int root = static_cast<int>(random() % static_cast<uint32_t>(size));
        switch (random() % 6) {
          case 0: status = CheckAllReduce<float>(ranks, count, reduction, &RoundingElement<float>, in_place); break;
          case 1: status = CheckAllReduce<int64_t>(ranks, count, reduction, &ExactElement<int64_t>, in_place); break;
          case 2: status = CheckReduceScatter<double>(ranks, count, reduction, &RoundingElement<double>, in_place); break;
          case 3: status = CheckAllGather<uint8_t>(ranks, count, in_place); break;
          case 4: status = CheckBroadcast<int32_t>(ranks, count, root); break;
          default: status = ranks.Barrier(kLong);
        }
      }
      return status;
    }));
    if (HasFailure()) FAIL() << "seed " << seed;
  }
}

TEST_P(CommunicatorConformance, BarrierWaitsForEveryRank) {
  Group group = Make(3);
  std::atomic<int> arrived{0};
  ExpectAllOk(OnAllRanks(group, [&](Communicator& ranks) {
    for (int round = 1; round <= 50; ++round) {
      ++arrived;
      if (absl::Status status = ranks.Barrier(kLong); !status.ok()) return status;
      if (arrived < 3 * round) return absl::InternalError("left the barrier before all had come");
    }
    return absl::OkStatus();
  }));
}

// Rank 1 calls something else: every rank learns both calls, none hangs and none gets data.
TEST_P(CommunicatorConformance, MismatchedCallsAreNamedOnAllRanks) {
  using Call = std::function<absl::Status(Communicator&, float*)>;
  struct Case {
    const char* name;
    Call right;
    Call wrong;
    const char* right_text;
    const char* wrong_text;
  };
  const auto all_reduce = [](int64_t count, DataType type, Reduction reduction) -> Call {
    return [=](Communicator& ranks, float* data) { return ranks.AllReduce(data, data, count, type, reduction, kLong); };
  };
  const auto broadcast = [](int root) -> Call {
    return [=](Communicator& ranks, float* data) { return ranks.Broadcast(data, 100, DataType::kF32, root, kLong); };
  };
  const Call barrier = [](Communicator& ranks, float*) { return ranks.Barrier(kLong); };
  const Call sum = all_reduce(100, DataType::kF32, Reduction::kSum);
  const std::vector<Case> cases = {
      {"count", sum, all_reduce(101, DataType::kF32, Reduction::kSum), "count 100", "count 101"},
      {"large count", all_reduce(400'000, DataType::kF32, Reduction::kSum), sum, "count 400000", "count 100"},
      {"type", sum, all_reduce(100, DataType::kI32, Reduction::kSum), "f32", "i32"},
      {"reduction", sum, all_reduce(100, DataType::kF32, Reduction::kMax), "sum", "max"},
      {"operation", sum, barrier, "all_reduce", "barrier"},
      {"large operation", barrier, all_reduce(400'000, DataType::kF32, Reduction::kSum), "barrier", "all_reduce"},
      {"root", broadcast(0), broadcast(2), "root 0", "root 2"},
  };
  for (const int size : {2, 4}) {
    for (const Case& mismatch : cases) {
      if (size == 2 && std::string(mismatch.name) == "root") continue;
      SCOPED_TRACE(absl::StrCat(mismatch.name, ", ", size, " ranks"));
      Group group = Make(size);
      const auto results = OnAllRanks(group, [&](Communicator& ranks) {
        std::vector<float> data(400'000);
        return (ranks.rank() == 1 ? mismatch.wrong : mismatch.right)(ranks, data.data());
      });
      for (const absl::Status& result : results) {
        EXPECT_THAT(result, StatusIs(absl::StatusCode::kInvalidArgument,
                                     ::testing::AllOf(::testing::HasSubstr(mismatch.right_text),
                                                      ::testing::HasSubstr(mismatch.wrong_text), ::testing::HasSubstr("rank 1"))));
      }
      EXPECT_EQ(group[0]->Barrier(kLong), results[0]) << "a broken communicator stays broken";
    }
  }
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

}  // namespace ringmaster::testing

#endif  // RINGMASTER_COLLECTIVES_COMMUNICATOR_CONFORMANCE_H_
