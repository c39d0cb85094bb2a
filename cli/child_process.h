// The real executables for end-to-end tests: started, read line by line, signalled, waited for. Waits are bounded by the test's own
// time-out.
#ifndef RINGMASTER_CLI_CHILD_PROCESS_H_
#define RINGMASTER_CLI_CHILD_PROCESS_H_

#include <sys/types.h>

#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace ringmaster::cli {

// Kills and reaps the process when destroyed.
class ChildProcess {
 public:
  // `arguments` follow the ringmaster executable of this build; it starts in `directory`.
  ChildProcess(const std::vector<std::string>& arguments, const std::filesystem::path& directory);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  // The next line of stdout without its end; nothing at its end.
  std::optional<std::string> ReadLine();
  void Signal(int signal);
  // Reads the rest of stdout, then returns the exit code, 128 + signal for signals.
  int Wait();

  const std::vector<std::string>& lines() const { return lines_; }  // of stdout, as far as read
  std::string stderr_text() const;                                  // as far as written

 private:
  pid_t pid_ = -1;
  std::FILE* out_ = nullptr;
  std::filesystem::path stderr_file_;
  std::vector<std::string> lines_;
};

}  // namespace ringmaster::cli

#endif  // RINGMASTER_CLI_CHILD_PROCESS_H_
