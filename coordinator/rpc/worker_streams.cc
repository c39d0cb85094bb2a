#include "coordinator/rpc/worker_streams.h"

#include <deque>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "coordinator/rpc/convert.h"
#include "coordinator/rpc/grpc_status.h"
#include "coordinator/rpc/trainer_calls.h"

namespace ringmaster::coordinator {
namespace {

constexpr size_t kMostLinesPerMessage = 100'000;
constexpr size_t kAnswersPerMessage = 1 << 20;  // bytes, unless one alone is longer

}  // namespace

class WorkerStream final : public grpc::ServerBidiReactor<v1::WorkerMessage, v1::CoordinatorMessage>,
                           public std::enable_shared_from_this<WorkerStream> {
 public:
  WorkerStream(StreamId id, WorkerStreams* owner) : id_(id), owner_(owner) {}

  void Begin() { StartRead(&incoming_); }

  void Send(v1::CoordinatorMessage message) {
    {
      MutexLock lock(&mu_);
      if (closing_.has_value() || finished_) return;
      outgoing_.push_back(std::move(message));
    }
    WriteNext();
  }

  // Written with others by the next Flush.
  void Answer(uint64_t call, const absl::Status& status, std::string response) {
    v1::TrainerAnswer answer;
    answer.set_id(call);
    answer.set_code(static_cast<int>(status.code()));
    answer.set_message(std::string(status.message()));
    answer.set_response(std::move(response));
    {
      MutexLock lock(&mu_);
      if (closing_.has_value() || finished_) return;
      answers_.push_back(std::move(answer));
      if (answers_.size() > 1) return;  // it is noted already
    }
    owner_->NoteAnswers(shared_from_this());
  }

  void Flush() { WriteNext(); }

  // After what is queued.
  void Close(const absl::Status& status) {
    {
      MutexLock lock(&mu_);
      if (closing_.has_value()) return;
      closing_ = status;
    }
    WriteNext();
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      Ended(absl::OkStatus());
      return;
    }
    if (const absl::Status status = Take(); !status.ok()) {
      Ended(status);
      return;
    }
    StartRead(&incoming_);
  }

  void OnWriteDone(bool ok) override {
    {
      MutexLock lock(&mu_);
      writing_ = false;
      if (!ok) outgoing_.clear(), answers_.clear();
    }
    if (!ok) Ended(absl::OkStatus());
    WriteNext();
  }

  void OnCancel() override { Ended(absl::CancelledError("the worker hung up")); }

  void OnDone() override {
    // The last reference may go here; nothing of this object is touched afterwards.
    owner_->Forget(id_);
  }

 private:
  absl::Status Take() {
    Driver* const driver = owner_->driver_;
    const bool is_hello = incoming_.kind_case() == v1::WorkerMessage::kHello;
    if (is_hello == greeted_) {
      return absl::InvalidArgumentError(is_hello ? "a second Hello on one stream" : "the first message of a worker must be Hello");
    }
    switch (incoming_.kind_case()) {
      case v1::WorkerMessage::kHello: {
        absl::StatusOr<WorkerHello> hello = FromProto(incoming_.hello(), id_);
        if (!hello.ok()) return hello.status();
        greeted_ = true;
        driver->Post(*std::move(hello));
        return absl::OkStatus();
      }
      case v1::WorkerMessage::kHeartbeat: driver->Post(FromProto(incoming_.heartbeat(), id_)); return absl::OkStatus();
      case v1::WorkerMessage::kRankStarted: driver->Post(FromProto(incoming_.rank_started(), id_)); return absl::OkStatus();
      case v1::WorkerMessage::kRankExited: driver->Post(FromProto(incoming_.rank_exited(), id_)); return absl::OkStatus();
      case v1::WorkerMessage::kLogLines:
        if (incoming_.log_lines().lines_size() <= static_cast<int>(kMostLinesPerMessage)) {
          owner_->logs_->Append(JobId(incoming_.log_lines().job_id()), incoming_.log_lines());
        }
        return absl::OkStatus();
      case v1::WorkerMessage::kGoodbye:
        driver->Post(WorkerGoodbye{id_, incoming_.goodbye().reason().substr(0, 1000)});
        return absl::OkStatus();
      case v1::WorkerMessage::kTrainerCalls: TakeCalls(); return absl::OkStatus();
      case v1::WorkerMessage::KIND_NOT_SET: return absl::OkStatus();  // a newer worker's message
    }
    return absl::OkStatus();
  }

  void TakeCalls() {
    for (const v1::TrainerCall& call : incoming_.trainer_calls().calls()) {
      TakeTrainerCall(owner_->driver_, call.method(), call.request(),
                      [stream = shared_from_this(), id = call.id()](const absl::Status& status, std::string response) {
                        stream->Answer(id, status, std::move(response));
                      });
    }
    WriteNext();  // what was refused at once
  }

