// The real executables, end to end: exit codes, JSON, checkpoints, cancel. Assertions about time are left to the test's time-out.
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/child_process.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ringmaster::cli {
namespace {

using Json = nlohmann::json;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kMlp[] = R"(name: tiny
parallel: {data: 2}
model: {mlp: {hidden: [16]}}
data: {synthetic_digits: {train: 256, validation: 64, seed: 1}}
train:
  steps: 8
  global_batch: 16
  optimizer: {sgd: {learning_rate: 0.1}}
  validate_every: 4
  seed: 3
checkpoint: {directory: checkpoints, every_steps: 4}
)";

class RunTest : public ::testing::Test {
 protected:
  RunTest() {
    directory_ =
        std::filesystem::path(std::getenv("TEST_TMPDIR")) / ::testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::create_directories(directory_);
  }

  std::string Write(const std::string& name, const std::string& text) {
    std::ofstream(directory_ / name) << text;
    return name;
  }

  static std::string Command(const std::string& script, const std::string& rest = "restart: {max_failures: 0}\n") {
    return "name: script\ncommand: [sh, -c, '" + script + "']\n" + rest;
  }

  // Runs to the end; the JSON objects of stdout go to events_.
  int Run(const std::vector<std::string>& arguments) {
    ChildProcess child(arguments, directory_);
    const int exit_code = child.Wait();
    events_.clear();
    for (const std::string& line : child.lines()) events_.push_back(Json::parse(line, nullptr, false));
    stderr_ = child.stderr_text();
    return exit_code;
  }

  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const Json& event : events_) names.push_back(event.value("event", ""));
    return names;
  }

  std::filesystem::path directory_;
  std::vector<Json> events_;
  std::string stderr_;
};

TEST_F(RunTest, ATinyJobTrainsAndLeavesAGoodCheckpoint) {
  ASSERT_EQ(Run({"run", Write("job.yaml", kMlp), "--output", "json"}), 0) << stderr_;

  ASSERT_FALSE(events_.empty());
  EXPECT_EQ(Names().front(), "submitted");
  EXPECT_THAT(Names(), Contains("epoch"));
  const Json last = events_.back();
  EXPECT_EQ(last["event"], "job_finished");
  EXPECT_EQ(last["state"], "Succeeded");
  EXPECT_EQ(last["exit_code"], 0);
  EXPECT_EQ(last["step"], 8);
  EXPECT_EQ(last["epochs"], 1);
  EXPECT_EQ(last["failures"], 0);
  EXPECT_TRUE(last["train_loss"].is_number());
  EXPECT_TRUE(last["validation_loss"].is_number());
  EXPECT_TRUE(last["validation_accuracy"].is_number());
  ASSERT_TRUE(last["checkpoint"].is_string());
  const std::string checkpoint = last["checkpoint"];

  ASSERT_EQ(Run({"checkpoints", "checkpoints", "--verify", "--output", "json"}), 0) << stderr_;
  const Json rows = events_.back()["checkpoints"];
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[1]["step"], 8);
  EXPECT_EQ(rows[1]["path"], checkpoint);
  EXPECT_EQ(rows[1]["verified"], true);
  EXPECT_EQ(rows[1]["world_size"], 2);

  ASSERT_EQ(Run({"evaluate", checkpoint, "--output", "json"}), 0) << stderr_;

  // Its coordinator has ended with it: no silent answer.
  EXPECT_EQ(Run({"status"}), 69);
  EXPECT_THAT(stderr_, HasSubstr(".ringmaster/coordinator.address"));
}

TEST_F(RunTest, ResumeBeginsWhereTheFormerJobEnded) {
  ASSERT_EQ(Run({"run", Write("job.yaml", kMlp), "--output", "json"}), 0) << stderr_;
  ASSERT_EQ(Run({"run", "job.yaml", "--set", "train.steps=12", "--resume", "--ranks", "1", "--output", "json"}), 0) << stderr_;
  EXPECT_EQ(events_.back()["step"], 12);
  for (const Json& event : events_) {
    if (event["event"] == "checkpoint") {
      EXPECT_GT(event["step"], 8) << "it trained from the start again";
    }
  }
}

TEST_F(RunTest, ResumeWithoutAnythingToResumeIsRefused) {
  EXPECT_EQ(Run({"run", Write("job.yaml", kMlp), "--resume"}), 2);
  EXPECT_THAT(stderr_, HasSubstr("no former job named \"tiny\""));
}

