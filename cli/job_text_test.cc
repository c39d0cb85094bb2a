#include "cli/job_text.h"

#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ringmaster::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

v1::JobStatus Running() {
  v1::JobStatus status;
  status.set_job_id("char-gpt-7f3k2");
  status.set_state(v1::JOB_STATE_RUNNING);
  status.set_world_size(2);
  status.set_epoch(1);
  v1::Progress* progress = status.mutable_progress();
  progress->set_step(120);
  progress->set_total_steps(400);
  progress->set_train_loss(2.431);
  progress->set_tokens_per_second(20100);
  progress->set_communication_share(0.12);
  return status;
}

TEST(ProgressLine, HasStepLossRateShareAndEta) {
  // 280 steps of 1536 tokens at 20100 a second are 21.4 s.
  EXPECT_EQ(ProgressLine(Running(), 1536, 0), "step 120/400  loss 2.4310  20.1k tokens/s  comm 12%  eta 21s");
}

TEST(ProgressLine, ShowsValidationOnceThereIsOne) {
  v1::JobStatus status = Running();
  status.mutable_progress()->set_validation_loss(2.5);
  EXPECT_THAT(ProgressLine(status, 1536, 0), HasSubstr("loss 2.4310  val 2.5000  20.1k"));
  status.mutable_progress()->set_validation_accuracy(0.9912);
  EXPECT_THAT(ProgressLine(status, 1536, 0), HasSubstr("val 2.5000 (99.12% right)"));
}

TEST(ProgressLine, PromisesNoEndWithoutARate) {
  v1::JobStatus status = Running();
  EXPECT_THAT(ProgressLine(status, 0, 0), Not(HasSubstr("eta")));
  status.mutable_progress()->clear_tokens_per_second();
  EXPECT_THAT(ProgressLine(status, 1536, 0), AllOf(Not(HasSubstr("eta")), Not(HasSubstr("comm"))));
  status.mutable_progress()->set_samples_per_second(std::numeric_limits<double>::infinity());
  EXPECT_THAT(ProgressLine(status, 1536, 0), Not(HasSubstr("eta")));
}

TEST(ProgressLine, NamesAStateThatIsNotRunning) {
  v1::JobStatus status = Running();
  status.set_state(v1::JOB_STATE_PENDING);
  status.set_reason("needs 4 slots, 2 are alive: h1, h2");
  EXPECT_THAT(ProgressLine(status, 0, 0), ::testing::StartsWith("Pending: needs 4 slots, 2 are alive: h1, h2  step 120/400"));
}

TEST(ProgressLine, NeverWrapsTheTerminal) {
  for (size_t width = 1; width < 80; ++width) EXPECT_LE(ProgressLine(Running(), 1536, width).size(), width);
  EXPECT_EQ(ProgressLine(Running(), 1536, 30), "step 120/400  loss 2.4310") << "whole parts are dropped";
  EXPECT_EQ(ProgressLine(Running(), 1536, 5), "step ");
}

TEST(ProgressLine, OfACommandJob) {
  v1::JobStatus status;
  status.set_state(v1::JOB_STATE_RUNNING);
  status.set_world_size(8);
  EXPECT_EQ(ProgressLine(status, 0, 0), "Running, 8 ranks");
}