  // The stream is over, from whichever side.
  void Ended(const absl::Status& status) {
    bool tell = false;
    {
      MutexLock lock(&mu_);
      tell = !std::exchange(told_, true);
      if (!closing_.has_value()) closing_ = status;
    }
    if (tell && greeted_) owner_->driver_->Post(StreamClosed{id_});
    WriteNext();
  }

  void WriteNext() {
    absl::Status last;
    {
      MutexLock lock(&mu_);
      if (writing_ || finished_) return;
      if (outgoing_.empty() && !answers_.empty()) outgoing_.push_back(PackAnswers());
      if (outgoing_.empty()) {
        if (!closing_.has_value()) return;
        finished_ = true;
        last = *closing_;
      } else {
        writing_ = true;
        current_ = std::move(outgoing_.front());
        outgoing_.pop_front();
      }
      if (!finished_) {
        StartWrite(&current_);  // only asks gRPC to write: OnWriteDone comes on a thread of its own
        return;
      }
    }
    Finish(ToGrpc(last));
  }

  v1::CoordinatorMessage PackAnswers() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    v1::CoordinatorMessage message;
    size_t bytes = 0;
    while (!answers_.empty() && (bytes == 0 || bytes + answers_.front().response().size() <= kAnswersPerMessage)) {
      bytes += answers_.front().ByteSizeLong();
      *message.mutable_trainer_answers()->add_answers() = std::move(answers_.front());
      answers_.pop_front();
    }
    return message;
  }

  const StreamId id_;
  WorkerStreams* const owner_;

  // Reading: one callback at a time.
  v1::WorkerMessage incoming_;
  bool greeted_ = false;

  Mutex mu_;
  std::deque<v1::CoordinatorMessage> outgoing_ ABSL_GUARDED_BY(mu_);
  std::deque<v1::TrainerAnswer> answers_ ABSL_GUARDED_BY(mu_);  // after outgoing_
  v1::CoordinatorMessage current_;                              // being written
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
  bool told_ ABSL_GUARDED_BY(mu_) = false;
  std::optional<absl::Status> closing_ ABSL_GUARDED_BY(mu_);
};

grpc::ServerBidiReactor<v1::WorkerMessage, v1::CoordinatorMessage>* WorkerStreams::Attach(grpc::CallbackServerContext*) {
  std::shared_ptr<WorkerStream> stream;
  bool stopping = false;
  {
    MutexLock lock(&mu_);
    const StreamId id(next_stream_++);
    stream = std::make_shared<WorkerStream>(id, this);
    streams_[id] = stream;
    stopping = stopping_;
  }
  stream->Begin();
  if (stopping) stream->Close(absl::UnavailableError("the coordinator is stopping"));
  return stream.get();  // held by streams_ until OnDone
}

void WorkerStreams::Perform(const Effect& effect) {
  StreamId id;
  if (const auto* welcome = std::get_if<SendWelcome>(&effect)) id = welcome->stream;
  if (const auto* assign = std::get_if<SendAssign>(&effect)) id = assign->stream;
  if (const auto* stop = std::get_if<SendStop>(&effect)) id = stop->stream;
  if (const auto* seen = std::get_if<SendExitSeen>(&effect)) id = seen->stream;
  const auto* close = std::get_if<CloseStream>(&effect);
  if (close != nullptr) id = close->stream;
  std::shared_ptr<WorkerStream> stream;
  {
    MutexLock lock(&mu_);
    const auto it = streams_.find(id);
    if (it == streams_.end()) return;
    stream = it->second;
  }
  if (close != nullptr) {
    stream->Close(close->status);
  } else {
    stream->Send(ToProto(effect));
  }
}

void WorkerStreams::NoteAnswers(std::shared_ptr<WorkerStream> stream) {
  MutexLock lock(&mu_);
  answered_.push_back(std::move(stream));
}

void WorkerStreams::Flush() {
  std::vector<std::shared_ptr<WorkerStream>> answered;
  {
    MutexLock lock(&mu_);
    answered.swap(answered_);
  }
  for (const auto& stream : answered) stream->Flush();
}

void WorkerStreams::Stop() {
  std::vector<std::shared_ptr<WorkerStream>> streams;
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    for (const auto& [id, stream] : streams_) streams.push_back(stream);
  }
  for (const auto& stream : streams) stream->Close(absl::UnavailableError("the coordinator is stopping"));
}

void WorkerStreams::Forget(StreamId id) {
  std::shared_ptr<WorkerStream> last;  // dies outside of the lock
  MutexLock lock(&mu_);
  const auto it = streams_.find(id);
  if (it == streams_.end()) return;
  last = std::move(it->second);
  streams_.erase(it);
}

}  // namespace ringmaster::coordinator
