// A server stream to a user that lives until gRPC is done with it, writes one message at a time and ends once.
// The subclass says what comes next whenever there may be something new.
#ifndef RINGMASTER_COORDINATOR_RPC_USER_STREAM_H_
#define RINGMASTER_COORDINATOR_RPC_USER_STREAM_H_

#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "common/mutex.h"
#include "coordinator/rpc/grpc_status.h"
#include "grpcpp/support/server_callback.h"

namespace ringmaster::coordinator {

template <typename Response>
class UserStream : public grpc::ServerWriteReactor<Response> {
 public:
  // Either a message to write, or the end, or (neither) wait for Wake().
  struct Next {
    std::optional<Response> message;
    std::optional<absl::Status> end;
  };

  // Keeps the stream alive until OnDone. Before anything else.
  void Hold(std::shared_ptr<UserStream> self) { self_ = std::move(self); }

  // There may be something new. From any thread.
  void Wake() {
    {
      MutexLock lock(&mu_);
      woken_ = true;
      if (busy_ || ended_) return;
      busy_ = true;
    }
    Advance();
  }

  // Ends the stream as soon as nothing is being written. From any thread.
  void End(const absl::Status& status) {
    {
      MutexLock lock(&mu_);
      if (!end_.has_value()) end_ = status;
    }
    Wake();
  }

  void OnWriteDone(bool ok) override {
    if (!ok) {
      MutexLock lock(&mu_);
      if (!end_.has_value()) end_ = absl::CancelledError("the client is gone");
    }
    Advance();
  }

  void OnCancel() override { End(absl::CancelledError("the client hung up")); }

  void OnDone() override {
    const std::shared_ptr<UserStream> last = std::move(self_);  // this object may go at the end of this line's scope
  }

 protected:
  // Called by one thread at a time, without a lock.
  virtual Next Produce() = 0;

 private:
  void Advance() {
    while (true) {
      Next next;
      {
        MutexLock lock(&mu_);
        woken_ = false;
        next.end = end_;
      }
      if (!next.end.has_value()) next = Produce();
      if (next.message.has_value()) {
        current_ = *std::move(next.message);
        this->StartWrite(&current_);
        return;  // busy until OnWriteDone
      }
      {
        MutexLock lock(&mu_);
        if (!next.end.has_value()) {
          if (woken_) continue;
          busy_ = false;
          return;
        }
        ended_ = true;
      }
      this->Finish(ToGrpc(*next.end));
      return;
    }
  }

  std::shared_ptr<UserStream> self_;
  Response current_;
  Mutex mu_;
  bool busy_ ABSL_GUARDED_BY(mu_) = false;
  bool woken_ ABSL_GUARDED_BY(mu_) = false;
  bool ended_ ABSL_GUARDED_BY(mu_) = false;
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ringmaster::coordinator

#endif  // RINGMASTER_COORDINATOR_RPC_USER_STREAM_H_