TEST_F(RunTest, ExitsWithTheCodeOfTheFirstFailedRank) {
  Write("job.yaml", Command("if [ $RANK = 1 ]; then echo last words >&2; exit 3; fi; exec sleep 600",
                            "slots_per_node: 2\nrestart: {max_failures: 0}\nstop_grace: 1s\n"));
  EXPECT_EQ(Run({"run", "job.yaml", "--output", "json"}), 3) << stderr_;
  EXPECT_EQ(events_.back()["state"], "Failed");
  EXPECT_EQ(events_.back()["exit_code"], 3);
  EXPECT_THAT(stderr_, HasSubstr("rank 1 on "));
  EXPECT_THAT(stderr_, HasSubstr("| last words"));
  EXPECT_THAT(stderr_, HasSubstr("/rank-1.epoch-1.err"));
}

TEST_F(RunTest, ExitsWith128PlusTheSignal) {
  EXPECT_EQ(Run({"run", Write("job.yaml", Command("kill -9 $$")), "--output", "json"}), 137) << stderr_;
  EXPECT_THAT(stderr_, HasSubstr("SIGKILL"));
}

TEST_F(RunTest, RestartsUntilItsFailuresAreUsedUp) {
  Write("job.yaml", Command("exit 5", "restart: {max_failures: 1, backoff: 10ms}\n"));
  EXPECT_EQ(Run({"run", "job.yaml", "--output", "json"}), 5) << stderr_;
  EXPECT_EQ(events_.back()["epochs"], 2);
  EXPECT_EQ(events_.back()["failures"], 2);
}

TEST_F(RunTest, ATimeLimitIs124) {
  Write("job.yaml", Command("exec sleep 600", "time_limit: 500ms\nstop_grace: 1s\n"));
  EXPECT_EQ(Run({"run", "job.yaml", "--output", "json"}), 124) << stderr_;
  EXPECT_EQ(events_.back()["state"], "Failed");
}

TEST_F(RunTest, ABadSpecIs2AndNothingIsLeft) {
  EXPECT_EQ(Run({"run", Write("job.yaml", "name: a\ncomand: [sh]\n")}), 2);
  EXPECT_THAT(stderr_, HasSubstr("job.yaml:2:1: unknown field \"comand\"; did you mean \"command\"?"));
  EXPECT_FALSE(std::filesystem::exists(directory_ / ".ringmaster"));
}

TEST_F(RunTest, BadUsageIs2WithASuggestion) {
  EXPECT_EQ(Run({"rnu", "job.yaml"}), 2);
  EXPECT_THAT(stderr_, HasSubstr("did you mean run?"));
  EXPECT_EQ(Run({"run", "job.yaml", "--dry-rnu"}), 2);
  EXPECT_THAT(stderr_, HasSubstr("did you mean --dry-run?"));
  EXPECT_EQ(Run({"bench", "collectives", "--rnaks", "2"}), 2);
  EXPECT_THAT(stderr_, HasSubstr("did you mean --ranks?"));
  EXPECT_EQ(Run({"bench", "collectives", "--channels", "17"}), 2);
  EXPECT_THAT(stderr_, AllOf(HasSubstr("--channels"), HasSubstr("range"), Not(HasSubstr("unknown option"))));
  EXPECT_EQ(Run({}), 2);
}

TEST_F(RunTest, AnUnreachableCoordinatorIs69) {
  Write("job.yaml", Command("true"));
  const std::vector<std::vector<std::string>> commands = {
      {"status"},           {"watch", "j"},    {"logs", "j"},          {"cancel", "j"},
      {"checkpoints", "j"}, {"generate", "j"}, {"submit", "job.yaml"}, {"run", "job.yaml"}};
  for (const std::vector<std::string>& command : commands) {
    std::vector<std::string> arguments = command;
    arguments.insert(arguments.end(), {"--coordinator", "127.0.0.1:1"});
    EXPECT_EQ(Run(arguments), 69) << command[0] << ": " << stderr_;
    EXPECT_THAT(stderr_, HasSubstr("127.0.0.1:1"));
  }
}

TEST_F(RunTest, DryRunStartsNothing) {
  EXPECT_EQ(Run({"run", Write("job.yaml", kMlp), "--dry-run", "--output", "json"}), 0) << stderr_;
  EXPECT_EQ(events_.back()["ranks"].size(), 2u);
  EXPECT_FALSE(std::filesystem::exists(directory_ / ".ringmaster"));
}

