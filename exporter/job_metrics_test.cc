#include "exporter/job_metrics.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "cli/fake_job_client.h"
#include "exporter/collector.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "prometheus/text_serializer.h"

namespace ringmaster::exporter {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

v1::JobStatus Running() {
  v1::JobStatus job;
  job.set_job_id("gpt-1");
  job.set_name("gpt");
  job.set_state(v1::JOB_STATE_RUNNING);
  job.set_epoch(3);
  job.set_world_size(2);
  job.mutable_progress()->set_step(40);
  job.mutable_progress()->set_total_steps(100);
  job.mutable_progress()->set_train_loss(2.5);
  job.mutable_progress()->set_communication_share(0.25);
  v1::RankStatus& rank = *job.add_ranks();
  rank.set_rank(1);
  rank.set_host("h\"2");
  rank.set_step(41);
  job.add_failures()->set_fault("killed");
  job.add_failures()->set_fault("killed");
  job.add_failures()->set_fault("crashed");
  job.add_checkpoints()->set_step(30);
  v1::Verdict& verdict = *job.add_verdicts();
  verdict.set_fault("stopped");
  verdict.set_rank(1);
  verdict.set_host("h2");
  (*job.mutable_verdict_counts())["stopped"] = 7;
  return job;
}

std::string Text(const std::vector<prometheus::MetricFamily>& families) { return prometheus::TextSerializer().Serialize(families); }

TEST(JobMetrics, ARunningJobTellsHowFarItIsAndWhatAilsIt) {
  const std::string text = Text(JobMetrics({Running()}));
  for (const char* line : {
           "ringmaster_jobs{state=\"running\"} 1\n",
           "ringmaster_jobs{state=\"failed\"} 0\n",
           "ringmaster_job_state{job=\"gpt-1\",name=\"gpt\",state=\"running\"} 1\n",
           "ringmaster_job_epoch{job=\"gpt-1\",name=\"gpt\"} 3\n",
           "ringmaster_job_step{job=\"gpt-1\",name=\"gpt\"} 40\n",
           "ringmaster_job_steps{job=\"gpt-1\",name=\"gpt\"} 100\n",
           "ringmaster_job_train_loss{job=\"gpt-1\",name=\"gpt\"} 2.5\n",
           "ringmaster_job_communication_ratio{job=\"gpt-1\",name=\"gpt\"} 0.25\n",
           "ringmaster_job_checkpoint_step{job=\"gpt-1\",name=\"gpt\"} 30\n",
           "ringmaster_rank_step{job=\"gpt-1\",name=\"gpt\",rank=\"1\",host=\"h\\\"2\"} 41\n",
           "# TYPE ringmaster_job_failures_total counter\n",
           "ringmaster_job_failures_total{job=\"gpt-1\",name=\"gpt\",fault=\"killed\"} 2\n",
           "ringmaster_job_failures_total{job=\"gpt-1\",name=\"gpt\",fault=\"crashed\"} 1\n",
           "ringmaster_job_verdicts_total{job=\"gpt-1\",name=\"gpt\",fault=\"stopped\"} 7\n",
           "ringmaster_job_verdict{job=\"gpt-1\",name=\"gpt\",fault=\"stopped\",rank=\"1\",host=\"h2\"} 1\n",
       }) {
    EXPECT_THAT(text, HasSubstr(line));
  }
  EXPECT_THAT(text, Not(HasSubstr("validation_loss{"))) << "there was no validation yet";
}

TEST(JobMetrics, AVerdictThatIsOverIsNotHeld) {
  v1::JobStatus job = Running();
  job.mutable_verdicts(0)->mutable_over()->set_seconds(1);
  EXPECT_THAT(Text(JobMetrics({job})), AllOf(Not(HasSubstr("job_verdict{")), HasSubstr("job_verdicts_total{")));
}

TEST(JobMetrics, AFinishedJobKeepsItsCountsAlone) {
  v1::JobStatus job = Running();
  job.set_state(v1::JOB_STATE_FAILED);
  EXPECT_THAT(Text(JobMetrics({job})),
              AllOf(HasSubstr("state=\"failed\"} 1\n"), HasSubstr("job_failures_total{job=\"gpt-1\""), Not(HasSubstr("job_step{")),
                    Not(HasSubstr("rank_step{")), Not(HasSubstr("job_verdict{"))));
}

TEST(WorkerMetrics, AWorkerTellsOfItsSlots) {
  v1::WorkerStatus worker;
  worker.set_worker_id("h1");
  worker.set_alive(true);
  worker.set_slots(4);
  worker.set_free_slots(1);
  worker.mutable_last_heard()->set_nanos(250'000'000);
  EXPECT_THAT(Text(WorkerMetrics({worker})),
              AllOf(HasSubstr("ringmaster_worker_up{host=\"h1\"} 1\n"), HasSubstr("ringmaster_worker_slots{host=\"h1\"} 4\n"),
                    HasSubstr("ringmaster_worker_free_slots{host=\"h1\"} 1\n"),
                    HasSubstr("ringmaster_worker_silent_seconds{host=\"h1\"} 0.25\n")));
}

TEST(Collector, ACoordinatorThatIsAwayIsDownAndNothingElse) {
  cli::FakeJobClient client;
  client.PutState(Running());
  const Collector collector(&client);
  EXPECT_THAT(Text(collector.Collect()), AllOf(HasSubstr("ringmaster_up{version="), HasSubstr("ringmaster_job_step{")));
  client.Break(absl::UnavailableError("gone"));
  EXPECT_THAT(Text(collector.Collect()), AllOf(HasSubstr("ringmaster_up 0\n"), Not(HasSubstr("job"))));
}

}  // namespace
}  // namespace ringmaster::exporter
