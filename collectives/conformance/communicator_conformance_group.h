// The fixture of the conformance suite: how a test file says what it tests.
#ifndef RINGMASTER_COLLECTIVES_CONFORMANCE_COMMUNICATOR_CONFORMANCE_GROUP_H_
#define RINGMASTER_COLLECTIVES_CONFORMANCE_COMMUNICATOR_CONFORMANCE_GROUP_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "collectives/conformance/communicator_group.h"
#include "common/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ringmaster::testing {

// Largest counts of the sweeps. The first is enough for several chunks; far beyond it the sweeps take minutes where every access is
// instrumented.
constexpr int64_t kSeveralChunks = 70'000;
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr int64_t kLargestCount = kSeveralChunks;
constexpr bool kInstrumented = true;
#else
constexpr int64_t kLargestCount = 2'000'000;
constexpr bool kInstrumented = false;
#endif

struct GroupFactory {
  std::string name;
  std::function<Group(int size)> make;
  int64_t largest_count = kLargestCount;
  bool splits = false;  // Split works
};

inline std::string GroupName(const ::testing::TestParamInfo<GroupFactory>& info) { return info.param.name; }

class CommunicatorConformance : public ::testing::TestWithParam<GroupFactory> {
 protected:
  Group Make(int size) const { return GetParam().make(size); }

  // The first group of a transport gets the whole sweeps, its variants a part of them.
  bool Thorough() const { return !kInstrumented && GetParam().largest_count == kLargestCount; }

  static void ExpectAllOk(const std::vector<absl::Status>& results) {
    for (size_t rank = 0; rank < results.size(); ++rank) EXPECT_OK(results[rank]) << "on rank " << rank;
  }
};

}  // namespace ringmaster::testing

#endif  // RINGMASTER_COLLECTIVES_CONFORMANCE_COMMUNICATOR_CONFORMANCE_GROUP_H_
