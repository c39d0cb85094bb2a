// What every ProcessRunner promises. A runner's test includes this and says
//   INSTANTIATE_TEST_SUITE_P(Name, ProcessRunnerConformance, ::testing::Values(RunnerUnderTest{...}));
#ifndef RINGMASTER_WORKER_PROCESS_PROCESS_RUNNER_CONFORMANCE_H_
#define RINGMASTER_WORKER_PROCESS_PROCESS_RUNNER_CONFORMANCE_H_

#include <poll.h>
#include <signal.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/process/process_runner.h"

namespace ringmaster::testing {

// Collects a runner's events per process.
class ProcessRecorder {
 public:
  struct Record {
    int64_t pid = 0;
    int starts = 0;
    std::string out;
    std::string err;
    std::optional<process_event::Exited> exited;
  };

  explicit ProcessRecorder(ProcessRunner* runner) : runner_(runner) {}

  // False: `done` did not become true within 20 s without any event.
  bool WaitUntil(const std::function<bool()>& done) {
    while (!done()) {
      pollfd wait{runner_->poll_fd(), POLLIN, 0};
      if (poll(&wait, 1, 20000) <= 0) return false;
      for (const ProcessEvent& event : runner_->Poll()) Add(event);
    }
    return true;
  }
  bool WaitForExit(ProcessId id) {
    return WaitUntil([&] { return records_[id].exited.has_value(); });
  }
  bool WaitForOutput(ProcessId id, const std::string& text) {
    return WaitUntil([&] { return records_[id].out.find(text) != std::string::npos; });
  }
  const Record& operator[](ProcessId id) { return records_[id]; }

 private:
  void Add(const ProcessEvent& event) {
    Record& record = records_[event.id];
    EXPECT_FALSE(record.exited.has_value()) << "an event after Exited";
    if (const auto* started = std::get_if<process_event::Started>(&event.what)) {
      record.pid = started->pid;
      ++record.starts;
    } else if (const auto* output = std::get_if<process_event::Output>(&event.what)) {
      EXPECT_EQ(record.starts, 1) << "output before Started";
      (output->is_stderr ? record.err : record.out) += output->bytes;
    } else {
      record.exited = std::get<process_event::Exited>(event.what);
    }
  }

  ProcessRunner* const runner_;
  std::map<ProcessId, Record> records_;
};

struct RunnerUnderTest {
  std::string program;  // worker/testing/rank_program, or what stands for it
  std::function<std::unique_ptr<ProcessRunner>(const std::string& program)> create;
};

class ProcessRunnerConformance : public ::testing::TestWithParam<std::function<RunnerUnderTest()>> {
 protected:
  void SetUp() override {
    const RunnerUnderTest under_test = GetParam()();
    program_ = under_test.program;
    runner_ = under_test.create(program_);
    ASSERT_NE(runner_, nullptr);
    records_.emplace(runner_.get());
  }

  ProcessId Start(std::vector<std::string> verbs) {
    verbs.insert(verbs.begin(), program_);
    return StartCommand(std::move(verbs));
  }
  ProcessId StartCommand(std::vector<std::string> command) {
    const ProcessId id = next_;
    next_ = next_.Next();
    runner_->Start(id, {.command = std::move(command)});
    return id;
  }

  std::string program_;
  std::unique_ptr<ProcessRunner> runner_;
  std::optional<ProcessRecorder> records_;
  ProcessId next_{1};
};

TEST_P(ProcessRunnerConformance, ProcessThatExits_GivesStartedThenAllItsOutputThenItsCode) {
  const ProcessId id = Start({"out", "hello", "err", "trouble", "out", "bye", "exit", "7"});

  ASSERT_TRUE(records_->WaitForExit(id));
  EXPECT_EQ((*records_)[id].starts, 1);
  EXPECT_GT((*records_)[id].pid, 0);
  EXPECT_EQ((*records_)[id].out, "hello\nbye\n");
  EXPECT_EQ((*records_)[id].err, "trouble\n");
  EXPECT_EQ((*records_)[id].exited->exit_code, 7);
  EXPECT_EQ((*records_)[id].exited->signal, 0);
  EXPECT_EQ((*records_)[id].exited->error, "");
}

TEST_P(ProcessRunnerConformance, ProcessThatDiesOfASignal_TellsTheSignal) {
  const ProcessId id = Start({"kill", std::to_string(SIGSEGV)});

  ASSERT_TRUE(records_->WaitForExit(id));
  EXPECT_EQ((*records_)[id].exited->signal, SIGSEGV);
  EXPECT_EQ((*records_)[id].exited->exit_code, 128 + SIGSEGV);
}

TEST_P(ProcessRunnerConformance, ProgramThatDoesNotExist_IsAnExitThatNamesThePath) {
  const ProcessId id = StartCommand({"/nowhere/program"});

  ASSERT_TRUE(records_->WaitForExit(id));
  EXPECT_EQ((*records_)[id].starts, 0);
  EXPECT_EQ((*records_)[id].exited->exit_code, 1);
  EXPECT_THAT((*records_)[id].exited->error, ::testing::HasSubstr("/nowhere/program: No such file or directory"));
}

TEST_P(ProcessRunnerConformance, Terminate_EndsAProcessBySigterm) {
  const ProcessId id = Start({"out", "ready", "wait"});
  ASSERT_TRUE(records_->WaitForOutput(id, "ready"));

  runner_->Terminate(id);

  ASSERT_TRUE(records_->WaitForExit(id));
  EXPECT_EQ((*records_)[id].exited->signal, SIGTERM);
}

TEST_P(ProcessRunnerConformance, Kill_EndsAProcessThatIgnoresTerminate) {
  const ProcessId id = Start({"stubborn", "out", "ready", "wait"});
  ASSERT_TRUE(records_->WaitForOutput(id, "ready"));

  runner_->Terminate(id);
  runner_->Kill(id);

  ASSERT_TRUE(records_->WaitForExit(id));
  EXPECT_EQ((*records_)[id].exited->signal, SIGKILL);
  EXPECT_EQ((*records_)[id].exited->exit_code, 137);
}

TEST_P(ProcessRunnerConformance, Destroy_EndsAProcess) {
  const ProcessId id = Start({"out", "ready", "wait"});
  ASSERT_TRUE(records_->WaitForOutput(id, "ready"));

  runner_->Destroy(id);

  ASSERT_TRUE(records_->WaitForExit(id));
  EXPECT_EQ((*records_)[id].exited->signal, SIGKILL);
}

TEST_P(ProcessRunnerConformance, SignalsToAProcessThatIsGone_HaveNoEffectOnOthers) {
  const ProcessId gone = Start({"exit", "0"});
  ASSERT_TRUE(records_->WaitForExit(gone));
  const ProcessId other = Start({"out", "ready", "wait"});
  ASSERT_TRUE(records_->WaitForOutput(other, "ready"));

  runner_->Terminate(gone);
  runner_->Kill(gone);
  runner_->Destroy(gone);
  runner_->Terminate(other);

  ASSERT_TRUE(records_->WaitForExit(other));
  EXPECT_EQ((*records_)[other].exited->signal, SIGTERM);
}

}  // namespace ringmaster::testing

#endif  // RINGMASTER_WORKER_PROCESS_PROCESS_RUNNER_CONFORMANCE_H_
