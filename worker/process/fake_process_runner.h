// A ProcessRunner without processes: it understands some verbs of worker/testing/rank_program.cc (out, err, exit, kill, wait,
// stubborn) and behaves as the real one would with that program.
#ifndef RINGMASTER_WORKER_PROCESS_FAKE_PROCESS_RUNNER_H_
#define RINGMASTER_WORKER_PROCESS_FAKE_PROCESS_RUNNER_H_

#include <map>
#include <string>
#include <vector>

#include "common/file_descriptor.h"
#include "worker/process/process_runner.h"

namespace ringmaster {

class FakeProcessRunner final : public ProcessRunner {
 public:
  // program: the one path that exists.
  explicit FakeProcessRunner(std::string program);

  void Start(ProcessId id, const ProcessSpec& spec) override;
  void Terminate(ProcessId id) override;
  void Kill(ProcessId id) override;
  void Destroy(ProcessId id) override;
  int poll_fd() const override { return ready_.get(); }
  std::vector<ProcessEvent> Poll() override;

  // What was started, for tests of the caller.
  const std::map<ProcessId, ProcessSpec>& started() const { return started_; }
  // What has come on its standard input so far, if the spec has one.
  std::string ReadInput(ProcessId id);

 private:
  void Emit(ProcessId id, decltype(ProcessEvent::what) what);
  void EndBySignal(ProcessId id, int signal);

  const std::string program_;
  FileDescriptor ready_;  // an eventfd
  std::map<ProcessId, ProcessSpec> started_;
  std::map<ProcessId, FileDescriptor> inputs_;
  std::map<ProcessId, bool> running_;  // value: ignores SIGTERM
  std::vector<ProcessEvent> events_;
};

}  // namespace ringmaster

#endif  // RINGMASTER_WORKER_PROCESS_FAKE_PROCESS_RUNNER_H_
