#include "coordinator/rpc/stream_logs.h"

#include <deque>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/rpc/user_stream.h"

namespace ringmaster::coordinator {
namespace {

class LogStream final : public UserStream<v1::StreamLogsResponse>, public JobWatcher {
 public:
  LogStream(LogStore* logs, const v1::StreamLogsRequest& request) : logs_(logs), request_(request) {}

  ~LogStream() override {
    MutexLock lock(&mu_);
    if (subscription_.has_value()) logs_->Unsubscribe(*subscription_);
  }

  void Begin(const JobId& job, const std::weak_ptr<LogStream>& self) {
    {
      MutexLock lock(&mu_);
      job_ = job;
      if (request_.follow()) {
        subscription_ = logs_->Subscribe(job, [self] {
          if (const std::shared_ptr<LogStream> stream = self.lock()) stream->Wake();
        });
      }
    }
    Wake();
  }

  void OnJob(const JobEntry& entry, bool, absl::Time) override {
    if (!IsFinished(entry.job.state)) return;
    {
      MutexLock lock(&mu_);
      finished_ = true;
    }
    Wake();
  }

  void OnStop() override { End(absl::UnavailableError("the coordinator is stopping")); }

 private:
  Next Produce() override {
    JobId job;
    bool last = false;
    {
      MutexLock lock(&mu_);
      job = job_;
      last = finished_ || !request_.follow();  // asked before reading: what came until now is read below
    }
    if (job.empty()) return {};
    if (!tail_found_ && request_.tail_lines() > 0) {
      if (const absl::Status status = FindTail(job); !status.ok()) return {.message = {}, .end = status};
    }
    tail_found_ = true;
    while (true) {
      absl::StatusOr<LogStore::Batch> batch = logs_->Read(job, offset_);
      if (!batch.ok()) return {.message = {}, .end = batch.status()};
      offset_ = batch->next_offset;
      Next next;
      for (v1::LogLine& line : batch->lines) {
        if (!Wanted(line) || skip_ > 0) {
          if (Wanted(line)) --skip_;
          continue;
        }
        if (!next.message.has_value()) next.message.emplace();
        *next.message->add_lines() = std::move(line);
      }
      if (next.message.has_value()) return next;
      if (!batch->at_end) continue;
      if (last) next.end = absl::OkStatus();
      return next;
    }
  }

  bool Wanted(const v1::LogLine& line) const { return !request_.has_rank() || line.rank() == request_.rank(); }

  // How many wanted lines come before the last tail_lines.
  absl::Status FindTail(const JobId& job) {
    int64_t wanted = 0;
    int64_t offset = 0;
    while (true) {
      const absl::StatusOr<LogStore::Batch> batch = logs_->Read(job, offset);
      if (!batch.ok()) return batch.status();
      for (const v1::LogLine& line : batch->lines) wanted += Wanted(line) ? 1 : 0;
      offset = batch->next_offset;
      if (batch->at_end) break;
    }
    skip_ = std::max<int64_t>(0, wanted - request_.tail_lines());
    return absl::OkStatus();
  }

  LogStore* const logs_;
  const v1::StreamLogsRequest request_;

  // Of Produce alone.
  bool tail_found_ = false;
  int64_t skip_ = 0;
  int64_t offset_ = 0;

  Mutex mu_;
  JobId job_ ABSL_GUARDED_BY(mu_);
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
  std::optional<LogStore::Subscription> subscription_ ABSL_GUARDED_BY(mu_);
};

}  // namespace

grpc::ServerWriteReactor<v1::StreamLogsResponse>* StartStreamLogs(Driver* driver, JobWatchers* watchers, LogStore* logs,
                                                                  const v1::StreamLogsRequest& request) {
  const auto stream = std::make_shared<LogStream>(logs, request);
  stream->Hold(stream);
  driver->Read(
      [=](const Machine& machine, absl::Time now) {
        const absl::StatusOr<const JobEntry*> entry = machine.FindJob(request.job());
        if (!entry.ok()) {
          stream->End(entry.status());
          return;
        }
        const Job& job = (*entry)->job;
        if (request.has_rank() && (request.rank() < 0 || request.rank() >= job.spec.world_size)) {
          stream->End(absl::InvalidArgumentError(absl::StrCat("rank ", request.rank(), " is not in job ", job.id.value(),
                                                              ": it has ranks 0 to ", job.spec.world_size - 1)));
          return;
        }
        watchers->Add(job.id, std::static_pointer_cast<JobWatcher>(stream));
        stream->OnJob(**entry, false, now);
        stream->Begin(job.id, stream);
      },
      [=] { stream->End(absl::UnavailableError("the coordinator is stopping")); });
  return stream.get();
}

}  // namespace ringmaster::coordinator
