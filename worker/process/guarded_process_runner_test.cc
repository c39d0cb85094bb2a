// Real guards and real programs: no orphan may survive a SIGKILL of the guard or of the program (worker_test.cc kills the worker).
#include "worker/process/guarded_process_runner.h"

#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string>

#include "common/status_matchers.h"
#include "worker/process/process_runner_conformance.h"
#include "worker/process/process_tree.h"
#include "worker/testing/process_watch.h"

namespace ringmaster::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string TestBinary(const std::string& name) {
  return std::string(std::getenv("TEST_SRCDIR")) + "/ringmaster/worker/testing/" + name;
}

std::unique_ptr<ProcessRunner> CreateRunner() { return *CreateGuardedProcessRunner(TestBinary("worker_program")); }

INSTANTIATE_TEST_SUITE_P(Guarded, ProcessRunnerConformance, ::testing::Values([] {
                           return RunnerUnderTest{TestBinary("rank_program"), [](const std::string&) { return CreateRunner(); }};
                         }));

pid_t ParentOf(pid_t pid) {
  for (const ProcessEntry& process : ListProcesses()) {
    if (process.pid == pid) return process.parent;
  }
  return -1;
}

// The number that the program wrote after a word, e.g. "daemon 123".
pid_t NumberAfter(const std::string& output, const std::string& word) {
  const size_t at = output.find(word + " ");
  return at == std::string::npos ? -1 : std::atoi(output.c_str() + at + word.size() + 1);
}

class GuardTest : public ::testing::Test {
 protected:
  // Runs a program with a child in its group and a daemon in its own session, all of them alive.
  void StartFamily(std::vector<std::string> then) {
    std::vector<std::string> command = {TestBinary("rank_program"), "daemon", "child", "out", "ready"};
    command.insert(command.end(), then.begin(), then.end());
    runner_->Start(id_, {.command = command});
    ASSERT_TRUE(records_.WaitForOutput(id_, "ready"));
    program_ = static_cast<pid_t>(records_[id_].pid);
    ASSERT_GT(program_, 1);
    const pid_t daemon = NumberAfter(records_[id_].out, "daemon");
    const pid_t child = NumberAfter(records_[id_].out, "child");
    ASSERT_GT(daemon, 0);
    ASSERT_GT(child, 0);
    daemon_.emplace(daemon);
    child_.emplace(child);
  }

  void ExpectFamilyGone() {
    EXPECT_TRUE(daemon_->IsGone());
    EXPECT_TRUE(child_->IsGone());
    for (const ProcessEntry& process : Descendants(ListProcesses(), getpid())) {
      ADD_FAILURE() << "process " << process.pid << " is left, state " << process.state;
    }
  }

  const ProcessId id_{1};
  std::unique_ptr<ProcessRunner> runner_ = CreateRunner();
  ProcessRecorder records_{runner_.get()};
  pid_t program_ = 0;
  std::optional<ProcessWatch> daemon_;
  std::optional<ProcessWatch> child_;
};

TEST_F(GuardTest, ProgramExits_WhatItLeftBehindIsGoneBeforeTheExitIsTold) {
  StartFamily({"exit", "5"});

  ASSERT_TRUE(records_.WaitForExit(id_));

  EXPECT_EQ(records_[id_].exited->exit_code, 5);
  ExpectFamilyGone();
}

TEST_F(GuardTest, ProgramIsKilled_ItsFamilyIsGoneBeforeTheExitIsTold) {
  StartFamily({"wait"});

  SignalOne(program_, SIGKILL);
  ASSERT_TRUE(records_.WaitForExit(id_));

  EXPECT_EQ(records_[id_].exited->signal, SIGKILL);
  EXPECT_FALSE(records_[id_].exited->out_of_memory);
  ExpectFamilyGone();
}

TEST_F(GuardTest, GuardIsKilled_ProgramAndFamilyAreGoneBeforeTheExitIsTold) {
  StartFamily({"wait"});
  const pid_t guard = ParentOf(program_);
  ASSERT_EQ(ParentOf(guard), getpid());

  SignalOne(guard, SIGKILL);
  ASSERT_TRUE(records_.WaitForExit(id_));

  EXPECT_EQ(records_[id_].exited->signal, SIGKILL);
  ExpectFamilyGone();
}

