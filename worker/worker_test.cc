// The wired worker with real processes against a scripted coordinator.
#include "worker/worker.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "common/file_descriptor.h"
#include "common/real_clock.h"
#include "common/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/testing/process_watch.h"
#include "worker/testing/scripted_coordinator.h"

namespace ringmaster {
namespace {

using ::ringmaster::testing::ProcessWatch;
using ::ringmaster::testing::ScriptedCoordinator;
using ::ringmaster::testing::SignalOne;
using ::ringmaster::testing::StatusIs;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string TestBinary(const std::string& name) {
  return std::string(std::getenv("TEST_SRCDIR")) + "/ringmaster/worker/testing/" + name;
}

bool CanBind(int port) {
  const FileDescriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  return bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
}

class WorkerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    coordinator_ = ScriptedCoordinator::Start({});
    ASSERT_NE(coordinator_, nullptr);
    work_directory_ =
        std::string(std::getenv("TEST_TMPDIR")) + "/" + ::testing::UnitTest::GetInstance()->current_test_info()->name();
  }

  WorkerOptions Options() const {
    WorkerOptions options;
    options.coordinator = coordinator_->address();
    options.worker_id = "w1";
    options.slots = 4;
    options.work_directory = work_directory_;
    options.trainer_binary = TestBinary("rank_program");
    options.guard_binary = TestBinary("worker_program");
    return options;
  }

  v1::CoordinatorMessage Assign(int64_t epoch, std::vector<std::string> verbs, int ranks = 1) const {
    v1::CoordinatorMessage message;
    v1::Assign& assign = *message.mutable_assign();
    assign.set_job_id("job-1");
    assign.set_epoch(epoch);
    assign.set_world_size(ranks);
    assign.set_group_world_size(1);
    assign.set_master_address("127.0.0.1");
    assign.mutable_spec()->add_command(TestBinary("rank_program"));
    for (const std::string& verb : verbs) assign.mutable_spec()->add_command(verb);
    assign.mutable_spec()->mutable_stop_grace()->set_seconds(5);
    for (int rank = 0; rank < ranks; ++rank) {
      v1::AssignedRank& assigned = *assign.add_ranks();
      assigned.set_rank(rank);
      assigned.set_local_rank(rank);
      assigned.set_slot(rank);
      assigned.set_incarnation(static_cast<uint64_t>(epoch * 100 + rank));
    }
    return message;
  }

  std::optional<v1::RankExited> WaitForExit(int64_t epoch, int rank = 0) {
    const auto message = coordinator_->WaitFor([=](const v1::WorkerMessage& m) {
      return m.has_rank_exited() && m.rank_exited().rank().epoch() == epoch && m.rank_exited().rank().rank() == rank;
    });
    if (!message.has_value()) return std::nullopt;
    return message->rank_exited();
  }

  std::optional<v1::RankStarted> WaitForStart(int64_t epoch, int rank = 0) {
    const auto message = coordinator_->WaitFor([=](const v1::WorkerMessage& m) {
      return m.has_rank_started() && m.rank_started().rank().epoch() == epoch && m.rank_started().rank().rank() == rank;
    });
    if (!message.has_value()) return std::nullopt;
    return message->rank_started();
  }

  // This line has come that many times.
  bool WaitForLine(const std::string& text, int times = 1) {
    const auto message = coordinator_->WaitFor([&](const v1::WorkerMessage& m) {
      for (const v1::LogLine& line : m.log_lines().lines()) times -= line.text() == text ? 1 : 0;
      return times <= 0;
    });
    return message.has_value();
  }

  static v1::CoordinatorMessage Stop(int64_t epoch, int64_t grace_seconds) {
    v1::CoordinatorMessage message;
    message.mutable_stop_ranks()->set_job_id("job-1");
    message.mutable_stop_ranks()->set_epoch(epoch);
    message.mutable_stop_ranks()->mutable_grace()->set_seconds(grace_seconds);
    return message;
  }

