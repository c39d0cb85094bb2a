#include "cli/child_process.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "gtest/gtest.h"

namespace ringmaster::cli {
namespace {

std::string Executable() { return std::string(std::getenv("TEST_SRCDIR")) + "/" + std::getenv("TEST_WORKSPACE") + "/ringmaster"; }

}  // namespace

ChildProcess::ChildProcess(const std::vector<std::string>& arguments, const std::filesystem::path& directory) {
  static int count = 0;
  stderr_file_ = directory / ("stderr-" + std::to_string(count++));
  std::vector<std::string> words = {Executable()};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  int pipe_fds[2];
  if (pipe2(pipe_fds, O_CLOEXEC) != 0) {
    ADD_FAILURE() << "pipe2";
    return;
  }
  const int errors = open(stderr_file_.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
  pid_ = fork();
  if (pid_ == 0) {
    if (chdir(directory.c_str()) != 0) _exit(126);
    unsetenv("RINGMASTER_COORDINATOR");
    dup2(pipe_fds[1], STDOUT_FILENO);
    dup2(errors, STDERR_FILENO);
    execv(argv[0], argv.data());
    _exit(127);
  }
  close(pipe_fds[1]);
  close(errors);
  out_ = fdopen(pipe_fds[0], "r");
}

ChildProcess::~ChildProcess() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  if (out_ != nullptr) fclose(out_);
}

std::optional<std::string> ChildProcess::ReadLine() {
  char* buffer = nullptr;
  size_t capacity = 0;
  const ssize_t length = getline(&buffer, &capacity, out_);
  std::optional<std::string> line;
  if (length > 0) {
    line = std::string(buffer, static_cast<size_t>(length));
    if (line->back() == '\n') line->pop_back();
    lines_.push_back(*line);
  }
  free(buffer);
  return line;
}

void ChildProcess::Signal(int signal) { kill(pid_, signal); }

int ChildProcess::Wait() {
  while (ReadLine().has_value()) {
  }
  int status = 0;
  waitpid(pid_, &status, 0);
  pid_ = -1;
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

std::string ChildProcess::stderr_text() const {
  std::ifstream file(stderr_file_);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace ringmaster::cli
