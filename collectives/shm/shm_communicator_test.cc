#include "collectives/shm/shm_communicator.h"

#include "collectives/conformance/communicator_conformance.h"
#include "collectives/shm/in_process_group.h"

namespace ringmaster {
namespace {

using testing::CommunicatorConformance;
using ::testing::ContainsRegex;
using testing::GroupFactory;
using testing::InProcessShmOptions;

GroupFactory ShmGroup(std::string name, const InProcessShmOptions& options, int64_t largest_count) {
  return {std::move(name), [=](int size) { return testing::MakeInProcessShmGroup(size, options); }, largest_count};
}

INSTANTIATE_TEST_SUITE_P(
    Shm, CommunicatorConformance,
    ::testing::Values(ShmGroup("Automatic", {}, testing::kLargestCount),
                      // Everything that can be goes through rings and staging areas, in many chunks.
                      ShmGroup("SmallChunks",
                               {.sizes = {.slot_bytes = 128, .chunk_bytes = 1024, .ring_bytes = 256},
                                .tuning = {.one_shot_bytes = 8, .cross_memory_bytes = INT64_MAX}},
                               testing::kSeveralChunks),
                      ShmGroup("Helpers", {.helpers = 3}, testing::kSeveralChunks),
                      ShmGroup("CrossMemory",
                               {.tuning = {.one_shot_bytes = 8, .cross_memory_bytes = 16, .cross_memory_piece = 4096},
                                .share_cores = false},
                               testing::kSeveralChunks)),
    testing::GroupName);

TEST(ShmCommunicatorTest, ExplainsByTheCostModelWhichWayIsTakenAndWhyNotTheOthers) {
  const testing::Group group = testing::MakeInProcessShmGroup(2, {});
  const auto all_reduce = [](int64_t bytes) {
    return Call{.operation = Operation::kAllReduce, .type = DataType::kF32, .count = bytes / 4};
  };
  EXPECT_THAT(group[0]->Explain(all_reduce(64)), ContainsRegex("one shot +[0-9.]+ us  chosen"));
  const std::string large = group[0]->Explain(all_reduce(1 << 20));
  EXPECT_THAT(large, ContainsRegex("pair exchange +[0-9.]+ us  chosen"));
  EXPECT_THAT(large, ContainsRegex("registered +cannot +the buffers are not registered"));
  EXPECT_EQ(group[1]->Explain(all_reduce(1 << 20)), large) << "all ranks go by the same figures";
}

// What registered buffers change, by size and by whether ranks have cores of their own.
TEST(ShmCommunicatorTest, RegisteredBuffersGoStraightFromTheSizeWhereThatIsFaster) {
  for (const bool share_cores : {false, true}) {
    testing::Group group =
        testing::MakeInProcessShmGroup(2, {.tuning = {.cross_memory_bytes = 1 << 20}, .share_cores = share_cores});
    const auto results = testing::OnAllRanks(group, [&](Communicator& ranks) -> absl::Status {
      auto buffer = ranks.Register(4 << 20, testing::kLong);
      if (!buffer.ok()) return buffer.status();
      const auto way_of = [&](Operation operation, int64_t bytes) {
        const std::string explained = ranks.Explain({.operation = operation,
                                                     .type = DataType::kF32,
                                                     .count = bytes / 4,
                                                     .send = buffer->data(),
                                                     .receive = buffer->data()});
        return explained.substr(0, explained.find(':'));
      };
      EXPECT_EQ(way_of(Operation::kAllReduce, 508), "in shared memory, one shot");
      EXPECT_EQ(way_of(Operation::kAllReduce, 512), share_cores ? "in shared memory, one shot" : "in shared memory, registered");
      EXPECT_EQ(way_of(Operation::kAllReduce, 8192), "in shared memory, registered");
      EXPECT_EQ(way_of(Operation::kAllReduce, 2 << 20), "in shared memory, registered") << "though private ones go by cross memory";
      EXPECT_EQ(way_of(Operation::kBroadcast, 2 << 20), "in shared memory, two shot");
      return absl::OkStatus();
    });
    for (const absl::Status& result : results) EXPECT_TRUE(result.ok()) << result;
  }
}

}  // namespace
}  // namespace ringmaster
