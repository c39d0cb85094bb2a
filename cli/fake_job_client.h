// A coordinator that lives in the test: jobs are what the test puts in. Passes the same suite as the real client.
#ifndef RINGMASTER_CLI_FAKE_JOB_CLIENT_H_
#define RINGMASTER_CLI_FAKE_JOB_CLIENT_H_

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cli/exit_code.h"
#include "cli/job_client.h"
#include "common/mutex.h"
#include "common/version.h"

namespace ringmaster::cli {

class FakeJobClient final : public JobClient {
 public:
  // Test side. The newest state of a job is the last one put; Watch replays all of them, then waits for more.
  void PutState(const v1::JobStatus& status) {
    MutexLock lock(&mu_);
    jobs_[status.job_id()].states.push_back(status);
    changed_.SignalAll();
  }
  void PutLine(const std::string& job, const v1::LogLine& line) {
    MutexLock lock(&mu_);
    jobs_[job].lines.push_back(line);
  }
  // Every call fails with it from now on.
  void Break(const absl::Status& error) {
    MutexLock lock(&mu_);
    broken_ = error;
    changed_.SignalAll();
  }

  absl::StatusOr<std::string> Submit(const v1::JobSpec& spec, const std::string& request_id) override {
    MutexLock lock(&mu_);
    if (!broken_.ok()) return broken_;
    if (const auto it = requests_.find(request_id); it != requests_.end()) return it->second;
    const std::string id = absl::StrCat(spec.name(), "-", jobs_.size() + 1);
    v1::JobStatus status;
    status.set_job_id(id);
    status.set_name(spec.name());
    status.set_state(v1::JOB_STATE_PENDING);
    jobs_[id].states.push_back(status);
    jobs_[id].spec = spec;
    requests_[request_id] = id;
    return id;
  }

  absl::StatusOr<v1::PlanJobResponse> Plan(const v1::JobSpec& spec) override {
    MutexLock lock(&mu_);
    if (!broken_.ok()) return broken_;
    v1::PlanJobResponse plan;
    plan.set_waiting_reason("needs slots, none are alive");
    return plan;
  }

  absl::StatusOr<v1::GetJobResponse> Get(const std::string& job) override {
    MutexLock lock(&mu_);
    if (!broken_.ok()) return broken_;
    const auto it = jobs_.find(job);
    if (it == jobs_.end()) return absl::NotFoundError(absl::StrCat("no job ", job));
    v1::GetJobResponse response;
    *response.mutable_status() = it->second.states.back();
    *response.mutable_spec() = it->second.spec;
    return response;
  }

  absl::StatusOr<std::vector<v1::JobStatus>> List() override {
    MutexLock lock(&mu_);
    if (!broken_.ok()) return broken_;
    std::vector<v1::JobStatus> jobs;
    for (const auto& [id, job] : jobs_) jobs.push_back(job.states.back());
    return jobs;
  }

  absl::StatusOr<std::string> Cancel(const std::string& job) override {
    MutexLock lock(&mu_);
    if (!broken_.ok()) return broken_;
    const auto it = jobs_.find(job);
    if (it == jobs_.end()) return absl::NotFoundError(absl::StrCat("no job ", job));
    v1::JobStatus status = it->second.states.back();
    if (IsFinished(status.state())) return absl::FailedPreconditionError(absl::StrCat(job, " has finished"));
    status.set_state(v1::JOB_STATE_CANCELLED);
    it->second.states.push_back(status);
    changed_.SignalAll();
    return job;
  }

  absl::StatusOr<std::vector<v1::WorkerStatus>> ListWorkers() override { return std::vector<v1::WorkerStatus>(); }

  absl::StatusOr<v1::DialBackResponse> DialBack(const std::string& address) override {
    v1::DialBackResponse response;
    response.set_detail(absl::StrCat("this fake reaches nothing, not even ", address));
    return response;
  }

  absl::StatusOr<v1::GetVersionResponse> GetVersion() override {
    MutexLock lock(&mu_);
    if (!broken_.ok()) return broken_;
    v1::GetVersionResponse response;
    response.set_version(kVersion);
    return response;
  }

  absl::Status AwaitConnection(absl::Duration) override {
    MutexLock lock(&mu_);
    return broken_;
  }

  absl::Status Watch(const std::string& job, const std::function<void(const v1::JobStatus&)>& on_status) override {
    for (size_t next = 0;; ++next) {
      v1::JobStatus status;
      {
        MutexLock lock(&mu_);
        const auto it = jobs_.find(job);
        if (it == jobs_.end()) return absl::NotFoundError(absl::StrCat("no job ", job));
        while (broken_.ok() && !aborted_ && next == it->second.states.size()) changed_.WaitFor(&mu_, absl::Seconds(60));
        if (aborted_) return absl::CancelledError("stopped");
        if (!broken_.ok()) return broken_;
        status = it->second.states[next];
      }
      on_status(status);
      if (IsFinished(status.state())) return absl::OkStatus();
    }
  }

  absl::Status StreamLogs(const v1::StreamLogsRequest& request, const std::function<void(const v1::LogLine&)>& on_line) override {
    std::vector<v1::LogLine> lines;
    {
      MutexLock lock(&mu_);
      if (!broken_.ok()) return broken_;
      const auto it = jobs_.find(request.job());
      if (it == jobs_.end()) return absl::NotFoundError(absl::StrCat("no job ", request.job()));
      for (const v1::LogLine& line : it->second.lines) {
        if (!request.has_rank() || request.rank() == line.rank()) lines.push_back(line);
      }
    }
    const size_t tail = request.tail_lines() > 0 ? static_cast<size_t>(request.tail_lines()) : lines.size();
    for (size_t i = lines.size() - std::min(tail, lines.size()); i < lines.size(); ++i) on_line(lines[i]);
    return absl::OkStatus();
  }

  void Abort() override {
    MutexLock lock(&mu_);
    aborted_ = true;
    changed_.SignalAll();
  }

 private:
  struct Job {
    v1::JobSpec spec;
    std::vector<v1::JobStatus> states;
    std::vector<v1::LogLine> lines;
  };

  Mutex mu_;
  CondVar changed_;
  std::map<std::string, Job> jobs_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, std::string> requests_ ABSL_GUARDED_BY(mu_);
  absl::Status broken_ ABSL_GUARDED_BY(mu_);
  bool aborted_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace ringmaster::cli

#endif  // RINGMASTER_CLI_FAKE_JOB_CLIENT_H_
