#include "cli/bench/train_bench.h"

#include "cli/bench/train_report.h"
#include "common/real_clock.h"
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

TEST(TrainBench, SnapshotsNeedStateThatIsNowhereElse) {
  const RealClock clock;
  TrainReport report;
  for (const TrainBenchOptions& options :
       {TrainBenchOptions{.ranks = 2, .snapshots = true}, TrainBenchOptions{.zero = true, .snapshots = true}}) {
    EXPECT_THAT(RunTrainBench(options, nullptr, clock, report),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--snapshots")));
  }
}

TrainReport SomeReport() {
  TrainReport report = {.model = "gpt2_124m", .sequences = 8, .context = 1024, .device = "a GPU", .setup_seconds = 1.5};
  report.alone = {
      .step_ms = 16.25, .tokens_per_second = 503000, .mfu_llm_c = 0.408, .mfu_palm = 0.435, .peak_tflops = 989, .loss = 9};
  report.together = {.mesh = {.data = 2},
                     .zero = true,
                     .step_ms = 17.5,
                     .tokens_per_second = 935000,
                     .of_alone = 0.93,
                     .of_slowest_apart = 0.94,
                     .exposed_ms = 0.45,
                     .loss = 8.5};
  report.snapshots = {.without_ms = {17, 20, 18}, .with_ms = {17.17, 20.6, 18.36}};
  report.memory = {{"gradients (fp32)", 500'000'000}};
  report.works = {{.name = "loss", .milliseconds = 4, .flops = 0, .bytes = 8e9}};
  return report;
}

TEST(TrainBench, SaysWhatItHasMeasured) {
  const std::string text = ToText(SomeReport());
  EXPECT_THAT(text, HasSubstr("gpt2_124m, 8 sequences of 1024 tokens a step, bf16, on a GPU; ready in 1.500 s\n"));
  EXPECT_THAT(text, HasSubstr("step 16.25 ms, 503000 tokens/s, MFU 40.8%"));
  EXPECT_THAT(text, HasSubstr("2 GPUs with ZeRO-1: step 17.50 ms, 935000 tokens/s, 93.0% of 2 times one alone"));
  EXPECT_THAT(text,
              HasSubstr("copies of shards after every step: +2.00%; ms a step, by turns without and with: 17.00 17.17 20.00"));
  EXPECT_THAT(text, HasSubstr("gradients (fp32)               500.0 MB\n"));
  EXPECT_THAT(text, HasSubstr("loss "));
  EXPECT_EQ(ToText({}), "") << "nothing was set up";
}

TEST(TrainBench, TheJsonHasTheSameFigures) {
  const nlohmann::ordered_json json = ToJson(SomeReport());
  EXPECT_EQ(json["alone"]["step_ms"], 16.25);
  EXPECT_EQ(json["together"]["data"], 2);
  EXPECT_EQ(json["together"]["zero"], 1);
  EXPECT_NEAR(json["snapshots"]["cost"].get<double>(), 0.02, 1e-9);
  EXPECT_EQ(json["memory"]["gradients (fp32)"], 500'000'000);
  EXPECT_EQ(json["work"][0]["ms"], 4);
  EXPECT_FALSE(ToJson({}).contains("together"));
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
