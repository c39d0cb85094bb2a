// The whole coordinator over real gRPC, with a scripted worker and trainer.
#include "coordinator/coordinator.h"

#include <unistd.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_matchers.h"
#include "coordinator/testing/coordinator_fixture.h"

namespace ringmaster {
namespace {

using ::ringmaster::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST_F(CoordinatorTest, JobRunsFromSubmitToSucceeded) {
  const std::string job = Submit("demo", 2);
  grpc::ClientContext watch_context;
  Limit(watch_context);
  v1::WatchJobRequest watch;
  watch.set_job("demo");
  const auto watcher = jobs_->WatchJob(&watch_context, watch);
  v1::WatchJobResponse news;
  ASSERT_TRUE(watcher->Read(&news)) << "the state as it is comes at once";
  EXPECT_EQ(news.status().state(), v1::JOB_STATE_PENDING);
  EXPECT_EQ(news.status().reason(), "needs 2 slots, no worker is attached");

  ScriptedWorker worker(workers_.get(), "h1");
  EXPECT_EQ(worker.Attach().lease().seconds(), 5);
  const v1::Assign assign = worker.ReceiveAssign();
  EXPECT_EQ(assign.job_id(), job);
  EXPECT_EQ(assign.spec().name(), "demo");
  EXPECT_EQ(assign.world_size(), 2);
  const std::vector<v1::HostedRank> ranks = RanksOf(assign);
  ASSERT_EQ(ranks.size(), 2u);
  for (const v1::HostedRank& rank : ranks) {
    worker.SendStarted(rank);
    v1::JoinResponse joined;
    ASSERT_OK(Join(rank, &joined));
    EXPECT_EQ(joined.world_size(), 2);
    EXPECT_EQ(joined.spec().name(), "demo");
    EXPECT_EQ(joined.checkpoints_size(), 0);
  }

  // Rendezvous: rank 1 waits for what rank 0 publishes.
  v1::AwaitResponse awaited;
  absl::Status await_status;
  std::thread waiting([&] {
    v1::AwaitRequest await;
    *await.mutable_identity() = Identity(ranks[1]);
    await.set_key("endpoint/0");
    await.mutable_timeout()->set_seconds(20);
    await_status = Call(*trainers_, &v1::TrainerService::Stub::Await, await, &awaited);
  });
  v1::PublishRequest publish;
  *publish.mutable_identity() = Identity(ranks[0]);
  publish.set_key("endpoint/0");
  publish.set_value(std::string("\0\xff", 2));
  v1::PublishResponse published;
  EXPECT_OK(Call(*trainers_, &v1::TrainerService::Stub::Publish, publish, &published));
  waiting.join();
  ASSERT_OK(await_status);
  EXPECT_EQ(awaited.value(), publish.value());

  // A checkpoint in two phases.
  for (const v1::HostedRank& rank : ranks) {
    v1::ReportShardRequest report;
    *report.mutable_identity() = Identity(rank);
    report.set_step(10);
    report.mutable_shard()->set_rank(rank.rank());
    report.mutable_shard()->set_file(absl::StrCat("shard-", rank.rank()));
    report.mutable_shard()->set_bytes(100);
    v1::ReportShardResponse reported;
    ASSERT_OK(Call(*trainers_, &v1::TrainerService::Stub::ReportShard, report, &reported));
  }
  v1::AwaitShardsRequest shards;
  *shards.mutable_identity() = Identity(ranks[0]);
  shards.set_step(10);
  shards.mutable_timeout()->set_seconds(20);
  v1::AwaitShardsResponse complete;
  ASSERT_OK(Call(*trainers_, &v1::TrainerService::Stub::AwaitShards, shards, &complete));
  ASSERT_EQ(complete.shards_size(), 2);
  EXPECT_EQ(complete.shards(1).file(), "shard-1");
  v1::CommitCheckpointRequest commit;
  *commit.mutable_identity() = Identity(ranks[0]);
  commit.mutable_checkpoint()->set_step(10);
  commit.mutable_checkpoint()->set_path("/c/step-10");
  commit.mutable_checkpoint()->set_epoch(1);
  v1::CommitCheckpointResponse committed;
  ASSERT_OK(Call(*trainers_, &v1::TrainerService::Stub::CommitCheckpoint, commit, &committed));
  EXPECT_EQ(committed.delete__size(), 0);

  for (const v1::HostedRank& rank : ranks) worker.Exit(rank, 0, 12);

  // The watch ends by itself, after the last state.
  while (watcher->Read(&news)) {
  }
  EXPECT_TRUE(watcher->Finish().ok());
  EXPECT_EQ(news.status().state(), v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(news.status().exit_code(), 0);
  EXPECT_EQ(news.status().progress().step(), 12);
  ASSERT_EQ(news.status().checkpoints_size(), 1);
  EXPECT_EQ(news.status().checkpoints(0).path(), "/c/step-10");
}

TEST_F(CoordinatorTest, TrainersOfOldEpochsAndWaitsThatAreTooLongAreRefused) {
  Submit("demo", 2);
  ScriptedWorker worker(workers_.get(), "h1");
  worker.Attach();
  std::vector<v1::HostedRank> ranks = RanksOf(worker.ReceiveAssign());
  v1::JoinResponse joined;
  ASSERT_OK(Join(ranks[0], &joined));
  v1::AwaitRequest await;
  *await.mutable_identity() = Identity(ranks[0]);
  await.set_key("endpoint/1");
  v1::AwaitResponse awaited;
  EXPECT_THAT(Call(*trainers_, &v1::TrainerService::Stub::Await, await, &awaited),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("timeout")));
  await.mutable_timeout()->set_nanos(1'000'000);
  EXPECT_THAT(Call(*trainers_, &v1::TrainerService::Stub::Await, await, &awaited),
              StatusIs(absl::StatusCode::kDeadlineExceeded, AllOf(HasSubstr("endpoint/1"), HasSubstr("not joined: rank 1 (h1)"))));
  ranks[0].set_epoch(9);
  EXPECT_THAT(Join(ranks[0], &joined), StatusIs(absl::StatusCode::kAborted, HasSubstr("epoch 9 is not the current one, 1")));
  ranks[0].set_job_id("other-1");
  EXPECT_THAT(Join(ranks[0], &joined), StatusIs(absl::StatusCode::kNotFound, HasSubstr("other-1")));
}

TEST_F(CoordinatorTest, TrainersCallThroughTheirWorkersStream) {
  ScriptedWorker worker(workers_.get(), "h1");
  worker.Attach();
  Submit("demo", 2);
  const std::vector<v1::HostedRank> ranks = RanksOf(worker.ReceiveAssign());
  v1::WorkerMessage up;
  const auto add = [&](uint64_t id, const std::string& method, const std::string& request) {
    v1::TrainerCall& call = *up.mutable_trainer_calls()->add_calls();
    call.set_id(id);
    call.set_method(method);
    call.set_request(request);
  };
  for (const v1::HostedRank& rank : ranks) {
    v1::JoinRequest join;
    *join.mutable_identity() = Identity(rank);
    add(10 + rank.rank(), "Join", join.SerializeAsString());
  }
  v1::AwaitRequest await;
  *await.mutable_identity() = Identity(ranks[1]);
  await.set_key("k");
  await.mutable_timeout()->set_seconds(20);
  add(20, "Await", await.SerializeAsString());
  add(30, "Dance", "");
  add(40, "Join", "no request");
  worker.Send(up);
  std::map<uint64_t, v1::TrainerAnswer> answers;
  const auto receive = [&](size_t until) {
    while (answers.size() < until) {
      const v1::CoordinatorMessage down = worker.Receive();
      ASSERT_TRUE(down.has_trainer_answers()) << down.ShortDebugString();
      for (const v1::TrainerAnswer& answer : down.trainer_answers().answers()) answers[answer.id()] = answer;
    }
  };
  receive(4);
  EXPECT_EQ(answers[30].code(), static_cast<int>(grpc::StatusCode::UNIMPLEMENTED));
  EXPECT_THAT(answers[30].message(), HasSubstr("\"Dance\""));
  EXPECT_EQ(answers[40].code(), static_cast<int>(grpc::StatusCode::INVALID_ARGUMENT));
  for (const uint64_t id : {10, 11}) {
    v1::JoinResponse joined;
    EXPECT_EQ(answers[id].code(), 0) << answers[id].message();
    EXPECT_TRUE(joined.ParseFromString(answers[id].response()));
    EXPECT_EQ(joined.world_size(), 2);
  }
  // One that came by itself ends the wait of one that came through the worker.
  v1::PublishRequest publish;
  *publish.mutable_identity() = Identity(ranks[0]);
  publish.set_key("k");
  publish.set_value("v");
  v1::PublishResponse published;
  ASSERT_OK(Call(*trainers_, &v1::TrainerService::Stub::Publish, publish, &published));
  receive(5);
  v1::AwaitResponse value;
  EXPECT_TRUE(value.ParseFromString(answers[20].response()));
  EXPECT_EQ(value.value(), "v");
}

TEST_F(CoordinatorTest, LogsAreFollowedToTheEndOfTheJob) {
  const std::string job = Submit("demo", 2);
  ScriptedWorker worker(workers_.get(), "h1");
  worker.Attach();
  const std::vector<v1::HostedRank> ranks = RanksOf(worker.ReceiveAssign());

  // given: a user who follows before anything was written
  grpc::ClientContext context;
  Limit(context);
  v1::StreamLogsRequest follow;
  follow.set_job("demo");
  follow.set_follow(true);
  const auto reader = jobs_->StreamLogs(&context, follow);
  worker.SendLine(job, 0, "first");
  v1::StreamLogsResponse response;
  ASSERT_TRUE(reader->Read(&response));
  ASSERT_EQ(response.lines_size(), 1);
  EXPECT_EQ(response.lines(0).text(), "first");
  EXPECT_EQ(response.lines(0).host(), "h1");

  // when: more lines come and the job ends
  worker.SendLine(job, 1, "of rank 1");
  worker.SendLine(job, 0, "last");
  for (const v1::HostedRank& rank : ranks) worker.Exit(rank, 0, 1);

  // then: the stream has all of them and ends
  std::vector<std::string> texts;
  while (reader->Read(&response)) {
    for (const v1::LogLine& line : response.lines()) texts.push_back(line.text());
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_THAT(texts, ElementsAre("of rank 1", "last"));

  absl::Status end;
  v1::StreamLogsRequest all;
  all.set_job(job);
  EXPECT_THAT(Logs(all, &end), ElementsAre("first", "of rank 1", "last"));
  EXPECT_OK(end);
  all.set_tail_lines(2);
  EXPECT_THAT(Logs(all, &end), ElementsAre("of rank 1", "last"));
  all.set_rank(0);
  EXPECT_THAT(Logs(all, &end), ElementsAre("first", "last"));
  all.set_tail_lines(1);
  all.set_follow(true);
  EXPECT_THAT(Logs(all, &end), ElementsAre("last")) << "a job that has ended is not followed for ever";
  EXPECT_OK(end);
  all.set_rank(2);
  Logs(all, &end);
  EXPECT_THAT(end, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("it has ranks 0 to 1")));
  all.set_job("nosuch");
  Logs(all, &end);
  EXPECT_THAT(end, StatusIs(absl::StatusCode::kNotFound, AllOf(HasSubstr("nosuch"), HasSubstr(job))));
}

TEST_F(CoordinatorTest, CancelStopsTheRanks) {
  const std::string job = Submit("demo", 1);
  ScriptedWorker worker(workers_.get(), "h1");
  worker.Attach();
  const std::vector<v1::HostedRank> ranks = RanksOf(worker.ReceiveAssign());
  worker.SendStarted(ranks[0]);
  ASSERT_OK(Cancel("demo"));
  const v1::CoordinatorMessage stop = worker.Receive();
  ASSERT_TRUE(stop.has_stop_ranks());
  EXPECT_EQ(stop.stop_ranks().job_id(), job);
  EXPECT_EQ(stop.stop_ranks().epoch(), 1);
  EXPECT_EQ(stop.stop_ranks().grace().seconds(), 10);
  EXPECT_OK(Cancel("demo")) << "idempotent until it has ended";
  worker.Exit(ranks[0], 143, 0);
  EXPECT_EQ(Get("demo").state(), v1::JOB_STATE_CANCELLED);
  EXPECT_EQ(Get("demo").exit_code(), 130);
  EXPECT_THAT(Cancel("demo"), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("Cancelled")));
}

TEST_F(CoordinatorTest, ARestartKeepsTheJobAndItsRanks) {
  const std::string waiting = Submit("waiting", 64);
  const std::string job = Submit("demo", 1);
  std::vector<v1::HostedRank> ranks;
  {
    ScriptedWorker worker(workers_.get(), "h1");
    worker.Attach();
    ranks = RanksOf(worker.ReceiveAssign());
    worker.SendStarted(ranks[0]);
    v1::JoinResponse joined;
    ASSERT_OK(Join(ranks[0], &joined));
    Restart();
    EXPECT_THAT(worker.WaitForEnd(), StatusIs(absl::StatusCode::kUnavailable, ::testing::_));
  }
  EXPECT_EQ(Get("waiting").job_id(), waiting);
  EXPECT_EQ(Get("demo").state(), v1::JOB_STATE_RUNNING);
  ScriptedWorker worker(workers_.get(), "h1");
  *worker.hello().add_running() = ranks[0];
  v1::HostedRank* stranger = worker.hello().add_running();
  *stranger = ranks[0];
  stranger->set_epoch(7);
  const v1::Welcome welcome = worker.Attach();
  ASSERT_EQ(welcome.stale_size(), 1) << "what does not count is to be stopped, what counts goes on";
  EXPECT_EQ(welcome.stale(0).epoch(), 7);
  v1::JoinResponse joined;
  EXPECT_OK(Join(ranks[0], &joined)) << "safe to repeat";
  EXPECT_EQ(Get("demo").epoch(), 1);
  worker.Exit(ranks[0], 0, 5);
  EXPECT_EQ(Get("demo").state(), v1::JOB_STATE_SUCCEEDED);
  Restart();
  EXPECT_EQ(Get("demo").state(), v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(Get(job).progress().step(), 5);
}

TEST_F(CoordinatorTest, WorkersThatMakeNoSenseAreTurnedAway) {
  ScriptedWorker silent(workers_.get(), "h1");
  v1::WorkerMessage up;
  up.mutable_heartbeat();
  silent.Send(up);
  EXPECT_THAT(silent.WaitForEnd(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("must be Hello")));

  ScriptedWorker newer(workers_.get(), "h1");
  newer.hello().set_protocol(2);
  *up.mutable_hello() = newer.hello();
  newer.Send(up);
  EXPECT_THAT(newer.WaitForEnd(), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("speaks protocol 2")));

  ScriptedWorker first(workers_.get(), "h1", 11), second(workers_.get(), "h1", 12);
  first.Attach();
  *up.mutable_hello() = second.hello();
  second.Send(up);
  EXPECT_THAT(second.WaitForEnd(), StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("\"h1\" is attached from 127.0.0.1")));
}

