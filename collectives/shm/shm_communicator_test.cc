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

}  // namespace
}  // namespace ringmaster
