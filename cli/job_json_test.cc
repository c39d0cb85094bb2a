// Golden lines: scripts of users parse them, so a change here is a change of a promise.
#include "cli/job_json.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "gtest/gtest.h"

namespace ringmaster::cli {
namespace {

v1::JobStatus Running() {
  v1::JobStatus status;
  status.set_job_id("char-gpt-7f3k2");
  status.set_name("char-gpt");
  status.set_state(v1::JOB_STATE_RUNNING);
  status.set_epoch(2);
  status.set_world_size(2);
  status.mutable_submitted()->set_seconds(1000);
  status.mutable_started()->set_seconds(1001);
  v1::Progress* progress = status.mutable_progress();
  progress->set_step(120);
  progress->set_total_steps(400);
  progress->set_phase("forward");
  progress->set_train_loss(2.5);
  progress->set_validation_loss(2.75);
  progress->set_validation_step(100);
  progress->set_tokens_per_second(20000);
  progress->set_communication_share(0.125);
  progress->set_learning_rate(0.001);
  progress->set_gradient_norm(1.5);
  v1::RankStatus* rank = status.add_ranks();
  rank->set_rank(0);
  rank->set_host("h1");
  rank->set_device("cpu0");
  rank->set_pid(812);
  rank->set_state(v1::RANK_STATE_JOINED);
  rank->set_step(120);
  rank->set_phase("forward");
  v1::EpochInfo* epoch = status.add_epochs();
  epoch->set_epoch(1);
  epoch->set_world_size(2);
  epoch->set_reason("first start");
  v1::Failure* failure = status.add_failures();
  failure->set_epoch(1);
  failure->set_rank(1);
  failure->set_host("h2");
  failure->set_pid(813);
  failure->set_exit_code(137);
  failure->set_signal(9);
  failure->set_reason("killed by SIGKILL");
  failure->add_stderr_tail("last words");
  failure->set_fault("killed");
  v1::Verdict* verdict = status.add_verdicts();
  verdict->set_fault("stopped");
  verdict->set_epoch(2);
  verdict->set_host("h1");
  verdict->set_slot(1);
  verdict->set_pid(812);
  verdict->set_text("rank 0 (h1, pid 812) is stopped");
  verdict->mutable_since()->set_seconds(1002);
  v1::CheckpointInfo* checkpoint = status.add_checkpoints();
  checkpoint->set_step(100);
  checkpoint->set_path("/c/char-gpt-7f3k2/step-00000100");
  checkpoint->set_bytes(4096);
  checkpoint->set_world_size(2);
  checkpoint->set_digest("00ff");
  return status;
}

TEST(StatusJson, Golden) {
  EXPECT_EQ(
      StatusJson({Running()}),
      R"({"jobs":[{"job":"char-gpt-7f3k2","name":"char-gpt","state":"Running","reason":"","verdict":null,"epoch":2,"step":120,"train_loss":2.5,)"
      R"("validation_loss":2.75,"tokens_per_second":20000.0,"total_steps":400,"world_size":2,)"
      R"("ranks":[{"rank":0,"host":"h1","device":"cpu0","pid":812,"state":"Joined","step":120,"phase":"forward"}],)"
      R"("epochs":[{"epoch":1,"world_size":2,"reason":"first start"}],)"
      R"("failures":[{"epoch":1,"rank":1,"host":"h2","pid":813,"exit_code":137,"signal":9,"out_of_memory":false,)"
      R"("fault":"killed","slot":0,"reason":"killed by SIGKILL","stderr_tail":["last words"]}],)"
      R"("verdicts":[{"fault":"stopped","epoch":2,"rank":0,"host":"h1","slot":1,"pid":812,"text":"rank 0 (h1, pid 812) is stopped",)"
      R"("since":1002.0,"over":null}],"checkpoint":"/c/char-gpt-7f3k2/step-00000100",)"
      R"("exit_code":null,"submitted":1000.0,"started":1001.0,"finished":null}]})");
  EXPECT_EQ(StatusJson({}), R"({"jobs":[]})");
}

TEST(EventJson, Golden) {
  const v1::JobStatus status = Running();
  EXPECT_EQ(EpochEventJson("j", status.epochs(0)),
            R"({"event":"epoch","job":"j","epoch":1,"world_size":2,"reason":"first start"})");
  EXPECT_EQ(ProgressEventJson(status),
            R"({"event":"progress","job":"char-gpt-7f3k2","epoch":2,"step":120,"train_loss":2.5,"validation_loss":2.75,)"
            R"("tokens_per_second":20000.0,"total_steps":400,"phase":"forward","communication_share":0.125,"learning_rate":0.001,)"
            R"("gradient_norm":1.5})");
  EXPECT_EQ(CheckpointEventJson("j", status.checkpoints(0)),
            R"({"event":"checkpoint","job":"j","step":100,"path":"/c/char-gpt-7f3k2/step-00000100","bytes":4096,"world_size":2,)"
            R"("verified":null,"digest":"00ff"})");
  EXPECT_EQ(SubmittedEventJson("j", "h:1"), R"({"event":"submitted","job":"j","coordinator":"h:1"})");
}

TEST(FinishedEventJson, Golden) {
  v1::JobStatus status = Running();
  status.set_state(v1::JOB_STATE_SUCCEEDED);
  status.mutable_finished()->set_seconds(1021);
  status.mutable_finished()->set_nanos(500'000'000);
  EXPECT_EQ(
      FinishedEventJson(status),
      R"({"event":"job_finished","job":"char-gpt-7f3k2","state":"Succeeded","reason":"","exit_code":0,"step":120,"train_loss":2.5,)"
      R"("validation_loss":2.75,"tokens_per_second":20000.0,"wall_seconds":20.5,"epochs":1,"failures":1,"world_size":2,)"
      R"("checkpoint":"/c/char-gpt-7f3k2/step-00000100"})");
}

TEST(FinishedEventJson, OfACommandJobHasNoRateAndNoLosses) {
  v1::JobStatus status;
  status.set_job_id("j");
  status.set_state(v1::JOB_STATE_FAILED);
  status.set_reason("rank 1 exited with code 3");
  status.set_exit_code(3);
  EXPECT_EQ(
      FinishedEventJson(status),
      R"({"event":"job_finished","job":"j","state":"Failed","reason":"rank 1 exited with code 3","exit_code":3,"step":0,)"
      R"("train_loss":null,"validation_loss":null,"wall_seconds":0.0,"epochs":0,"failures":0,"world_size":0,"checkpoint":null})");
}

TEST(FinishedEventJson, ClassifiersHaveSamplesAndAccuracy) {
  v1::JobStatus status;
  status.mutable_progress()->set_samples_per_second(100);
  status.mutable_progress()->set_validation_accuracy(0.5);
  const auto json = nlohmann::json::parse(FinishedEventJson(status));
  EXPECT_EQ(json["samples_per_second"], 100);
  EXPECT_EQ(json["validation_accuracy"], 0.5);
  EXPECT_FALSE(json.contains("tokens_per_second"));
}

TEST(Json, StaysJsonWhateverCameOverTheWire) {
  v1::JobStatus status = Running();
  status.mutable_progress()->set_train_loss(std::numeric_limits<double>::quiet_NaN());
  status.mutable_progress()->set_validation_loss(std::numeric_limits<double>::infinity());
  status.mutable_failures(0)->set_stderr_tail(0, "bad \xff utf-8 \x01 \"quoted\"");
  const auto json = nlohmann::json::parse(StatusJson({status}));
  EXPECT_TRUE(json["jobs"][0]["train_loss"].is_null());
  EXPECT_TRUE(json["jobs"][0]["validation_loss"].is_null());
  EXPECT_EQ(json["jobs"][0]["failures"][0]["stderr_tail"][0], "bad \xEF\xBF\xBD utf-8 \x01 \"quoted\"");
}

TEST(CheckpointsJson, Golden) {
  const v1::CheckpointInfo info = Running().checkpoints(0);
  EXPECT_EQ(CheckpointsJson({{.info = info, .verified = true}, {.info = info, .verified = false, .problem = "w-0: flipped"}}),
            R"({"checkpoints":[{"step":100,"path":"/c/char-gpt-7f3k2/step-00000100","bytes":4096,"world_size":2,"verified":true,)"
            R"("digest":"00ff"},{"step":100,"path":"/c/char-gpt-7f3k2/step-00000100","bytes":4096,"world_size":2,"verified":false,)"
            R"("digest":"00ff","problem":"w-0: flipped"}]})");
}

TEST(StateName, OfEveryState) {
  EXPECT_EQ(StateName(v1::JOB_STATE_RECOVERING), "Recovering");
  EXPECT_EQ(StateName(v1::JOB_STATE_UNSPECIFIED), "Unspecified");
  EXPECT_EQ(StateName(v1::RANK_STATE_LOST), "Lost");
  EXPECT_EQ(StateName(static_cast<v1::JobState>(99)), "") << "a state of a newer coordinator";
}

}  // namespace
}  // namespace ringmaster::cli
