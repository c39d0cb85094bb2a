#include <grpcpp/grpcpp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <deque>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/check.h"
#include "common/file_descriptor.h"
#include "common/mutex.h"
#include "proto/worker_service.grpc.pb.h"
#include "worker/rpc/coordinator_stream.h"

namespace ringmaster {

namespace {

// Beyond this the other side is not reading: better a new connection than memory without a bound.
constexpr size_t kMaxQueuedMessages = 4096;

// From gRPC's threads to the driver's.
class EventQueue {
 public:
  explicit EventQueue(FileDescriptor ready) : ready_(std::move(ready)) {}

  void Push(StreamEvent event) {
    {
      MutexLock lock(&mu_);
      events_.push_back(std::move(event));
    }
    Wake();
  }

  void PushReadingEnded() {
    {
      MutexLock lock(&mu_);
      reading_ended_ = true;
    }
    Wake();
  }

  std::vector<StreamEvent> TakeAll(bool* reading_ended) {
    uint64_t count = 0;
    (void)!read(ready_.get(), &count, sizeof(count));
    MutexLock lock(&mu_);
    *reading_ended = std::exchange(reading_ended_, false);
    return std::exchange(events_, {});
  }

  int fd() const { return ready_.get(); }

 private:
  void Wake() {
    const uint64_t one = 1;
    (void)!write(ready_.get(), &one, sizeof(one));
  }

  const FileDescriptor ready_;
  Mutex mu_;
  bool reading_ended_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<StreamEvent> events_ ABSL_GUARDED_BY(mu_);
};

// A fresh connection per attempt: gRPC's own back-off would make us wait for its clock.
std::shared_ptr<grpc::Channel> NewChannel(const std::string& coordinator) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 2000);  // = the time one connection attempt may take
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);
  // A cut cable says nothing: these pings do, within 5 s.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 2000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 3000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetMaxReceiveMessageSize(64 << 20);     // answers for trainers: manifests' shard details
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);  // peers are inside; a proxy of the environment is for the outside
  return grpc::CreateCustomChannel(coordinator, grpc::InsecureChannelCredentials(), arguments);
}

// One stream. The owner destroys it after its Closed event, from the driver's thread: the last channel of a process must not go on
// a thread of gRPC, which would have to join itself.
class Attempt final : public grpc::ClientBidiReactor<v1::WorkerMessage, v1::CoordinatorMessage> {
 public:
  Attempt(const std::string& coordinator, std::shared_ptr<EventQueue> events)
      : events_(std::move(events)), stub_(v1::WorkerService::NewStub(NewChannel(coordinator))) {}

  void Begin() {
    stub_->async()->Attach(&context_, this);
    // Writes start on the driver's thread: without a hold OnDone could come in between. The same thread lets go of it.
    AddHold();
    StartRead(&incoming_);
    StartCall();
  }

  void Send(v1::WorkerMessage message) {
    bool start = false;
    bool overflow = false;
    {
      MutexLock lock(&mu_);
      if (ended_ || finish_) return;
      outgoing_.push_back(std::move(message));
      overflow = outgoing_.size() > kMaxQueuedMessages;
      start = !std::exchange(writing_, true);
    }
    if (overflow) context_.TryCancel();
    if (start) WriteNext();
  }

  bool idle() {
    MutexLock lock(&mu_);
    return !writing_;
  }

  void FinishSending() {
    {
      MutexLock lock(&mu_);
      if (ended_ || std::exchange(finish_, true) || writing_) return;
      writing_ = true;
    }
    WriteNext();
  }

  void Cancel() { context_.TryCancel(); }

  // Once, after reading has ended: OnDone may come from now on.
  void LetGo() { RemoveHold(); }

