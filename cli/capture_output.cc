#include "cli/capture_output.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/file_descriptor.h"

extern char** environ;

namespace ringmaster::cli {
namespace {

constexpr size_t kMostBytes = 4096;

}  // namespace

absl::StatusOr<CapturedOutput> CaptureOutput(const std::vector<std::string>& argv) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return absl::UnavailableError(absl::StrCat("pipe: ", std::strerror(errno)));
  const FileDescriptor read_end(ends[0]);
  FileDescriptor write_end(ends[1]);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, write_end.get(), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, write_end.get(), STDERR_FILENO);
  std::vector<char*> words;
  for (const std::string& word : argv) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  pid_t pid = 0;
  const int error = posix_spawnp(&pid, words[0], &actions, nullptr, words.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return absl::UnavailableError(absl::StrCat(argv[0], " cannot be started: ", std::strerror(error)));
  write_end.Reset();
  CapturedOutput output;
  char buffer[512];
  ssize_t bytes = 0;
  while ((bytes = read(read_end.get(), buffer, sizeof(buffer))) > 0 || (bytes < 0 && errno == EINTR)) {
    if (bytes > 0 && output.text.size() < kMostBytes) output.text.append(buffer, static_cast<size_t>(bytes));
  }
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  output.exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  return output;
}

}  // namespace ringmaster::cli
