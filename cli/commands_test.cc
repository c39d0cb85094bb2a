// Commands against a fake coordinator: what they print where, and their exit codes.
#include "cli/commands.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "cli/fake_job_client.h"
#include "collectives/flight/flight_recorder.h"
#include "common/fake_clock.h"
#include "common/real_clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ringmaster::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

// Lets a command own "its" client while the test keeps the jobs.
class BorrowedClient final : public JobClient {
 public:
  explicit BorrowedClient(JobClient* client) : client_(*client) {}
  absl::StatusOr<std::string> Submit(const v1::JobSpec& spec, const std::string& id) override { return client_.Submit(spec, id); }
  absl::StatusOr<v1::PlanJobResponse> Plan(const v1::JobSpec& spec) override { return client_.Plan(spec); }
  absl::StatusOr<v1::GetJobResponse> Get(const std::string& job) override { return client_.Get(job); }
  absl::StatusOr<std::vector<v1::JobStatus>> List() override { return client_.List(); }
  absl::StatusOr<std::string> Cancel(const std::string& job) override { return client_.Cancel(job); }
  absl::StatusOr<std::vector<v1::WorkerStatus>> ListWorkers() override { return client_.ListWorkers(); }
  absl::StatusOr<v1::DialBackResponse> DialBack(const std::string& address) override { return client_.DialBack(address); }
  absl::StatusOr<v1::GetVersionResponse> GetVersion() override { return client_.GetVersion(); }
  absl::Status AwaitConnection(absl::Duration timeout) override { return client_.AwaitConnection(timeout); }
  absl::Status Watch(const std::string& job, const std::function<void(const v1::JobStatus&)>& f) override {
    return client_.Watch(job, f);
  }
  absl::Status StreamLogs(const v1::StreamLogsRequest& request, const std::function<void(const v1::LogLine&)>& f) override {
    return client_.StreamLogs(request, f);
  }
  void Abort() override { client_.Abort(); }

 private:
  JobClient& client_;
};

class CommandsTest : public ::testing::Test {
 protected:
  CommandsTest() {
    directory_ =
        std::filesystem::path(std::getenv("TEST_TMPDIR")) / ::testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::create_directories(directory_);
    world_.current_directory = directory_;
    world_.connect = [this](const std::string& address) {
      connected_to_ = address;
      return std::make_unique<BorrowedClient>(&jobs_);
    };
  }

  v1::JobStatus State(v1::JobState state, int exit_code = 0) {
    v1::JobStatus status;
    status.set_job_id("j");
    status.set_name("j");
    status.set_state(state);
    status.set_exit_code(exit_code);
    jobs_.PutState(status);
    return status;
  }

  std::string Write(const std::string& name, const std::string& text) {
    std::ofstream(directory_ / name) << text;
    return directory_ / name;
  }

  FakeJobClient jobs_;
  FakeClock clock_;
  std::ostringstream out_;
  std::ostringstream err_;
  std::string connected_to_;
  std::filesystem::path directory_;
  Surroundings world_{.clock = clock_, .out = out_, .err = err_, .current_directory = {}, .program = "/nowhere/ringmaster"};
  CommonOptions common_{.json = true, .coordinator = "h:1"};
};

TEST_F(CommandsTest, FlightRecordShowsWhatAProcessIsIn) {
  const RealClock clock;
  const auto recorder = FlightRecorder::Create("world", 1, 2, clock);
  ASSERT_TRUE(recorder.ok());
  (*recorder)->Begin({.operation = Operation::kAllReduce, .type = DataType::kF32, .count = 10});
  (*recorder)->WaitsFor(0);
  EXPECT_EQ(FlightRecordCommand({}, getpid(), world_), 0);
  EXPECT_THAT(out_.str(), HasSubstr("rank 1 of 2 in group world"));
  EXPECT_THAT(out_.str(), HasSubstr("all_reduce(count 10, f32, sum)  waits for rank 0"));
  out_.str("");
  EXPECT_EQ(FlightRecordCommand({.json = true}, getpid(), world_), 0);
  const auto json = nlohmann::json::parse(out_.str());
  EXPECT_EQ(json["groups"][0]["operations"][0]["state"], "in progress");
  EXPECT_NE(FlightRecordCommand({}, 1 << 30, world_), 0);
  EXPECT_THAT(err_.str(), HasSubstr("there is no process"));
}