TEST(ShortForms, ThreeFigures) {
  EXPECT_EQ(ShortNumber(0), "0");
  EXPECT_EQ(ShortNumber(999.4), "999");
  EXPECT_EQ(ShortNumber(999.6), "1.00k");
  EXPECT_EQ(ShortNumber(20123), "20.1k");
  EXPECT_EQ(ShortNumber(145'000), "145k");
  EXPECT_EQ(ShortNumber(3.4e6), "3.40M");
  EXPECT_EQ(ShortDuration(absl::Milliseconds(400)), "0s");
  EXPECT_EQ(ShortDuration(absl::Milliseconds(59'600)), "1m00s");
  EXPECT_EQ(ShortDuration(absl::Seconds(200)), "3m20s");
  EXPECT_EQ(ShortDuration(absl::Minutes(125)), "2h05m");
  EXPECT_EQ(ShortBytes(1023), "1023 B");
  EXPECT_EQ(ShortBytes(1536), "1.5 KiB");
  EXPECT_EQ(ShortBytes(int64_t{3} << 30), "3.0 GiB");
}

TEST(UnitsPerStep, CountsTokensOrSamples) {
  v1::JobSpec spec;
  EXPECT_EQ(UnitsPerStep(spec), 0);
  spec.mutable_train()->set_global_batch(24);
  EXPECT_EQ(UnitsPerStep(spec), 24);
  spec.mutable_model()->mutable_gpt()->set_context(64);
  EXPECT_EQ(UnitsPerStep(spec), 1536);
}

TEST(Table, AlignsColumns) { EXPECT_EQ(Table({{"A", "LONG", "C"}, {"aaa", "b", "c"}}), "A    LONG  C\naaa  b     c\n"); }

v1::JobStatus Failed() {
  v1::JobStatus status;
  status.set_job_id("ddp-1");
  status.set_state(v1::JOB_STATE_FAILED);
  status.set_reason("rank 1 on h2 exited with code 3");
  status.set_exit_code(3);
  for (int epoch = 1; epoch <= 2; ++epoch) {
    status.add_epochs()->set_epoch(epoch);
    for (int rank : {1, 0}) {  // the first of an epoch is its root cause
      v1::Failure* failure = status.add_failures();
      failure->set_epoch(epoch);
      failure->set_rank(rank);
      failure->set_host("h2");
      failure->set_pid(800 + epoch);
      failure->set_reason("exited with code 3");
      failure->add_stderr_tail("Traceback");
    }
  }
  return status;
}

TEST(RootCause, IsTheFirstFailureOfTheLastEpoch) {
  const v1::JobStatus status = Failed();
  ASSERT_NE(RootCause(status), nullptr);
  EXPECT_EQ(RootCause(status)->epoch(), 2);
  EXPECT_EQ(RootCause(status)->rank(), 1);
  EXPECT_EQ(RootCause(v1::JobStatus()), nullptr);
}

TEST(FailureReport, SaysWhoWhereHowAndWhereToLook) {
  EXPECT_EQ(FailureReport(Failed(), "/w"),
            "ddp-1 failed: rank 1 on h2 exited with code 3\n"
            "  cause: rank 1 on h2 (pid 802) in epoch 2: exited with code 3\n"
            "  its last lines on stderr:\n"
            "    | Traceback\n"
            "  done about it: 1 restart (restart.max_failures), 4 failures\n"
            "  full log: /w/ddp-1/rank-1.epoch-2.err\n");
  EXPECT_THAT(FailureReport(Failed(), ""),
              HasSubstr("full log: ddp-1/rank-1.epoch-2.err in the work directory of the worker on h2"));
}

TEST(FailureReport, WithoutAFailedRankHasTheReasonAlone) {
  v1::JobStatus status;
  status.set_job_id("j");
  status.set_reason("time limit of 5s passed");
  EXPECT_EQ(FailureReport(status, ""), "j failed: time limit of 5s passed\n");
}

TEST(FailureLine, NamesMemory) {
  v1::Failure failure;
  failure.set_reason("killed by SIGKILL");
  failure.set_out_of_memory(true);
  EXPECT_THAT(FailureLine(failure), HasSubstr("killed by SIGKILL, out of memory"));
}

TEST(PlanText, SaysHowTheRanksOfAMeshAreNumbered) {
  v1::JobSpec spec;
  spec.mutable_parallel()->mutable_data()->set_max(2);
  EXPECT_THAT(PlanText(spec, {}), Not(HasSubstr("mesh")));
  spec.mutable_parallel()->set_tensor(4);
  EXPECT_THAT(PlanText(spec, {}), HasSubstr("mesh: data 2, pipeline 1, tensor 4; rank = (replica * 1 + stage) * 4 + share\n"));
}

TEST(Summary, NamesTheNextCommand) {
  v1::JobStatus status = Running();
  status.set_state(v1::JOB_STATE_SUCCEEDED);
  status.add_checkpoints()->set_path("/c/step-1");
  v1::JobSpec gpt;
  gpt.mutable_model()->mutable_gpt();
  EXPECT_THAT(Summary(status, gpt), HasSubstr("next: ringmaster generate /c/step-1 --prompt"));
  EXPECT_THAT(Summary(status, v1::JobSpec()), HasSubstr("next: ringmaster evaluate /c/step-1"));
  status.set_state(v1::JOB_STATE_CANCELLED);
  EXPECT_THAT(Summary(status, gpt), HasSubstr("--resume /c/step-1"));
}

}  // namespace
}  // namespace ringmaster::cli