 private:
  // writing_ is ours while this runs.
  void WriteNext() {
    const v1::WorkerMessage* next = nullptr;
    bool finish = false;
    bool idle = false;
    {
      MutexLock lock(&mu_);
      if (ended_) {
        writing_ = false;
        return;
      }
      if (!outgoing_.empty()) {
        next = &outgoing_.front();
      } else if (finish_) {
        finish = true;
      } else {
        writing_ = false;
        idle = true;
      }
    }
    if (next != nullptr) StartWrite(next);
    if (finish) StartWritesDone();
    if (idle) events_->Push(stream_event::Idle{});
  }

  void OnReadDone(bool ok) override {
    if (ok) {
      events_->Push(stream_event::Received{std::move(incoming_)});
      incoming_.Clear();
      StartRead(&incoming_);
      return;
    }
    {
      MutexLock lock(&mu_);
      ended_ = true;
    }
    events_->PushReadingEnded();
  }

  void OnWriteDone(bool ok) override {
    {
      MutexLock lock(&mu_);
      outgoing_.pop_front();
      if (!ok) writing_ = false;
    }
    // A failed write means a failed stream: OnReadDone and OnDone say so.
    if (ok) WriteNext();
  }

  void OnDone(const grpc::Status& status) override {
    // As soon as the event is out this object may be gone.
    const std::shared_ptr<EventQueue> events = events_;
    events->Push(stream_event::Closed{absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message())});
  }

  const std::shared_ptr<EventQueue> events_;
  const std::unique_ptr<v1::WorkerService::Stub> stub_;
  grpc::ClientContext context_;
  v1::CoordinatorMessage incoming_;

  Mutex mu_;
  std::deque<v1::WorkerMessage> outgoing_ ABSL_GUARDED_BY(mu_);  // the front is being written while writing_
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool finish_ ABSL_GUARDED_BY(mu_) = false;
  bool ended_ ABSL_GUARDED_BY(mu_) = false;
};

class GrpcCoordinatorStream final : public CoordinatorStream {
 public:
  GrpcCoordinatorStream(std::string coordinator, FileDescriptor ready)
      : coordinator_(std::move(coordinator)), events_(std::make_shared<EventQueue>(std::move(ready))) {}

  ~GrpcCoordinatorStream() override {
    if (attempt_ == nullptr) return;
    attempt_->Cancel();
    pollfd wait{events_->fd(), POLLIN, 0};
    while (attempt_ != nullptr && poll(&wait, 1, 5000) > 0) Poll();
    // gRPC has not let go of it: a leak is better than a crash.
    if (attempt_ != nullptr) (void)attempt_.release();
  }

  void Open() override {
    RM_CHECK(attempt_ == nullptr) << "a stream to " << coordinator_ << " is under way";
    attempt_ = std::make_unique<Attempt>(coordinator_, events_);
    attempt_->Begin();
  }

  void Send(v1::WorkerMessage message) override {
    if (attempt_ != nullptr) attempt_->Send(std::move(message));
  }
  bool idle() const override { return attempt_ != nullptr && attempt_->idle(); }
  void FinishSending() override {
    if (attempt_ != nullptr) attempt_->FinishSending();
  }
  void Cancel() override {
    if (attempt_ != nullptr) attempt_->Cancel();
  }

  int poll_fd() const override { return events_->fd(); }

  std::vector<StreamEvent> Poll() override {
    bool reading_ended = false;
    std::vector<StreamEvent> events = events_->TakeAll(&reading_ended);
    if (reading_ended) attempt_->LetGo();
    for (const StreamEvent& event : events) {
      if (std::holds_alternative<stream_event::Closed>(event)) attempt_ = nullptr;
    }
    return events;
  }

 private:
  const std::string coordinator_;
  const std::shared_ptr<EventQueue> events_;
  std::unique_ptr<Attempt> attempt_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<CoordinatorStream>> CreateGrpcCoordinatorStream(const std::string& coordinator) {
  FileDescriptor ready(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!ready.valid()) return absl::ResourceExhaustedError(absl::StrCat("eventfd: ", std::strerror(errno)));
  return std::make_unique<GrpcCoordinatorStream>(coordinator, std::move(ready));
}

}  // namespace ringmaster