  // Of all messages received so far.
  std::vector<std::string> Lines() {
    std::vector<std::string> lines;
    for (const v1::WorkerMessage& message : coordinator_->Received()) {
      for (const v1::LogLine& line : message.log_lines().lines()) lines.push_back(line.text());
    }
    return lines;
  }

  RealClock clock_;
  std::unique_ptr<ScriptedCoordinator> coordinator_;
  std::string work_directory_;
};

TEST_F(WorkerTest, Assign_RunsTheProgramWithItsEnvironmentAndReportsItsExit) {
  ASSERT_OK_AND_ASSIGN(const auto worker, Worker::Start(Options(), clock_));

  ASSERT_TRUE(
      coordinator_->Send(Assign(1, {"env", "RANK", "env", "WORLD_SIZE", "env", "RINGMASTER_JOB", "err", "oops", "exit", "3"}, 2)));

  for (const int rank : {0, 1}) {
    const auto exited = WaitForExit(1, rank);
    ASSERT_TRUE(exited.has_value());
    EXPECT_EQ(exited->exit_code(), 3);
    EXPECT_EQ(exited->signal(), 0);
    EXPECT_EQ(exited->error(), "");
    EXPECT_THAT(exited->stderr_tail(), ::testing::ElementsAre("oops"));
    EXPECT_EQ(exited->rank().incarnation(), 100u + static_cast<uint64_t>(rank));
    EXPECT_GT(exited->rank().pid(), 0);
  }
  // Lines come before the exit of their rank.
  EXPECT_THAT(Lines(), ::testing::IsSupersetOf({"RANK=0", "RANK=1", "WORLD_SIZE=2", "RINGMASTER_JOB=job-1", "oops"}));
  std::ifstream file(work_directory_ + "/job-1/rank-1.epoch-1.out");
  std::stringstream content;
  content << file.rdbuf();
  EXPECT_EQ(content.str(), "RANK=1\nWORLD_SIZE=2\nRINGMASTER_JOB=job-1\n");
}

TEST_F(WorkerTest, ProgramThatDoesNotExist_IsAnErrorThatNamesThePath) {
  ASSERT_OK_AND_ASSIGN(const auto worker, Worker::Start(Options(), clock_));
  v1::CoordinatorMessage message = Assign(1, {});
  message.mutable_assign()->mutable_spec()->set_command(0, "/nowhere/train");

  ASSERT_TRUE(coordinator_->Send(message));

  const auto exited = WaitForExit(1);
  ASSERT_TRUE(exited.has_value());
  EXPECT_EQ(exited->exit_code(), 1);
  EXPECT_THAT(exited->error(), HasSubstr("cannot execute /nowhere/train: No such file or directory"));
}

TEST_F(WorkerTest, Hello_SaysWhoAndWhereThisWorkerIs) {
  ASSERT_OK_AND_ASSIGN(const auto worker, Worker::Start(Options(), clock_));

  const v1::Hello hello = coordinator_->Received().front().hello();
  EXPECT_EQ(hello.worker_id(), "w1");
  EXPECT_EQ(hello.address(), "127.0.0.1");
  EXPECT_EQ(hello.slots(), 4);
  EXPECT_EQ(hello.protocol(), 1);
  EXPECT_NE(hello.incarnation(), 0u);
  EXPECT_GT(hello.master_port(), 0);
  EXPECT_THAT(hello.running(), IsEmpty());
}

TEST_F(WorkerTest, NobodyListens_IsUnavailableAndNamesTheAddress) {
  WorkerOptions options = Options();
  coordinator_.reset();
  options.connect_timeout = absl::Milliseconds(300);

  EXPECT_THAT(Worker::Start(options, clock_), StatusIs(absl::StatusCode::kUnavailable, HasSubstr(options.coordinator)));
}

TEST_F(WorkerTest, NameInUseAtTheFirstAttach_IsAlreadyExists) {
  coordinator_ = ScriptedCoordinator::Start({.refusals = 1});

  EXPECT_THAT(Worker::Start(Options(), clock_), StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("refused by the script")));
}