TEST_F(CommandsTest, StatusPrintsJobsOnStdout) {
  State(v1::JOB_STATE_RUNNING);
  EXPECT_EQ(StatusCommand(common_, "", false, world_), 0);
  EXPECT_EQ(nlohmann::json::parse(out_.str())["jobs"][0]["state"], "Running");
  EXPECT_EQ(err_.str(), "");
}

TEST_F(CommandsTest, StatusOfAnUnknownJobIsTheUsersMistake) {
  EXPECT_EQ(StatusCommand(common_, "none", false, world_), 2);
  EXPECT_EQ(out_.str(), "");
  EXPECT_EQ(err_.str(), "ringmaster: no job none\n");
}

TEST_F(CommandsTest, WatchExitsAsTheJobDoes) {
  State(v1::JOB_STATE_RUNNING);
  State(v1::JOB_STATE_FAILED, 3);
  EXPECT_EQ(WatchCommand(common_, "j", world_), 3);
  std::string last;
  std::istringstream lines(out_.str());
  for (std::string line; std::getline(lines, line);) last = line;
  EXPECT_EQ(nlohmann::json::parse(last)["event"], "job_finished");
}

TEST_F(CommandsTest, CoordinatorIsTakenFromTheFlagThenTheEnvironmentThenTheFile) {
  std::filesystem::create_directories(directory_ / ".ringmaster");
  Write(".ringmaster/coordinator.address", "file:3\n");
  world_.environment_coordinator = "env:2";
  EXPECT_EQ(StatusCommand(common_, "", false, world_), 0);
  EXPECT_EQ(connected_to_, "h:1");
  common_.coordinator = "";
  EXPECT_EQ(StatusCommand(common_, "", false, world_), 0);
  EXPECT_EQ(connected_to_, "env:2");
  world_.environment_coordinator = "";
  EXPECT_EQ(StatusCommand(common_, "", false, world_), 0);
  EXPECT_EQ(connected_to_, "file:3");
}

TEST_F(CommandsTest, WithoutAnyAddressTheMessageSaysWhatToDo) {
  common_.coordinator = "";
  EXPECT_EQ(StatusCommand(common_, "", false, world_), 69);
  EXPECT_THAT(err_.str(), HasSubstr("Give --coordinator HOST:PORT or set RINGMASTER_COORDINATOR"));
  EXPECT_THAT(err_.str(), HasSubstr(".ringmaster/coordinator.address"));
  EXPECT_THAT(err_.str(), HasSubstr("does not exist"));
  EXPECT_EQ(connected_to_, "") << "no silent localhost";
}

TEST_F(CommandsTest, AnAddressFileOfADeadCoordinatorIsNamed) {
  std::filesystem::create_directories(directory_ / ".ringmaster");
  Write(".ringmaster/coordinator.address", "127.0.0.1:1\n");
  common_.coordinator = "";
  jobs_.Break(absl::UnavailableError("refused"));
  EXPECT_EQ(StatusCommand(common_, "", false, world_), 69);
  EXPECT_THAT(err_.str(),
              HasSubstr((directory_ / ".ringmaster/coordinator.address").string() + " names (127.0.0.1:1) does not answer"));
}

TEST_F(CommandsTest, SubmitPrintsTheJob) {
  const JobFileOptions options{.file = Write("job.yaml", "name: a\ncommand: [sh]\n")};
  EXPECT_EQ(SubmitCommand(common_, options, world_), 0);
  EXPECT_EQ(out_.str(), "{\"job\":\"a-1\"}\n");
}

