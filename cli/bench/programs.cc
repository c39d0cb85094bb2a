#include "cli/bench/programs.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
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

  absl::Status Start(const Program& program, int output, int errors) {
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
    posix_spawn_file_actions_adddup2(&actions, errors, STDERR_FILENO);
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

// The reading end of a pipe. `end` is false while somebody may still write.
struct Stream {
  FileDescriptor from;
  std::string text = {};
  bool end = false;
};

absl::Status OpenPipe(Stream* stream, FileDescriptor* input) {
  int ends[2] = {-1, -1};
  if (pipe2(ends, O_CLOEXEC) != 0) return absl::InternalError(absl::StrCat("pipe: ", strerror(errno)));
  stream->from = FileDescriptor(ends[0]);
  *input = FileDescriptor(ends[1]);
  return absl::OkStatus();
}

// What there is now; returns it.
absl::string_view ReadSome(Stream* stream) {
  char buffer[4096];
  const ssize_t bytes = read(stream->from.get(), buffer, sizeof(buffer));
  stream->end = bytes == 0;
  const size_t before = stream->text.size();
  if (bytes > 0) stream->text.append(buffer, static_cast<size_t>(bytes));
  return absl::string_view(stream->text).substr(before);
}

// The last line that has words in it, at most 200 bytes of it.
std::string LastWords(absl::string_view text) {
  const std::vector<absl::string_view> lines = absl::StrSplit(text, '\n', absl::SkipWhitespace());
  return lines.empty() ? "" : absl::StrCat(": ", absl::StripAsciiWhitespace(lines.back()).substr(0, 200));
}

}  // namespace

absl::StatusOr<std::vector<std::string>> RunPrograms(const std::vector<Program>& programs, absl::Duration timeout,
                                                     const Clock& clock) {
  const absl::Time deadline = clock.Now() + timeout;
  Stream output, errors;
  FileDescriptor output_input, errors_input;
  RM_RETURN_IF_ERROR(OpenPipe(&output, &output_input));
  RM_RETURN_IF_ERROR(OpenPipe(&errors, &errors_input));
  Processes processes;
  for (const Program& program : programs) {
    RM_RETURN_IF_ERROR(processes.Start(program, output_input.get(), errors_input.get()));
  }
  output_input.Reset();
  errors_input.Reset();
  while (!output.end || !errors.end) {
    // poll() skips negative descriptors.
    pollfd polled[] = {{.fd = output.end ? -1 : output.from.get(), .events = POLLIN, .revents = 0},
                       {.fd = errors.end ? -1 : errors.from.get(), .events = POLLIN, .revents = 0}};
    const timespec limit = absl::ToTimespec(std::max(deadline - clock.Now(), absl::ZeroDuration()));
    if (ppoll(polled, 2, &limit, nullptr) == 0) {
      return absl::DeadlineExceededError(absl::StrCat(absl::StrJoin(programs[0].arguments, " "), " did not end within ",
                                                      absl::FormatDuration(timeout), LastWords(errors.text)));
    }
    if (polled[0].revents != 0) ReadSome(&output);
    if (polled[1].revents != 0) {
      const absl::string_view said = ReadSome(&errors);
      std::fwrite(said.data(), 1, said.size(), stderr);
    }
  }
  const absl::Status ended = processes.Reap(programs);
  if (!ended.ok()) return absl::Status(ended.code(), absl::StrCat(ended.message(), LastWords(errors.text)));
  std::vector<std::string> lines = absl::StrSplit(output.text, '\n', absl::SkipEmpty());
  return lines;
}

}  // namespace ringmaster::cli
