// The two NCCL communicators of one NcclCommunicator, who is inside NCCL with them, and how they end.
//
// `control` does not block and is made first. `data` is made from it and carries out operations in the caller, which is fast and
// may block for ever: when ranks connect at their first operation, or behind a device whose queue is full. Both share the flags by
// which NCCL gives up, so that aborting `control` ends what `data` does on the device and in a caller. A thread of its own does
// that: after the first error, or when a call is not back at its deadline. Only when nobody is inside it any more is each of them
// freed.
//
// Thread-safe, but for the calls that say otherwise. A thread that hangs in NCCL can be neither joined nor stopped: it is left to
// the end of the process, which is what whoever sees DEADLINE_EXCEEDED from Wait should bring about.
#ifndef RINGMASTER_COLLECTIVES_NCCL_NCCL_GUARD_H_
#define RINGMASTER_COLLECTIVES_NCCL_NCCL_GUARD_H_

#include <cstdint>
#include <memory>
#include <string>
#include <thread>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "collectives/nccl/nccl_api.h"
#include "common/clock.h"
#include "common/mutex.h"

namespace ringmaster {

class NcclGuard {
 public:
  // `api` and `clock` must outlive the process's last abort. `name`: "rank 0 of group data.0 (2 ranks)", for errors.
  NcclGuard(NcclApi& api, const Clock& clock, int device, std::string name);
  ~NcclGuard();  // after Stop or Wait

  // Begins the thread. Once, before everything else.
  void Start();

  // The issuing thread's: who makes and frees the communicators writes them here, within UseControl. `data` is NCCL's to write
  // until `control` is ready again.
  NcclComm& control() { return shared_->control; }
  NcclComm& data() { return shared_->data; }

  // Runs `use` unless there is an error; neither communicator is freed meanwhile. What it returns becomes the error, if it is the
  // first. Returns that. `use` calls nothing that blocks.
  absl::Status UseControl(absl::FunctionRef<absl::Status()> use);
  absl::Status UseData(absl::FunctionRef<absl::Status()> use);

  // What the issuing thread calls with `data` and may block. `what` lives as long as the process.
  struct Call {
    const char* what = "";
    uint64_t sequence = 0;
    absl::Time deadline = absl::InfiniteFuture();
  };
  // As UseData. DEADLINE_EXCEEDED: `use` was not back in time, and was ended by the abort.
  absl::Status CallData(const Call& call, absl::FunctionRef<absl::Status()> use);

  // The first error stays. Returns it.
  absl::Status Fail(absl::Status status);
  // Ends early with an error.
  void Pause(absl::Duration pause);

  // A healthy end: true when there was no error, and then there will be no abort; later uses get `closed`.
  bool Stop(absl::Status closed);

  // What the abort said; OK where there was none. DEADLINE_EXCEEDED: it has not returned.
  absl::Status Wait(absl::Duration timeout);

 private:
  // Shared with the thread, which may outlive this.
  struct Shared {
    NcclComm control = nullptr;  // written while control_users > 0, read by the thread when it is 0
    NcclComm data = nullptr;
    Mutex mu;
    CondVar changed;
    int control_users ABSL_GUARDED_BY(mu) = 0;
    int data_users ABSL_GUARDED_BY(mu) = 0;
    absl::Status broken ABSL_GUARDED_BY(mu);
    bool stopped ABSL_GUARDED_BY(mu) = false;
    Call call ABSL_GUARDED_BY(mu);                                      // the one that is under way
    absl::Time next_look ABSL_GUARDED_BY(mu) = absl::InfiniteFuture();  // of the thread, at `call`
    bool done ABSL_GUARDED_BY(mu) = false;                              // the abort has returned
    absl::Status aborted ABSL_GUARDED_BY(mu);                           // what it said
  };
  // What the thread needs of this.
  struct Context {
    NcclApi& api;
    const Clock& clock;
    const int device;
    const std::string name;
  };

  absl::Status Use(int Shared::*users, const Call* call, absl::FunctionRef<absl::Status()> use);
  static void Run(const Context& context, Shared& shared);
  static bool AwaitError(const Context& context, Shared& shared);
  static absl::Status AbortUnused(const Context& context, Shared& shared, int Shared::*users, NcclComm Shared::*comm);

  const std::shared_ptr<const Context> context_;
  const std::shared_ptr<Shared> shared_ = std::make_shared<Shared>();
  std::unique_ptr<std::thread> thread_;  // null: not started, or left alone
};

}  // namespace ringmaster

#endif  // RINGMASTER_COLLECTIVES_NCCL_NCCL_GUARD_H_
