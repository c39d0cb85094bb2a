#include "cli/bench/train_bench.h"

#include "common/status_matchers.h"

namespace ringmaster::cli {
namespace {

using ringmaster::testing::StatusIs;
using ::testing::HasSubstr;

TEST(TrainBench, CountsTheFlopsOfGpt2AsItsPeersDo) {
  ASSERT_OK_AND_ASSIGN(const trainer::CudaGptConfig config, ConfigOf({.model = "gpt2_124m"}));
  const TokenFlops flops = FlopsOfToken(config);
  EXPECT_NEAR(flops.llm_c, 803.3e6, 0.2e6);
  EXPECT_NEAR(flops.palm, 855.2e6, 0.2e6);
}

TEST(TrainBench, NamesTheModelsThatThereAre) {
  EXPECT_THAT(ConfigOf({.model = "gpt5"}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("gpt2_350m")));
}

TEST(TrainBench, GpusThatDoNotMakeWholeReplicasAreRefused) {
  ASSERT_OK_AND_ASSIGN(const trainer::MeshShape mesh, MeshOf({.ranks = 8, .tensor = 2, .pipeline = 2}));
  EXPECT_EQ(mesh, (trainer::MeshShape{.data = 2, .pipeline = 2, .tensor = 2}));
  EXPECT_THAT(MeshOf({.ranks = 3, .tensor = 2}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--tensor * --pipeline = 2")));
  EXPECT_THAT(MeshOf({.ranks = 2, .pipeline = 2, .micro_batches = 5}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--micro-batches is 5")));
  EXPECT_THAT(MeshOf({.ranks = 2, .pipeline = 2, .zero = true}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--zero")));
}

TEST(TrainBench, TheFloorIsTheBestProductAndACopy) {
  const std::string table = FormatBreakdown({{.name = "qkv forward", .milliseconds = 1, .flops = 800e9, .bytes = 0},
                                             {.name = "head forward", .milliseconds = 2, .flops = 800e9, .bytes = 0},
                                             {.name = "loss", .milliseconds = 4, .flops = 0, .bytes = 8e9},
                                             {.name = "device copy", .milliseconds = 1, .flops = 0, .bytes = 4e9}});
  EXPECT_THAT(table, HasSubstr("head forward                    2.000  28.6%  400 TF/s    1.000"));
  EXPECT_THAT(table, HasSubstr("loss                            4.000  57.1% 2000 GB/s    2.000"));
  EXPECT_THAT(table, ::testing::Not(HasSubstr("device copy  ")));
}

}  // namespace
}  // namespace ringmaster::cli