TEST_F(CoordinatorTest, ReadsSayWhatThereIs) {
  ScriptedWorker worker(workers_.get(), "h1");
  worker.Attach();
  v1::ListWorkersResponse workers;
  ASSERT_OK(Call(*jobs_, &v1::JobService::Stub::ListWorkers, v1::ListWorkersRequest(), &workers));
  ASSERT_EQ(workers.workers_size(), 1);
  EXPECT_EQ(workers.workers(0).worker_id(), "h1");
  EXPECT_EQ(workers.workers(0).free_slots(), 2);
  EXPECT_TRUE(workers.workers(0).alive());

  v1::PlanJobRequest plan;
  plan.mutable_spec()->set_name("demo");
  plan.mutable_spec()->add_command("true");
  plan.mutable_spec()->set_slots_per_node(2);
  v1::PlanJobResponse planned;
  ASSERT_OK(Call(*jobs_, &v1::JobService::Stub::PlanJob, plan, &planned));
  ASSERT_EQ(planned.ranks_size(), 2);
  EXPECT_EQ(planned.ranks(1).host(), "h1");
  plan.mutable_spec()->set_slots_per_node(3);
  ASSERT_OK(Call(*jobs_, &v1::JobService::Stub::PlanJob, plan, &planned));
  EXPECT_EQ(planned.waiting_reason(), "needs 3 slots, 2 are alive: h1");
  v1::ListJobsResponse jobs;
  ASSERT_OK(Call(*jobs_, &v1::JobService::Stub::ListJobs, v1::ListJobsRequest(), &jobs));
  EXPECT_EQ(jobs.jobs_size(), 0) << "a plan starts nothing";

  v1::DialBackRequest dial;
  dial.set_address(coordinator_->address());
  v1::DialBackResponse dialed;
  ASSERT_OK(Call(*jobs_, &v1::JobService::Stub::DialBack, dial, &dialed));
  EXPECT_TRUE(dialed.reachable()) << dialed.detail();
}

