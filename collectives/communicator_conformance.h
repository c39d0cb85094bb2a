// What every Communicator promises, as tests. A test file says how to make a group, and gets the suite:
//   INSTANTIATE_TEST_SUITE_P(Tcp, CommunicatorConformance, ::testing::Values(GroupFactory{"tcp", &MakeTcpGroup}), GroupName);
#ifndef RINGMASTER_COLLECTIVES_COMMUNICATOR_CONFORMANCE_H_
#define RINGMASTER_COLLECTIVES_COMMUNICATOR_CONFORMANCE_H_

#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "collectives/communicator.h"
#include "common/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ringmaster::testing {

using Group = std::vector<std::unique_ptr<Communicator>>;  // by rank

struct GroupFactory {
  std::string name;
  std::function<Group(int size)> make;
};

inline std::string GroupName(const ::testing::TestParamInfo<GroupFactory>& info) { return info.param.name; }

constexpr absl::Duration kLong = absl::Seconds(60);  // never passes in a test that passes

// Runs `body` for every rank at once, one thread each.
inline std::vector<absl::Status> OnAllRanks(Group& group, const std::function<absl::Status(Communicator&)>& body) {
  std::vector<absl::Status> results(group.size());
  std::vector<std::thread> threads;
  for (size_t rank = 0; rank < group.size(); ++rank) {
    threads.emplace_back([&, rank] { results[rank] = body(*group[rank]); });
  }
  for (std::thread& thread : threads) thread.join();
  return results;
}

// Small whole numbers: every sum is exact in every type (for u8 up to 8 ranks), so equality is equality.
template <typename T>
T ExactElement(int rank, int64_t index) {
  return static_cast<T>((index * 7 + rank * 13 + rank * index % 5) % 31);
}

// Anything that rounds: the order of addition shows in the last bits.
template <typename T>
T RoundingElement(int rank, int64_t index) {
  return static_cast<T>(std::sin(0.37 * static_cast<double>(index + 1) * (rank + 1)) * std::pow(10.0, (index + rank) % 7));
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

class CommunicatorConformanceAtSize : public CommunicatorConformance {};

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
      if (size > 4 && count > 5000) continue;
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

}  // namespace ringmaster::testing

#endif  // RINGMASTER_COLLECTIVES_COMMUNICATOR_CONFORMANCE_H_
