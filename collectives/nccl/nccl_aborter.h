// Aborts one communicator of NCCL on a thread of its own, because ncclCommAbort blocks its caller, at times for ever.
//
// Thread-safe. A thread that hangs in NCCL cannot be joined nor stopped: it is left to the end of the process, which is what
// whoever sees DEADLINE_EXCEEDED from Wait should bring about.
#ifndef RINGMASTER_COLLECTIVES_NCCL_NCCL_ABORTER_H_
#define RINGMASTER_COLLECTIVES_NCCL_NCCL_ABORTER_H_

#include <memory>
#include <thread>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "collectives/nccl/nccl_api.h"
#include "common/clock.h"
#include "common/mutex.h"

namespace ringmaster {

class NcclAborter {
 public:
  // `api` and `clock` must outlive the process's last abort.
  NcclAborter(NcclApi& api, const Clock& clock) : api_(api), clock_(clock) {}
  ~NcclAborter();  // without Wait: as after Wait of nothing

  // Begins, once; later calls change nothing. `device`: what the thread sets before.
  void Start(NcclComm comm, int device);
  bool started() const;

  // What ncclCommAbort said; OK where nothing was started. DEADLINE_EXCEEDED: it has not returned.
  absl::Status Wait(absl::Duration timeout);

 private:
  // Shared with the thread, which may outlive this.
  struct Outcome {
    Mutex mu;
    CondVar changed;
    bool done ABSL_GUARDED_BY(mu) = false;
    absl::Status status ABSL_GUARDED_BY(mu);
  };

  NcclApi& api_;
  const Clock& clock_;
  const std::shared_ptr<Outcome> outcome_ = std::make_shared<Outcome>();
  mutable Mutex mu_;
  std::unique_ptr<std::thread> thread_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ringmaster

#endif  // RINGMASTER_COLLECTIVES_NCCL_NCCL_ABORTER_H_
