#include "worker/warm_spares.h"

#include <sched.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace ringmaster {
namespace {

// trainer/main.cc reads it: NAME=VALUE, each with a zero byte behind it, then the end of file.
bool TellEnvironment(const FileDescriptor& input, const std::vector<std::string>& environment) {
  std::string bytes;
  for (const std::string& variable : environment) bytes.append(variable).push_back('\0');
  // It fits into the socket's buffer or not at all: nobody waits here.
  return send(input.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
}

}  // namespace

absl::Status WarmSpares::Keep(const JobId& job, int count, ProcessSpec spec) {
  OfJob& of_job = jobs_[job];
  of_job.expires = absl::InfiniteFuture();
  if (of_job.environment != spec.environment) EndAll(of_job);
  of_job.environment = spec.environment;
  while (static_cast<int>(of_job.spares.size()) < count) RM_RETURN_IF_ERROR(StartOne(spec, &of_job.spares));
  return absl::OkStatus();
}

absl::Status WarmSpares::StartOne(ProcessSpec& spec, std::vector<Spare>* spares) {
  RM_ASSIGN_OR_RETURN(std::unique_ptr<SharedBoard> board, SharedBoard::Create());
  int ends[2];
  // Not a pipe: a write to one whose reader has died would kill the worker.
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return absl::ResourceExhaustedError(absl::StrCat("socket of a warm spare: ", std::strerror(errno)));
  }
  const FileDescriptor read_end(ends[0]);
  FileDescriptor write_end(ends[1]);
  spec.board_fd = board->fd();
  spec.input_fd = read_end.get();
  const ProcessId id = next_id_();
  spares->push_back({id, 0, std::move(board), std::move(write_end)});
  runner_->Start(id, spec);
  return absl::OkStatus();
}

std::optional<WarmSpares::Spare> WarmSpares::Take(const JobId& job, const std::vector<std::string>& environment,
                                                  const std::vector<int>& cpus) {
  const auto found = jobs_.find(job);
  if (found == jobs_.end()) return std::nullopt;
  std::vector<Spare>& spares = found->second.spares;
  const auto is_told = [&](const std::string& variable) {
    return std::find(environment.begin(), environment.end(), variable) != environment.end();
  };
  if (!std::all_of(found->second.environment.begin(), found->second.environment.end(), is_told)) return std::nullopt;
  const auto waiting = std::find_if(spares.begin(), spares.end(), [](const Spare& spare) { return spare.pid != 0; });
  if (waiting == spares.end()) return std::nullopt;
  Spare spare = std::move(*waiting);
  spares.erase(waiting);
  if (!cpus.empty()) {  // it has one thread yet, which all others will inherit from
    cpu_set_t set;
    CPU_ZERO(&set);
    for (const int cpu : cpus) CPU_SET(cpu, &set);
    (void)sched_setaffinity(static_cast<pid_t>(spare.pid), sizeof(set), &set);
  }
  if (!TellEnvironment(spare.input, environment)) {
    End(spare);
    return std::nullopt;
  }
  spare.input.Reset();
  return spare;
}

void WarmSpares::Expire(const JobId& job, absl::Time at) {
  if (const auto found = jobs_.find(job); found != jobs_.end()) found->second.expires = std::min(found->second.expires, at);
}

absl::Time WarmSpares::NextDeadline() const {
  absl::Time next = absl::InfiniteFuture();
  for (const auto& [job, of_job] : jobs_) next = std::min(next, of_job.expires);
  return next;
}

void WarmSpares::OnDeadline(absl::Time now) {
  for (auto it = jobs_.begin(); it != jobs_.end();) {
    if (it->second.expires > now) {
      ++it;
      continue;
    }
    EndAll(it->second);
    it = jobs_.erase(it);
  }
}

bool WarmSpares::Consume(const ProcessEvent& event) {
  const bool exited = std::holds_alternative<process_event::Exited>(event.what);
  if (ending_.contains(event.id)) {
    if (exited) ending_.erase(event.id);
    return true;
  }
  for (auto& [job, of_job] : jobs_) {
    const auto spare =
        std::find_if(of_job.spares.begin(), of_job.spares.end(), [&](const Spare& one) { return one.id == event.id; });
    if (spare == of_job.spares.end()) continue;
    if (const auto* started = std::get_if<process_event::Started>(&event.what)) spare->pid = started->pid;
    if (exited) of_job.spares.erase(spare);
    return true;
  }
  return false;
}

void WarmSpares::EndAll(OfJob& of_job) {
  for (Spare& spare : of_job.spares) End(spare);
  of_job.spares.clear();
}

void WarmSpares::End(Spare& spare) {
  ending_.insert(spare.id);
  spare.input.Reset();
  runner_->Kill(spare.id);
}

}  // namespace ringmaster