TEST_F(WorkerTest, MissingBinaries_AreNotFound) {
  WorkerOptions options = Options();
  options.trainer_binary = "/nowhere/trainer";
  EXPECT_THAT(Worker::Start(options, clock_), StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nowhere/trainer")));
  options = Options();
  options.guard_binary = "/nowhere/ringmaster";
  EXPECT_THAT(Worker::Start(options, clock_), StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nowhere/ringmaster")));
}

TEST_F(WorkerTest, Heartbeats_CarryTheBoardAndTheExitCarriesItsLastState) {
  ASSERT_OK_AND_ASSIGN(const auto worker, Worker::Start(Options(), clock_));
  ASSERT_TRUE(coordinator_->Send(Assign(1, {"board", "7", "1.5", "wait"})));

  const auto heartbeat = coordinator_->WaitFor([](const v1::WorkerMessage& m) {
    return m.has_heartbeat() && m.heartbeat().ranks_size() == 1 && m.heartbeat().ranks(0).progress().step() == 7;
  });
  ASSERT_TRUE(heartbeat.has_value());
  const v1::Progress& progress = heartbeat->heartbeat().ranks(0).progress();
  EXPECT_EQ(progress.train_loss(), 1.5);
  EXPECT_FALSE(progress.has_validation_loss());
  EXPECT_EQ(progress.phase(), "forward");

  ASSERT_TRUE(coordinator_->Send(Stop(1, 5)));
  const auto exited = WaitForExit(1);
  ASSERT_TRUE(exited.has_value());
  EXPECT_EQ(exited->last_progress().step(), 7);
}

TEST_F(WorkerTest, StopRanks_TerminatesFirst) {
  ASSERT_OK_AND_ASSIGN(const auto worker, Worker::Start(Options(), clock_));
  ASSERT_TRUE(coordinator_->Send(Assign(1, {"out", "ready", "wait"})));
  ASSERT_TRUE(WaitForLine("ready"));

  ASSERT_TRUE(coordinator_->Send(Stop(1, 60)));

  const auto exited = WaitForExit(1);
  ASSERT_TRUE(exited.has_value());
  EXPECT_EQ(exited->signal(), SIGTERM);
  EXPECT_EQ(exited->exit_code(), 143);
}

TEST_F(WorkerTest, StopRanks_KillsWhatIgnoresTermAfterItsGrace) {
  ASSERT_OK_AND_ASSIGN(const auto worker, Worker::Start(Options(), clock_));
  ASSERT_TRUE(coordinator_->Send(Assign(1, {"stubborn", "wait"})));
  ASSERT_TRUE(WaitForLine("stubborn"));

  ASSERT_TRUE(coordinator_->Send(Stop(1, 0)));

  const auto exited = WaitForExit(1);
  ASSERT_TRUE(exited.has_value());
  EXPECT_EQ(exited->signal(), SIGKILL);
  EXPECT_FALSE(exited->out_of_memory());
}

TEST_F(WorkerTest, WorkerStop_EndsItsRanksReportsThemAndSaysGoodbye) {
  ASSERT_OK_AND_ASSIGN(const auto worker, Worker::Start(Options(), clock_));
  ASSERT_TRUE(coordinator_->Send(Assign(1, {"pids", "wait"})));
  const auto started = WaitForStart(1);
  ASSERT_TRUE(started.has_value());
  const ProcessWatch program(static_cast<pid_t>(started->rank().pid()));
  ASSERT_TRUE(program.valid());

  worker->Stop();
  worker->Stop();

  EXPECT_TRUE(program.IsGone());
  const std::vector<v1::WorkerMessage> received = coordinator_->Received();
  EXPECT_TRUE(received.back().has_goodbye());
  EXPECT_EQ(WaitForExit(1)->signal(), SIGTERM);
}

TEST_F(WorkerTest, NewerEpoch_ReplacesTheOldProcess) {
  ASSERT_OK_AND_ASSIGN(const auto worker, Worker::Start(Options(), clock_));
  ASSERT_TRUE(coordinator_->Send(Assign(1, {"wait"})));
  ASSERT_TRUE(WaitForStart(1).has_value());

  ASSERT_TRUE(coordinator_->Send(Assign(2, {"env", "RINGMASTER_EPOCH", "exit", "0"})));

  const auto old_exit = WaitForExit(1);
  const auto new_exit = WaitForExit(2);
  ASSERT_TRUE(old_exit.has_value() && new_exit.has_value());
  EXPECT_EQ(old_exit->signal(), SIGTERM);
  EXPECT_EQ(new_exit->exit_code(), 0);
  EXPECT_THAT(Lines(), Contains("RINGMASTER_EPOCH=2"));
}

TEST_F(WorkerTest, CoordinatorRestarts_ProcessesGoOnAndWhatEndedMeanwhileIsReported) {
  ASSERT_OK_AND_ASSIGN(const auto worker, Worker::Start(Options(), clock_));
  const uint64_t incarnation = coordinator_->Received().front().hello().incarnation();
  v1::CoordinatorMessage assign = Assign(1, {"wait"}, 2);
  ASSERT_TRUE(coordinator_->Send(assign));
  const auto keeps = WaitForStart(1, 0);
  const auto ends = WaitForStart(1, 1);
  ASSERT_TRUE(keeps.has_value() && ends.has_value());
  const ProcessWatch program(static_cast<pid_t>(keeps->rank().pid()));
  const ProcessWatch ended(static_cast<pid_t>(ends->rank().pid()));

  const std::string address = coordinator_->address();
  coordinator_.reset();
  SignalOne(static_cast<pid_t>(ends->rank().pid()), SIGKILL);
  ASSERT_TRUE(ended.WaitUntilGone());
  // Two refusals: the coordinator has not noticed the end of the old stream, or the lease ran out.
  coordinator_ = ScriptedCoordinator::Start({.address = address, .refusals = 2, .refusal_code = 6});
  ASSERT_NE(coordinator_, nullptr);

  const auto exited = WaitForExit(1, 1);
  ASSERT_TRUE(exited.has_value());
  EXPECT_EQ(exited->signal(), SIGKILL);
  const v1::Hello hello = coordinator_->Received()[2].hello();
  EXPECT_EQ(hello.incarnation(), incarnation);
  ASSERT_GE(hello.running_size(), 1);
  EXPECT_EQ(hello.running(0).pid(), keeps->rank().pid());
  EXPECT_FALSE(program.IsGone());
}

TEST_F(WorkerTest, StaleRankInWelcome_IsStopped) {
  ASSERT_OK_AND_ASSIGN(const auto worker, Worker::Start(Options(), clock_));
  ASSERT_TRUE(coordinator_->Send(Assign(1, {"wait"})));
  const auto started = WaitForStart(1);
  ASSERT_TRUE(started.has_value());
  const std::string address = coordinator_->address();
  coordinator_.reset();

  coordinator_ = ScriptedCoordinator::Start({.address = address, .refusals = 1, .refusal_code = 10, .stale = {started->rank()}});

  const auto exited = WaitForExit(1);
  ASSERT_TRUE(exited.has_value());
  EXPECT_EQ(exited->signal(), SIGTERM);
}

TEST_F(WorkerTest, MasterPort_IsHeldUntilTheRanksStartAndAnotherOneIsPublishedAtOnce) {
  ASSERT_OK_AND_ASSIGN(const auto worker, Worker::Start(Options(), clock_));
  const int port = coordinator_->Received().front().hello().master_port();
  EXPECT_FALSE(CanBind(port));
  v1::CoordinatorMessage assign = Assign(1, {"env", "MASTER_PORT", "wait"});
  assign.mutable_assign()->set_master_port(port);

  ASSERT_TRUE(coordinator_->Send(assign));

  ASSERT_TRUE(WaitForLine("MASTER_PORT=" + std::to_string(port)));
  EXPECT_TRUE(CanBind(port));
  EXPECT_TRUE(coordinator_
                  ->WaitFor([=](const v1::WorkerMessage& m) {
                    return m.has_heartbeat() && m.heartbeat().master_port() != port && m.heartbeat().master_port() > 0;
                  })
                  .has_value());
}

TEST_F(WorkerTest, AssignThatMakesNoSense_IsAnsweredWithTheReason) {
  ASSERT_OK_AND_ASSIGN(const auto worker, Worker::Start(Options(), clock_));
  v1::CoordinatorMessage assign = Assign(1, {"wait"});
  assign.mutable_assign()->mutable_ranks(0)->set_slot(99);

  ASSERT_TRUE(coordinator_->Send(assign));

  const auto exited = WaitForExit(1);
  ASSERT_TRUE(exited.has_value());
  EXPECT_THAT(exited->error(), HasSubstr("slot 99, but this worker has 4"));
}

TEST_F(WorkerTest, JobWithoutCommand_RunsTheTrainer) {
  ASSERT_OK_AND_ASSIGN(const auto worker, Worker::Start(Options(), clock_));
  v1::CoordinatorMessage assign = Assign(1, {});
  assign.mutable_assign()->mutable_spec()->clear_command();

  ASSERT_TRUE(coordinator_->Send(assign));  // rank_program without verbs ends at once

  const auto exited = WaitForExit(1);
  ASSERT_TRUE(exited.has_value());
  EXPECT_EQ(exited->exit_code(), 0);
  EXPECT_EQ(exited->error(), "");
}

TEST_F(WorkerTest, ManyLines_AllComeInOrderBeforeTheExit) {
  ASSERT_OK_AND_ASSIGN(const auto worker, Worker::Start(Options(), clock_));

  ASSERT_TRUE(coordinator_->Send(Assign(1, {"flood", "10000", "exit", "0"})));

  ASSERT_TRUE(WaitForExit(1).has_value());
  const std::vector<std::string> lines = Lines();
  ASSERT_EQ(lines.size(), 10000u);
  for (size_t i = 0; i < lines.size(); ++i) ASSERT_EQ(lines[i], "line " + std::to_string(i));
}

TEST_F(WorkerTest, WorkerIsKilled_ItsRanksAndTheirDaemonsDie) {
  int input[2];
  ASSERT_EQ(pipe2(input, O_CLOEXEC), 0);
  const pid_t worker = fork();
  ASSERT_GE(worker, 0);
  if (worker == 0) {
    dup2(input[0], 0);
    execl(TestBinary("worker_program").c_str(), "worker_program", "worker", coordinator_->address().c_str(), "w2",
          work_directory_.c_str(), TestBinary("rank_program").c_str(), nullptr);
    _exit(127);
  }
  ASSERT_TRUE(coordinator_->WaitFor([](const v1::WorkerMessage& m) { return m.has_heartbeat(); }).has_value());
  ASSERT_TRUE(coordinator_->Send(Assign(1, {"stubborn", "daemon", "child", "out", "ready", "wait"}, 2)));
  const auto started = WaitForStart(1, 0);
  const auto other = WaitForStart(1, 1);
  ASSERT_TRUE(started.has_value() && other.has_value());
  // Both ranks have written everything.
  ASSERT_TRUE(WaitForLine("ready", 2));
  std::vector<ProcessWatch> family;
  family.emplace_back(static_cast<pid_t>(started->rank().pid()));
  family.emplace_back(static_cast<pid_t>(other->rank().pid()));
  for (const std::string& line : Lines()) {
    if (line.rfind("daemon ", 0) == 0) family.emplace_back(std::atoi(line.c_str() + 7));
    if (line.rfind("child ", 0) == 0) family.emplace_back(std::atoi(line.c_str() + 6));
  }
  ASSERT_EQ(family.size(), 6u);
  for (const ProcessWatch& process : family) ASSERT_TRUE(process.valid() && !process.IsGone());

  SignalOne(worker, SIGKILL);

  for (const ProcessWatch& process : family) EXPECT_TRUE(process.WaitUntilGone());
  waitpid(worker, nullptr, 0);
  close(input[0]);
  close(input[1]);
}

}  // namespace
}  // namespace ringmaster
