#include "worker/process/fake_process_runner.h"

#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <utility>

#include "common/exit_codes.h"

namespace ringmaster {

FakeProcessRunner::FakeProcessRunner(std::string program)
    : program_(std::move(program)), ready_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

void FakeProcessRunner::Start(ProcessId id, const ProcessSpec& spec) {
  started_[id] = spec;
  if (spec.input_fd >= 0) inputs_[id] = FileDescriptor(dup(spec.input_fd));
  if (spec.command[0] != program_) {
    Emit(id, process_event::Exited{.exit_code = kExitFailed,
                                   .error = "cannot execute " + spec.command[0] + ": No such file or directory"});
    return;
  }
  Emit(id, process_event::Started{1000 + id.value()});
  running_[id] = false;
  for (size_t i = 1; i < spec.command.size(); ++i) {
    const std::string& verb = spec.command[i];
    const std::string argument = i + 1 < spec.command.size() ? spec.command[i + 1] : "";
    if (verb == "wait" || verb == "await") return;
    if (verb == "stubborn") {
      running_[id] = true;
      Emit(id, process_event::Output{false, "stubborn\n"});
      continue;
    }
    ++i;
    if (verb == "out" || verb == "err") Emit(id, process_event::Output{verb == "err", argument + "\n"});
    if (verb == "kill") return EndBySignal(id, std::atoi(argument.c_str()));
    if (verb == "exit") {
      running_.erase(id);
      return Emit(id, process_event::Exited{.exit_code = std::atoi(argument.c_str())});
    }
  }
  running_.erase(id);
  Emit(id, process_event::Exited{});
}

std::string FakeProcessRunner::ReadInput(ProcessId id) {
  std::string bytes;
  char buffer[4096];
  ssize_t count = 0;
  while ((count = recv(inputs_.at(id).get(), buffer, sizeof(buffer), MSG_DONTWAIT)) > 0)
    bytes.append(buffer, static_cast<size_t>(count));
  return bytes;
}

void FakeProcessRunner::Terminate(ProcessId id) {
  if (const auto found = running_.find(id); found != running_.end() && !found->second) EndBySignal(id, SIGTERM);
}

void FakeProcessRunner::Kill(ProcessId id) {
  if (running_.contains(id)) EndBySignal(id, SIGKILL);
}

void FakeProcessRunner::Destroy(ProcessId id) { Kill(id); }

std::vector<ProcessEvent> FakeProcessRunner::Poll() {
  uint64_t count = 0;
  (void)!read(ready_.get(), &count, sizeof(count));
  return std::exchange(events_, {});
}

void FakeProcessRunner::EndBySignal(ProcessId id, int signal) {
  running_.erase(id);
  Emit(id, process_event::Exited{.exit_code = kExitSignalBase + signal, .signal = signal});
}

void FakeProcessRunner::Emit(ProcessId id, decltype(ProcessEvent::what) what) {
  events_.push_back({id, std::move(what)});
  const uint64_t one = 1;
  (void)!write(ready_.get(), &one, sizeof(one));
}

}  // namespace ringmaster
