// Collectives between GPUs: one rank drives one device. All buffers are memory of that device.
//
// Threads: as Communicator; Enqueue and WaitFor belong to the thread that issues operations. NCCL takes operations in that thread;
// a thread of this (nccl_guard.h) ends such a call at its deadline, at an error and at Abort.
//
// Two ways to use it. The operations of Communicator enqueue on a stream of its own and wait for their end. Enqueue puts an
// operation on a stream of the caller and returns; the caller goes on with the device's work and asks with WaitFor where it must
// know.
//
// What differs from Communicator's promises:
//   - Reductions come out of NCCL: the same bits on all ranks, but not the same for all sizes and versions, and f16 and bf16 may be
//     rounded at each step.
//   - NCCL compares no calls and, within a host, notices no dead peer. Mismatched calls and lost peers end with DEADLINE_EXCEEDED
//   on
//     those that wait (or with wrong data); the message has the operation's sequence number, which `ringmaster flight-record` shows
//     for every rank.
//   - Register gives device memory of this process.
// After an error ncclCommAbort runs at once; Close tells how it went.
#ifndef RINGMASTER_COLLECTIVES_NCCL_NCCL_COMMUNICATOR_H_
#define RINGMASTER_COLLECTIVES_NCCL_NCCL_COMMUNICATOR_H_

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "collectives/communicator.h"
#include "collectives/nccl/nccl_api.h"
#include "collectives/nccl/nccl_guard.h"
#include "collectives/rendezvous.h"
#include "common/clock.h"

namespace ringmaster {

struct NcclCommunicatorOptions {
  int rank = 0;
  int size = 1;
  int device = 0;
  std::string group = "world";  // one name, one communicator in an epoch: keys of the rendezvous begin with nccl/GROUP/
  absl::Duration close_timeout = absl::Seconds(10);  // of the destructor
  // Told of the communicator before it connects, so that another thread can Abort() a Create that waits for peers; told null, on
  // the same thread, when that Create fails. May be empty.
  std::function<void(Communicator*)> reachable = {};
};

class NcclCommunicator final : public Communicator {
 public:
  // Collective: rank 0 mints the id and publishes it, all ranks say that they are ready, then NCCL connects them. `api` must live
  // as long as the process (an abort may hang), `clock` too. DEADLINE_EXCEEDED: names the ranks that did not come, or the step of
  // NCCL that took too long. Others: Rendezvous, NcclApi.
  static absl::StatusOr<std::unique_ptr<NcclCommunicator>> Create(const NcclCommunicatorOptions& options, NcclApi& api,
                                                                  Rendezvous& rendezvous, absl::Duration timeout,
                                                                  const Clock& clock);
  ~NcclCommunicator() override;

  int rank() const override { return options_.rank; }
  int size() const override { return options_.size; }
  void Abort(std::string_view reason) override;
  std::string Explain(const Call& call) const override;
  absl::StatusOr<RegisteredBuffer> Register(int64_t bytes, absl::Duration timeout) override;
  absl::StatusOr<std::unique_ptr<Communicator>> Split(int colour, int key, absl::Duration timeout) override;

  // Returns when NCCL has taken the operation; `timeout` is for that: the first one of a kind connects the ranks. An all-to-all is
  // not in place.
  absl::Status Enqueue(const Call& call, CudaStream stream, absl::Duration timeout);
  // Several at once: NCCL carries them out together.
  absl::Status EnqueueGroup(std::span<const Call> calls, CudaStream stream, absl::Duration timeout);
  // Returns when everything that `event` was recorded behind is done, or an error of this communicator, which is then aborted. So
  // it is with what `also` returns, which is asked again and again: the error of another group that the event's work needs. May be
  // empty.
  absl::Status WaitFor(CudaEvent event, absl::Duration timeout, const std::function<absl::Status()>& also = {});
  // The error that this communicator has met, if any; asks NCCL.
  absl::Status Check();

  // Ends the communicator: NCCL's own way when it is healthy, else by its abort. Later operations return FAILED_PRECONDITION.
  // DEADLINE_EXCEEDED: NCCL did not return; end this process.
  absl::Status Close(absl::Duration timeout);

 protected:
  absl::Status Execute(const Call& call, absl::Duration timeout) override;
  absl::Status ExchangePointToPoint(std::span<const Call> calls, absl::Duration timeout) override;
  bool OnHost() const override { return false; }

 private:
  NcclCommunicator(const NcclCommunicatorOptions& options, NcclApi& api, const Clock& clock);

  absl::Status Connect(const NcclId& id, absl::Time deadline);
  absl::Status Finalize(absl::Time deadline);
  absl::Status MakeOwnStream();
  absl::Status FreeOwnStream();

  // nccl_enqueue.cc: tells NCCL what to do.
  absl::Status EnqueueTogether(std::span<const Call> calls, CudaStream stream);
  absl::Status EnqueueParts(const Call& call, CudaStream stream);
  absl::Status SendPart(const Call& call, int64_t begin, int64_t count, int peer, CudaStream stream);
  absl::Status ReceivePart(const Call& call, int64_t begin, int64_t count, int peer, CudaStream stream);
  absl::Status CopyPart(const Call& call, int64_t from, int64_t to, int64_t count, CudaStream stream);

  absl::Status RunOnOwnStream(const char* operation, const std::string& what, absl::Duration timeout,
                              absl::FunctionRef<absl::Status()> enqueue);
  absl::Status CopyInput(Call* call);

  // All ranks' `mine`, by rank.
  absl::StatusOr<std::vector<char>> TellAll(std::span<const char> mine, absl::Duration timeout);

  // nccl_wait.cc
  std::string Place() const;  // "rank 0 of group world (2 ranks)"
  using Done = absl::FunctionRef<absl::StatusOr<bool>()>;
  absl::Status WaitUntil(const std::string& what, absl::Time deadline, Done done);
  absl::Status WaitUntilReady(const std::string& what, absl::Time deadline);
  absl::Status WaitForEvent(const std::string& what, CudaEvent event, absl::Time deadline,
                            const std::function<absl::Status()>& also = {});

  NcclCommunicatorOptions options_;  // does not change once others know of this
  NcclApi& api_;
  const Clock& clock_;
  NcclGuard guard_;

  // The issuing thread's.
  CudaStream stream_ = nullptr;
  CudaEvent done_ = nullptr;
  void* barrier_ = nullptr;  // one byte
  void* copy_ = nullptr;     // the input of an all-to-all in place
  int64_t copy_bytes_ = 0;
  uint64_t sequence_ = 0;
  bool closed_ = false;
};

}  // namespace ringmaster

#endif  // RINGMASTER_COLLECTIVES_NCCL_NCCL_COMMUNICATOR_H_
