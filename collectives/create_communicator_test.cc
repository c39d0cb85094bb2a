#include "collectives/create_communicator.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "collectives/conformance/communicator_conformance.h"
#include "collectives/conformance/created_group.h"
#include "collectives/memory_rendezvous.h"
#include "common/real_clock.h"
#include "common/status_matchers.h"

namespace ringmaster {
namespace {

using testing::CommunicatorConformance;
using testing::Group;
using testing::GroupFactory;
using testing::kLong;
using testing::MakeCreatedGroup;
using testing::StatusIs;

const RealClock& TestClock() {
  static const RealClock clock;
  return clock;
}

GroupFactory Factory(std::string name, TransportChoice transport, int ranks_on_host) {
  return {std::move(name),
          [=](int size) {
            // Splits use it as long as the group lives.
            static std::vector<std::unique_ptr<MemoryRendezvous>> rendezvous;
            rendezvous.push_back(std::make_unique<MemoryRendezvous>(TestClock()));
            return MakeCreatedGroup(size, {.transport = transport, .ranks_on_host = ranks_on_host}, *rendezvous.back());
          },
          testing::kSeveralChunks, /*splits=*/true};
}

INSTANTIATE_TEST_SUITE_P(Created, CommunicatorConformance,
                         ::testing::Values(Factory("OneHost", TransportChoice::kAuto, 1000),
                                           Factory("TwoRanksAHost", TransportChoice::kAuto, 2)),
                         testing::GroupName);

TEST(CreateCommunicatorTest, SharedMemoryBetweenHostsIsRefusedByName) {
  MemoryRendezvous rendezvous(TestClock());
  std::vector<absl::Status> statuses(4);
  MakeCreatedGroup(4, {.transport = TransportChoice::kShm, .ranks_on_host = 2}, rendezvous, &statuses);
  EXPECT_THAT(statuses[0], StatusIs(absl::StatusCode::kFailedPrecondition, ::testing::HasSubstr("rank 2 (host here, pid 7)")));
  EXPECT_THAT(statuses[3], StatusIs(absl::StatusCode::kFailedPrecondition, ::testing::HasSubstr("rank 0 (host here, pid 7)")));
}

TEST(CreateCommunicatorTest, GroupsOfSeveralHostsKnowTheirLayoutAndExplainTheirChoice) {
  MemoryRendezvous rendezvous(TestClock());
  Group group = MakeCreatedGroup(4, {.ranks_on_host = 2}, rendezvous);
  const Call call{.operation = Operation::kAllReduce, .type = DataType::kF32, .count = 16 << 20};
  const std::string text = group[0]->Explain(call);
  EXPECT_THAT(text, ::testing::HasSubstr("4 ranks on 2 hosts\n"));
  EXPECT_THAT(text, ::testing::HasSubstr("chosen"));
  for (const auto& ranks : group) EXPECT_EQ(ranks->Explain(call), text);
}

TEST(CreateCommunicatorTest, ASplitGroupCallsItsRanksAsTheParentDoes) {
  for (const TransportChoice transport : {TransportChoice::kAuto, TransportChoice::kTcp}) {
    MemoryRendezvous rendezvous(TestClock());
    Group group = MakeCreatedGroup(4, {.transport = transport}, rendezvous);
    Group odd(2);
    const auto results = testing::OnAllRanks(group, [&](Communicator& ranks) -> absl::Status {
      auto part = ranks.Split(ranks.rank() % 2, -ranks.rank(), kLong);
      if (!part.ok()) return part.status();
      if ((*part)->size() != 2 || (*part)->rank() != (ranks.rank() < 2 ? 1 : 0)) return absl::InternalError("wrong order");
      int32_t sum = ranks.rank();
      absl::Status status = (*part)->AllReduce(&sum, &sum, 1, DataType::kI32, Reduction::kSum, kLong);
      if (sum != (ranks.rank() % 2 == 0 ? 2 : 4)) return absl::InternalError(absl::StrCat("sum ", sum));
      if (ranks.rank() == 3) return status;  // its part closes here
      if (ranks.rank() == 1) status = (*part)->Barrier(kLong);
      return status;
    });
    EXPECT_OK(results[0]);
    EXPECT_OK(results[2]);
    EXPECT_OK(results[3]);
    EXPECT_THAT(results[1], StatusIs(absl::StatusCode::kUnavailable, ::testing::HasSubstr("rank 3 (host here, pid 7)")));
  }
}

TEST(CreateCommunicatorTest, ANegativeColourIsInNoGroup) {
  MemoryRendezvous rendezvous(TestClock());
  Group group = MakeCreatedGroup(3, {}, rendezvous);
  const auto results = testing::OnAllRanks(group, [&](Communicator& ranks) -> absl::Status {
    auto part = ranks.Split(ranks.rank() == 1 ? -1 : 5, 0, kLong);
    if (!part.ok()) return part.status();
    if ((*part == nullptr) != (ranks.rank() == 1)) return absl::InternalError("wrong members");
    return *part == nullptr ? absl::OkStatus() : (*part)->Barrier(kLong);
  });
  for (const absl::Status& result : results) EXPECT_OK(result);
}

}  // namespace
}  // namespace ringmaster