TEST_F(RunTest, CtrlCCancelsInOrder) {
  Write("job.yaml", Command("trap \"echo stopped in order; exit 0\" TERM; echo $$; while :; do sleep 0.05; done"));
  ChildProcess run({"run", "job.yaml"}, directory_);
  const auto pid = run.ReadLine();  // the rank's first line: it runs
  ASSERT_TRUE(pid.has_value()) << run.stderr_text();
  run.Signal(SIGINT);
  EXPECT_EQ(run.Wait(), 130) << run.stderr_text();
  EXPECT_THAT(run.lines(), Contains("stopped in order"));
  EXPECT_NE(kill(std::stoi(*pid), 0), 0) << "the rank is still there";
}

TEST_F(RunTest, CtrlCTwiceStopsAtOnce) {
  Write("job.yaml", Command("trap \"echo stubborn\" TERM; echo $$; while :; do sleep 0.05; done", "stop_grace: 500s\n"));
  ChildProcess run({"run", "job.yaml"}, directory_);
  const auto pid = run.ReadLine();
  ASSERT_TRUE(pid.has_value()) << run.stderr_text();
  run.Signal(SIGINT);
  ASSERT_EQ(run.ReadLine(), "stubborn") << run.stderr_text();
  run.Signal(SIGINT);
  EXPECT_EQ(run.Wait(), 130) << run.stderr_text();
}

TEST_F(RunTest, SubmitWatchLogsAndCancelAgainstAServer) {
  ChildProcess coordinator({"coordinator", "--listen", "127.0.0.1:0", "--state-dir", "state", "--output", "json"}, directory_);
  const auto ready = coordinator.ReadLine();
  ASSERT_TRUE(ready.has_value()) << coordinator.stderr_text();
  const std::string address = Json::parse(*ready)["address"];
  ChildProcess worker({"worker", "--coordinator", address, "--name", "h1", "--slots", "2"}, directory_);
  ASSERT_TRUE(worker.ReadLine().has_value()) << worker.stderr_text();

  Write("job.yaml", Command("echo hello from $RANK; exec sleep 600", "slots_per_node: 2\nstop_grace: 1s\n"));
  ASSERT_EQ(Run({"submit", "job.yaml", "--coordinator", address, "--output", "json"}), 0) << stderr_;
  const std::string job = events_.back()["job"];

  ChildProcess watch({"watch", job, "--coordinator", address, "--output", "json"}, directory_);
  ChildProcess logs({"logs", job, "--rank", "1", "--follow", "--coordinator", address}, directory_);
  EXPECT_EQ(logs.ReadLine(), "[rank 1 h1 epoch 1] hello from 1") << logs.stderr_text();
  EXPECT_EQ(Run({"status", job, "--coordinator", address, "--output", "json"}), 0) << stderr_;
  EXPECT_EQ(events_.back()["jobs"][0]["ranks"].size(), 2u);
  EXPECT_EQ(events_.back()["jobs"][0]["ranks"][1]["host"], "h1");
  // The state directory knows the address too.
  EXPECT_EQ(Run({"cancel", job, "--state-dir", "state", "--output", "json"}), 0) << stderr_;
  EXPECT_EQ(watch.Wait(), 130) << watch.stderr_text();
  EXPECT_EQ(Json::parse(watch.lines().back())["state"], "Cancelled");
  EXPECT_EQ(logs.Wait(), 0) << logs.stderr_text();

  worker.Signal(SIGTERM);
  EXPECT_EQ(worker.Wait(), 0) << worker.stderr_text();
  coordinator.Signal(SIGTERM);
  EXPECT_EQ(coordinator.Wait(), 0) << coordinator.stderr_text();
}

TEST_F(RunTest, DoctorChecksTheWayToTheCoordinator) {
  ChildProcess coordinator({"coordinator", "--listen", "127.0.0.1:0", "--output", "json"}, directory_);
  const auto ready = coordinator.ReadLine();
  ASSERT_TRUE(ready.has_value()) << coordinator.stderr_text();
  EXPECT_EQ(Run({"doctor", "--coordinator", Json::parse(*ready)["address"], "--output", "json"}), 0) << stderr_;
  std::map<std::string, std::string> health;
  for (const Json& finding : events_.back()["findings"]) health[finding["check"]] = finding["health"];
  EXPECT_EQ(health["coordinator"], "ok");
  EXPECT_EQ(health["clock"], "ok");
  EXPECT_EQ(health["reachability"], "ok");
  EXPECT_EQ(Run({"doctor", "--coordinator", "127.0.0.1:1"}), 1);
}

TEST_F(RunTest, AWorkerWithoutACoordinatorIs69) {
  ChildProcess worker({"worker", "--coordinator", "127.0.0.1:1", "--connect-timeout", "100ms"}, directory_);
  EXPECT_EQ(worker.Wait(), 69) << worker.stderr_text();
}

}  // namespace
}  // namespace ringmaster::cli
