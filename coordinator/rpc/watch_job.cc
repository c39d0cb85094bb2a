#include "coordinator/rpc/watch_job.h"

#include <memory>
#include <utility>

#include "coordinator/rpc/convert.h"
#include "coordinator/rpc/user_stream.h"

namespace ringmaster::coordinator {
namespace {

constexpr absl::Duration kProgressInterval = absl::Milliseconds(200);

class WatchJobStream final : public UserStream<v1::WatchJobResponse>, public JobWatcher {
 public:
  // A watcher that is slow gets the newest state, not every one; ends of epochs and failures are lists inside it, so none is lost.
  void OnJob(const JobEntry& entry, bool progress_only, absl::Time now) override {
    {
      MutexLock lock(&mu_);
      if (progress_only && now - last_progress_ < kProgressInterval) return;
      last_progress_ = now;
      newest_ = ToProto(entry);
      finished_ = IsFinished(entry.job.state);
    }
    Wake();
  }

  void OnStop() override { End(absl::UnavailableError("the coordinator is stopping")); }

 private:
  Next Produce() override {
    MutexLock lock(&mu_);
    Next next;
    if (newest_.has_value()) {
      next.message.emplace();
      *next.message->mutable_status() = *std::exchange(newest_, std::nullopt);
    } else if (finished_) {
      next.end = absl::OkStatus();
    }
    return next;
  }

  Mutex mu_;
  absl::Time last_progress_ ABSL_GUARDED_BY(mu_) = absl::InfinitePast();
  std::optional<v1::JobStatus> newest_ ABSL_GUARDED_BY(mu_);
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace

grpc::ServerWriteReactor<v1::WatchJobResponse>* StartWatchJob(Driver* driver, JobWatchers* watchers, const std::string& job) {
  const auto stream = std::make_shared<WatchJobStream>();
  stream->Hold(stream);
  driver->Read(
      [=](const Machine& machine, absl::Time now) {
        const absl::StatusOr<const JobEntry*> entry = machine.FindJob(job);
        if (!entry.ok()) {
          stream->End(entry.status());
          return;
        }
        watchers->Add((*entry)->job.id, std::static_pointer_cast<JobWatcher>(stream));
        stream->OnJob(**entry, false, now);
      },
      [=] { stream->End(absl::UnavailableError("the coordinator is stopping")); });
  return stream.get();
}

}  // namespace ringmaster::coordinator