TEST_F(CoordinatorTest, ASecondCoordinatorOnTheDirectoryIsRefused) {
  EXPECT_THAT(Coordinator::Start(options_, clock_),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr(absl::StrCat("pid ", getpid())), HasSubstr(coordinator_->address()))));
  coordinator_->Stop();
  coordinator_.reset();
  EXPECT_OK(Coordinator::Start(options_, clock_)) << "free when the first has gone";
}

TEST_F(CoordinatorTest, APortThatIsInUseIsNamed) {
  CoordinatorOptions same_port = options_;
  same_port.state_directory += "-2";
  same_port.listen_address = coordinator_->address();
  EXPECT_THAT(Coordinator::Start(same_port, clock_),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr(coordinator_->address())));
  same_port.listen_address = "127.0.0.1";
  EXPECT_THAT(Coordinator::Start(same_port, clock_), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("is not HOST:PORT")));
}

TEST_F(CoordinatorTest, StopEndsOpenStreams) {
  const std::string job = Submit("demo", 64);
  ScriptedWorker worker(workers_.get(), "h1");
  worker.Attach();
  worker.SendLine(job, 0, "text");
  grpc::ClientContext watch_context, logs_context;
  Limit(watch_context);
  Limit(logs_context);
  v1::WatchJobRequest watch;
  watch.set_job("demo");
  const auto watcher = jobs_->WatchJob(&watch_context, watch);
  v1::WatchJobResponse news;
  ASSERT_TRUE(watcher->Read(&news));
  v1::StreamLogsRequest follow;
  follow.set_job("demo");
  follow.set_follow(true);
  const auto logs = jobs_->StreamLogs(&logs_context, follow);
  v1::StreamLogsResponse lines;
  ASSERT_TRUE(logs->Read(&lines));

  coordinator_->Stop();  // returns: a stream that is left open would hold it until the test's time is over

  EXPECT_THAT(worker.WaitForEnd(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("stopping")));
  while (watcher->Read(&news)) {
  }
  EXPECT_THAT(ToAbsl(watcher->Finish()), StatusIs(absl::StatusCode::kUnavailable, ::testing::_)) << "the client tries again";
  while (logs->Read(&lines)) {
  }
  EXPECT_THAT(ToAbsl(logs->Finish()), StatusIs(absl::StatusCode::kUnavailable, ::testing::_));
  coordinator_->Stop();
}

TEST_F(CoordinatorTest, RecordsThatDoNotReadBackStopTheStart) {
  coordinator_.reset();
  std::filesystem::resize_file(options_.state_directory / "jobs.sqlite", 100);
  EXPECT_THAT(Coordinator::Start(options_, clock_), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("jobs.sqlite")));
}

}  // namespace
}  // namespace ringmaster
