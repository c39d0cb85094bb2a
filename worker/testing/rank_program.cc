// What tests run as a rank. Verbs are carried out from left to right:
//   out TEXT | err TEXT   writes the text and a line end
//   env NAME              writes NAME=VALUE, or "NAME unset"
//   pids                  writes "pid N"
//   cpus                  writes the number of cores it may use
//   board STEP LOSS       writes both to the progress board
//   daemon                leaves a grandchild in its own session (double fork) behind; writes "daemon N"
//   child                 starts a child in the same group; writes "child N"
//   stubborn              ignores SIGTERM from now on; writes "stubborn"
//   flood LINES           writes that many lines
//   exit CODE | kill SIGNAL | wait (for ever)
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "common/environment.h"
#include "common/progress_board.h"

namespace {

void WaitForEver() {
  while (true) pause();
}

void WriteBoard(long step, double loss) {
  const char* fd = getenv(ringmaster::environment::kProgressBoardFd);
  if (fd == nullptr) std::exit(40);
  void* memory = mmap(nullptr, ringmaster::ProgressBoard::kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, std::atoi(fd), 0);
  if (memory == MAP_FAILED) std::exit(41);
  auto* board = static_cast<ringmaster::ProgressBoard*>(memory);
  if (board->magic != ringmaster::ProgressBoard::kMagic) std::exit(42);
  board->step = step;
  board->train_loss = loss;
  board->phase = ringmaster::TrainerPhase::kForward;
}

void StartDaemon() {
  int ends[2];
  if (pipe(ends) != 0) std::exit(43);
  const pid_t middle = fork();
  if (middle == 0) {
    setsid();
    if (const pid_t daemon = fork(); daemon != 0) {
      (void)!write(ends[1], &daemon, sizeof(daemon));
      _exit(0);
    }
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    WaitForEver();
  }
  pid_t daemon = 0;
  (void)!read(ends[0], &daemon, sizeof(daemon));
  waitpid(middle, nullptr, 0);
  std::printf("daemon %d\n", daemon);
}

}  // namespace

int main(int argc, char** argv) {
  setvbuf(stdout, nullptr, _IOLBF, 0);
  for (int i = 1; i < argc; ++i) {
    const char* verb = argv[i];
    auto is = [verb](const char* name) { return std::strcmp(verb, name) == 0; };
    auto next = [&]() -> const char* { return i + 1 < argc ? argv[++i] : ""; };
    if (is("out")) {
      std::printf("%s\n", next());
    } else if (is("err")) {
      std::fprintf(stderr, "%s\n", next());
    } else if (is("env")) {
      const char* name = next();
      const char* value = getenv(name);
      value == nullptr ? std::printf("%s unset\n", name) : std::printf("%s=%s\n", name, value);
    } else if (is("pids")) {
      std::printf("pid %d\n", getpid());
    } else if (is("cpus")) {
      cpu_set_t set;
      sched_getaffinity(0, sizeof(set), &set);
      std::printf("cpus %d\n", CPU_COUNT(&set));
    } else if (is("board")) {
      const long step = std::atol(next());
      WriteBoard(step, std::atof(next()));
    } else if (is("daemon")) {
      StartDaemon();
    } else if (is("child")) {
      const pid_t child = fork();
      if (child == 0) WaitForEver();
      std::printf("child %d\n", child);
    } else if (is("stubborn")) {
      signal(SIGTERM, SIG_IGN);
      std::printf("stubborn\n");
    } else if (is("flood")) {
      const long lines = std::atol(next());
      for (long line = 0; line < lines; ++line) std::printf("line %ld\n", line);
    } else if (is("exit")) {
      return std::atoi(next());
    } else if (is("kill")) {
      std::fflush(nullptr);
      const int number = std::atoi(next());
      if (number != SIGKILL && number != SIGSTOP) signal(number, SIG_DFL);  // a sanitizer's handler would exit with a code instead
      kill(getpid(), number);
    } else if (is("wait")) {
      WaitForEver();
    } else {
      std::fprintf(stderr, "rank_program: unknown verb %s\n", verb);
      return 99;
    }
  }
  return 0;
}