TEST_F(CommandsTest, DryRunSubmitsNothing) {
  const JobFileOptions options{.file = Write("job.yaml", "name: a\ncommand: [sh]\n"), .dry_run = true};
  EXPECT_EQ(SubmitCommand(common_, options, world_), 0);
  EXPECT_EQ(nlohmann::json::parse(out_.str())["waiting_reason"], "needs slots, none are alive");
  EXPECT_TRUE(jobs_.List()->empty());
}

TEST_F(CommandsTest, ABadJobFileIsRefusedBeforeAnyoneIsAsked) {
  EXPECT_EQ(SubmitCommand(common_, {.file = Write("job.yaml", "nmae: a\n")}, world_), 2);
  EXPECT_THAT(err_.str(), HasSubstr("job.yaml:1:1: unknown field \"nmae\"; did you mean \"name\"?"));
  EXPECT_EQ(SubmitCommand(common_, {.file = (directory_ / "none.yaml").string()}, world_), 2);
  EXPECT_THAT(err_.str(), HasSubstr("none.yaml: no such file"));
  EXPECT_EQ(SubmitCommand(common_, {.file = directory_.string()}, world_), 2);
  EXPECT_EQ(SubmitCommand(common_, {.file = Write("empty.yaml", "")}, world_), 2);
  EXPECT_EQ(connected_to_, "");
}

TEST_F(CommandsTest, LogsHavePrefixes) {
  common_.json = false;
  State(v1::JOB_STATE_SUCCEEDED);
  v1::LogLine line;
  line.set_rank(1);
  line.set_host("h2");
  line.set_epoch(3);
  line.set_text("hello");
  jobs_.PutLine("j", line);
  EXPECT_EQ(LogsCommand(common_, {.job = "j"}, world_), 0);
  EXPECT_EQ(out_.str(), "[rank 1 h2 epoch 3] hello\n");
}

TEST_F(CommandsTest, CancelOfAFinishedJobFails) {
  State(v1::JOB_STATE_RUNNING);
  EXPECT_EQ(CancelCommand(common_, "j", world_), 0);
  EXPECT_EQ(CancelCommand(common_, "j", world_), 2);
  EXPECT_THAT(err_.str(), HasSubstr("j has finished"));
}

TEST_F(CommandsTest, CheckpointsOfAJobComeFromTheCoordinator) {
  v1::JobStatus status;
  status.set_job_id("j");
  status.set_state(v1::JOB_STATE_SUCCEEDED);
  status.add_checkpoints()->set_step(7);
  jobs_.PutState(status);
  EXPECT_EQ(CheckpointsCommand(common_, "j", false, world_), 0);
  const auto json = nlohmann::json::parse(out_.str());
  EXPECT_EQ(json["checkpoints"][0]["step"], 7);
  EXPECT_TRUE(json["checkpoints"][0]["verified"].is_null());
}

TEST_F(CommandsTest, GenerateSaysWhatIsMissing) {
  State(v1::JOB_STATE_RUNNING);
  EXPECT_EQ(TrainerCommand(common_, "generate", "j", {}, world_), 2);
  EXPECT_THAT(err_.str(), HasSubstr("job j has no committed checkpoint yet"));
  EXPECT_EQ(TrainerCommand(common_, "generate", "./none", {}, world_), 2);
  EXPECT_THAT(err_.str(), HasSubstr("none: there is no such checkpoint"));
  EXPECT_EQ(TrainerCommand(common_, "digits", "", {}, world_), 1);
  EXPECT_THAT(err_.str(), HasSubstr("/nowhere/ringmaster-trainer cannot be started"));
}

TEST_F(CommandsTest, VersionIsJsonToo) {
  EXPECT_EQ(VersionCommand(common_, world_), 0);
  EXPECT_THAT(out_.str(), StartsWith("{\"version\":\""));
}

}  // namespace
}  // namespace ringmaster::cli