TEST_F(GuardTest, GuardIsKilled_OtherRanksGoOn) {
  const ProcessId other(2);
  runner_->Start(other, {.command = {TestBinary("rank_program"), "out", "ready", "wait"}});
  ASSERT_TRUE(records_.WaitForOutput(other, "ready"));
  const ProcessWatch other_program(static_cast<pid_t>(records_[other].pid));
  StartFamily({"wait"});

  SignalOne(ParentOf(program_), SIGKILL);
  ASSERT_TRUE(records_.WaitForExit(id_));

  EXPECT_FALSE(other_program.IsGone());
  EXPECT_FALSE(records_[other].exited.has_value());
  runner_->Terminate(other);
  ASSERT_TRUE(records_.WaitForExit(other));
  EXPECT_EQ(records_[other].exited->signal, SIGTERM);
  ExpectFamilyGone();
}

TEST_F(GuardTest, Kill_TakesTheWholeTreeAlsoDaemonsOfItsOwnSession) {
  StartFamily({"stubborn", "wait"});

  runner_->Kill(id_);
  ASSERT_TRUE(records_.WaitForExit(id_));

  ExpectFamilyGone();
}

TEST_F(GuardTest, Terminate_ReachesAStoppedProgram) {
  StartFamily({"wait"});
  SignalOne(program_, SIGSTOP);

  runner_->Terminate(id_);
  ASSERT_TRUE(records_.WaitForExit(id_));

  EXPECT_EQ(records_[id_].exited->signal, SIGTERM);
  ExpectFamilyGone();
}

TEST_F(GuardTest, Destroy_WorksWithAStoppedGuard) {
  StartFamily({"wait"});
  SignalOne(ParentOf(program_), SIGSTOP);

  runner_->Kill(id_);
  runner_->Destroy(id_);
  ASSERT_TRUE(records_.WaitForExit(id_));

  ExpectFamilyGone();
}

TEST_F(GuardTest, RunnerIsDestroyed_NothingIsLeft) {
  StartFamily({"stubborn", "wait"});
  const ProcessWatch program(program_);

  runner_.reset();

  EXPECT_TRUE(program.IsGone());
  ExpectFamilyGone();
}

TEST_F(GuardTest, Spec_DirectoryEnvironmentAndCoresReachTheProgram) {
  cpu_set_t set;
  sched_getaffinity(0, sizeof(set), &set);
  int first = 0;
  while (!CPU_ISSET(first, &set)) ++first;
  const std::string directory = std::getenv("TEST_TMPDIR");

  runner_->Start(id_, {.command = {"sh", "-c", "pwd; echo color=$COLOR home=$HOME; exec \"$0\" cpus", TestBinary("rank_program")},
                       .environment = {"COLOR=green", "PATH=/usr/bin:/bin"},
                       .directory = directory,
                       .cpus = {first}});
  ASSERT_TRUE(records_.WaitForExit(id_));

  EXPECT_EQ(records_[id_].out, directory + "\ncolor=green home=\ncpus 1\n");
}

TEST_F(GuardTest, NoDescriptorOfTheHostLeaksIntoTheProgram) {
  int leaked[2];
  ASSERT_EQ(pipe(leaked), 0);  // without CLOEXEC, as a careless library would

  runner_->Start(id_, {.command = {"/bin/ls", "/proc/self/fd"}});
  ASSERT_TRUE(records_.WaitForExit(id_));

  EXPECT_EQ(records_[id_].out, "0\n1\n2\n3\n");  // 3: the directory that ls reads
  close(leaked[0]);
  close(leaked[1]);
}

TEST_F(GuardTest, DirectoryThatDoesNotExist_IsAnErrorThatNamesBoth) {
  runner_->Start(id_, {.command = {TestBinary("rank_program")}, .directory = "/nowhere/at/all"});

  ASSERT_TRUE(records_.WaitForExit(id_));
  EXPECT_THAT(records_[id_].exited->error,
              AllOf(HasSubstr("rank_program in directory /nowhere/at/all"), HasSubstr("No such file or directory")));
}

TEST(GuardedProcessRunner, GuardBinaryThatDoesNotExist_IsNotFound) {
  EXPECT_THAT(CreateGuardedProcessRunner("/nowhere/ringmaster"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nowhere/ringmaster")));
}

}  // namespace
}  // namespace ringmaster::testing
