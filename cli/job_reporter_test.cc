#include "cli/job_reporter.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ringmaster::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class JobReporterTest : public ::testing::Test {
 protected:
  JobReporter Make(ReporterOptions options = {}) { return JobReporter(options, spec_, &out_, &err_); }

  v1::JobStatus Step(int64_t step) {
    v1::JobStatus status;
    status.set_job_id("j");
    status.set_state(v1::JOB_STATE_RUNNING);
    status.set_world_size(1);
    v1::EpochInfo* epoch = status.add_epochs();
    epoch->set_epoch(1);
    epoch->set_world_size(1);
    epoch->set_reason("first start");
    status.mutable_progress()->set_step(step);
    status.mutable_progress()->set_total_steps(10);
    return status;
  }

  static std::vector<std::string> Lines(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) lines.push_back(line);
    return lines;
  }

  std::vector<std::string> Events() {
    std::vector<std::string> events;
    for (const std::string& line : Lines(out_.str())) events.push_back(nlohmann::json::parse(line)["event"]);
    return events;
  }

  v1::JobSpec spec_;
  std::ostringstream out_;
  std::ostringstream err_;
  const absl::Time start_ = absl::UnixEpoch();
};

TEST_F(JobReporterTest, TheCauseIsToldWhenItTakesThePlaceOfWhatWasKnownBefore) {
  JobReporter reporter = Make({.json = true});
  v1::JobStatus status = Step(3);
  v1::Failure* failure = status.add_failures();
  failure->set_epoch(1);
  failure->set_rank(1);
  failure->set_exit_code(75);
  reporter.OnStatus(status, start_);
  failure->set_rank(0);
  failure->set_exit_code(137);
  reporter.OnStatus(status, start_);
  reporter.OnStatus(status, start_);
  const std::vector<std::string> events = Events();
  EXPECT_EQ(std::count(events.begin(), events.end(), "failure"), 2) << "each of the two once";
  EXPECT_THAT(out_.str(), HasSubstr("\"exit_code\":137"));
}

TEST_F(JobReporterTest, PlainLinesComeAtMostOnceASecond) {
  JobReporter reporter = Make();
  for (int i = 1; i <= 10; ++i) reporter.OnStatus(Step(i), start_ + i * absl::Milliseconds(200));
  EXPECT_THAT(Lines(err_.str()), ElementsAre("epoch 1: 1 ranks (first start)", "step 1/10", "step 6/10"));
  EXPECT_EQ(out_.str(), "") << "stdout is for data";
}

TEST_F(JobReporterTest, AValidationIsNewsAtOnce) {
  JobReporter reporter = Make();
  reporter.OnStatus(Step(1), start_);
  v1::JobStatus validated = Step(2);
  validated.mutable_progress()->set_validation_loss(1.5);
  validated.mutable_progress()->set_validation_step(2);
  reporter.OnStatus(validated, start_ + absl::Milliseconds(1));
  reporter.OnStatus(validated, start_ + absl::Milliseconds(2));
  EXPECT_THAT(Lines(err_.str()), ElementsAre("epoch 1: 1 ranks (first start)", "step 1/10", "step 2/10  val 1.5000"));
}

TEST_F(JobReporterTest, TellsEveryEpochFailureAndCheckpointOnce) {
  JobReporter reporter = Make({.json = true});
  reporter.OnStatus(Step(1), start_);
  v1::JobStatus status = Step(2);
  status.add_failures()->set_reason("killed by SIGKILL");
  status.add_epochs()->set_epoch(2);
  status.add_checkpoints()->set_step(2);
  reporter.OnStatus(status, start_);
  reporter.OnStatus(status, start_);
  // Retention replaces the old one; the newer is news though the count is the same.
  status.mutable_checkpoints(0)->set_step(4);
  reporter.OnStatus(status, start_);
  status.set_state(v1::JOB_STATE_SUCCEEDED);
  reporter.OnFinished(status);
  EXPECT_THAT(Events(), ElementsAre("epoch", "state", "progress", "failure", "epoch", "checkpoint", "progress", "checkpoint",
                                    "state", "job_finished"));
}

TEST_F(JobReporterTest, JsonKeepsPeoplesLinesOffStdout) {
  JobReporter reporter = Make({.json = true});
  reporter.OnSubmitted("j", "h:1");
  v1::LogLine line;
  line.set_text("hello");
  reporter.OnLog(line);
  reporter.Note("note");
  EXPECT_THAT(Events(), ElementsAre("submitted"));
  EXPECT_THAT(err_.str(), HasSubstr("[rank 0] hello\nnote\n"));
}

TEST_F(JobReporterTest, TheLiveLineIsRedrawnInPlaceAndLinesGoAboveIt) {
  JobReporter reporter = Make({.live = true, .width = 80});
  reporter.OnStatus(Step(1), start_);
  reporter.OnStatus(Step(2), start_);
  reporter.Note("a note");
  v1::JobStatus last = Step(10);
  last.set_state(v1::JOB_STATE_SUCCEEDED);
  reporter.OnStatus(last, start_);
  reporter.OnFinished(last);
  EXPECT_THAT(err_.str(), HasSubstr("step 1/10\r\033[Kstep 2/10\r\033[Ka note\nstep 2/10"));
  EXPECT_THAT(Lines(err_.str()).back(), HasSubstr("j Succeeded")) << "nothing of the live line stays below the summary";
  EXPECT_EQ(err_.str().back(), '\n');
}

TEST_F(JobReporterTest, ColorIsOnlyUsedWhenAskedFor) {
  v1::JobStatus last = Step(10);
  last.set_state(v1::JOB_STATE_SUCCEEDED);
  Make().OnFinished(last);
  EXPECT_THAT(err_.str(), Not(HasSubstr("\033")));
  Make({.color = true}).OnFinished(last);
  EXPECT_THAT(err_.str(), HasSubstr("\033[1m"));
}

TEST_F(JobReporterTest, ACommandsOutputStaysOnStdout) {
  spec_.add_command("train");
  JobReporter reporter = Make();
  v1::LogLine line;
  line.set_text("result");
  reporter.OnLog(line);
  line.set_text("warning");
  line.set_is_stderr(true);
  line.set_dropped_before(7);
  reporter.OnLog(line);
  EXPECT_EQ(out_.str(), "result\n");
  EXPECT_EQ(err_.str(), "[rank 0] (7 lines were dropped here)\n[rank 0] warning\n");
}

TEST_F(JobReporterTest, AFailedJobEndsWithItsReport) {
  JobReporter reporter = Make({.json = true, .log_directory = "/w"});
  v1::JobStatus status = Step(3);
  status.set_state(v1::JOB_STATE_FAILED);
  status.set_reason("rank 0 exited with code 3");
  status.set_exit_code(3);
  v1::Failure* failure = status.add_failures();
  failure->set_epoch(1);
  failure->set_reason("exited with code 3");
  reporter.OnFinished(status);
  EXPECT_THAT(err_.str(), HasSubstr("full log: /w/j/rank-0.epoch-1.err"));
  const auto last = nlohmann::json::parse(Lines(out_.str()).back());
  EXPECT_EQ(last["event"], "job_finished");
  EXPECT_EQ(last["exit_code"], 3);
}

}  // namespace
}  // namespace ringmaster::cli
