// WorkerService: one reactor per attached worker. What workers say becomes events for the driver; what the core wants to tell them
// is queued and written in order.
#ifndef RINGMASTER_COORDINATOR_RPC_WORKER_STREAMS_H_
#define RINGMASTER_COORDINATOR_RPC_WORKER_STREAMS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "common/mutex.h"
#include "coordinator/core/effects.h"
#include "coordinator/driver.h"
#include "coordinator/log_store.h"
#include "proto/worker_service.grpc.pb.h"

namespace ringmaster::coordinator {

class WorkerStream;

// Thread-safe. Outlives the server that it is registered with.
class WorkerStreams final : public v1::WorkerService::CallbackService {
 public:
  WorkerStreams(Driver* driver, LogStore* logs) : driver_(driver), logs_(logs) {}

  grpc::ServerBidiReactor<v1::WorkerMessage, v1::CoordinatorMessage>* Attach(grpc::CallbackServerContext* context) override;

  // SendWelcome, SendAssign, SendStop, SendExitSeen or CloseStream. A stream that has ended meanwhile is none: its worker attaches
  // anew.
  void Perform(const Effect& effect);

  // Writes the answers to trainers' calls that came since the last time.
  void Flush();

  // Ends every stream with UNAVAILABLE, also those that come later.
  void Stop();

 private:
  friend class WorkerStream;
  void Forget(StreamId stream);
  void NoteAnswers(std::shared_ptr<WorkerStream> stream);

  Driver* const driver_;
  LogStore* const logs_;
  Mutex mu_;
  uint64_t next_stream_ ABSL_GUARDED_BY(mu_) = 1;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::map<StreamId, std::shared_ptr<WorkerStream>> streams_ ABSL_GUARDED_BY(mu_);
  std::vector<std::shared_ptr<WorkerStream>> answered_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ringmaster::coordinator

#endif  // RINGMASTER_COORDINATOR_RPC_WORKER_STREAMS_H_
