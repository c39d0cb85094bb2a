#include "cli/bench/programs.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/file_descriptor.h"
#include "common/status_macros.h"

namespace ringmaster::cli {
namespace {

// Kills and reaps what is still running when destroyed.
class Processes {
 public:
  ~Processes() {
    for (const pid_t pid : running_) kill(pid, SIGKILL);
    for (const pid_t pid : running_) waitpid(pid, nullptr, 0);
  }

  absl::Status Start(const Program& program, int output) {
    std::vector<std::string> arguments = program.arguments, variables = program.environment;
    for (char** variable = environ; *variable != nullptr; ++variable) variables.emplace_back(*variable);
    const auto pointers = [](std::vector<std::string>& texts) {
      std::vector<char*> result;
      for (std::string& text : texts) result.push_back(text.data());
      result.push_back(nullptr);
      return result;
    };
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    pid_t pid = -1;
    const int error =
        posix_spawnp(&pid, arguments[0].c_str(), &actions, nullptr, pointers(arguments).data(), pointers(variables).data());
    posix_spawn_file_actions_destroy(&actions);
    if (error == ENOENT) return absl::NotFoundError(absl::StrCat("no program ", arguments[0]));
    if (error != 0) return absl::InternalError(absl::StrCat("starting ", arguments[0], ": ", strerror(error)));
    running_.push_back(pid);
    return absl::OkStatus();
  }

  // All have closed their output, so they are ending.
  absl::Status Reap(const std::vector<Program>& programs) {
    absl::Status result;
    bool by_signal = false;  // then the others failed because of that one
    for (size_t index = 0; index < running_.size(); ++index) {
      int status = 0;
      waitpid(running_[index], &status, 0);
      if (status != 0 && (result.ok() || (WIFSIGNALED(status) && !by_signal))) {
        by_signal = WIFSIGNALED(status);
        result = absl::InternalError(absl::StrCat(
            absl::StrJoin(programs[index].arguments, " "), " ended with ",
            WIFSIGNALED(status) ? absl::StrCat("signal ", WTERMSIG(status)) : absl::StrCat("code ", WEXITSTATUS(status))));
      }
    }
    running_.clear();
    return result;
  }

 private:
  std::vector<pid_t> running_;
};

}  // namespace

absl::StatusOr<std::vector<std::string>> RunPrograms(const std::vector<Program>& programs, absl::Duration timeout,
                                                     const Clock& clock) {
  const absl::Time deadline = clock.Now() + timeout;
  int ends[2] = {-1, -1};
  if (pipe2(ends, O_CLOEXEC) != 0) return absl::InternalError(absl::StrCat("pipe: ", strerror(errno)));
  const FileDescriptor output(ends[0]);
  FileDescriptor input(ends[1]);
  Processes processes;
  for (const Program& program : programs) RM_RETURN_IF_ERROR(processes.Start(program, input.get()));
  input.Reset();
  std::string text;
  while (true) {
    pollfd polled{.fd = output.get(), .events = POLLIN, .revents = 0};
    const timespec limit = absl::ToTimespec(std::max(deadline - clock.Now(), absl::ZeroDuration()));
    const int ready = ppoll(&polled, 1, &limit, nullptr);
    if (ready == 0) {
      return absl::DeadlineExceededError(
          absl::StrCat(absl::StrJoin(programs[0].arguments, " "), " did not end within ", absl::FormatDuration(timeout)));
    }
    char buffer[4096];
    const ssize_t bytes = ready < 0 ? -1 : read(output.get(), buffer, sizeof(buffer));
    if (bytes == 0) break;
    if (bytes > 0) text.append(buffer, static_cast<size_t>(bytes));
  }
  RM_RETURN_IF_ERROR(processes.Reap(programs));
  std::vector<std::string> lines = absl::StrSplit(text, '\n', absl::SkipEmpty());
  return lines;
}

}  // namespace ringmaster::cli
