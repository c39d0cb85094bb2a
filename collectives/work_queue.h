// Issues the operations of one communicator from a thread of its own, so that the caller goes on computing while they run.
//
// Any thread may issue; operations run one after the other in the order in which they were issued, which must be the same on all
// ranks. While the queue runs, nobody else issues operations of its communicator (Abort is for anyone, and wakes a blocked one).
// Buffers belong to the queue until the operation is done. The thread sleeps while there is nothing to do.
#ifndef RINGMASTER_COLLECTIVES_WORK_QUEUE_H_
#define RINGMASTER_COLLECTIVES_WORK_QUEUE_H_

#include <deque>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "collectives/call.h"
#include "collectives/communicator.h"
#include "common/clock.h"
#include "common/mutex.h"

namespace ringmaster {

// One issued operation or group: a handle that is cheap to copy, lives longer than the queue if need be, and that any thread may
// use.
class Work {
 public:
  // An operation that never was: done, OK.
  Work() = default;

  bool Done() const;

  // The operation's status as soon as it has one. DEADLINE_EXCEEDED with "still runs" in the message: it was not done within
  // `timeout`; it goes on and keeps its buffers, and Wait may be called again.
  absl::Status Wait(absl::Duration timeout) const;

 private:
  friend class WorkQueue;

  struct State {
    State(const Clock& clock, std::span<const Call> calls, bool group, absl::Duration timeout);

    const Clock& clock;
    std::vector<Call> calls;
    std::vector<std::vector<int64_t>> counts;  // what the spans of `calls` refer to: callers' may be gone by the time it runs
    const bool group;
    const absl::Duration timeout;

    mutable Mutex mu;
    mutable CondVar changed;
    bool done ABSL_GUARDED_BY(mu) = false;
    absl::Status status ABSL_GUARDED_BY(mu);
  };

  explicit Work(std::shared_ptr<State> state) : state_(std::move(state)) {}
  void Finish(const absl::Status& status) const;

  std::shared_ptr<State> state_;
};

class WorkQueue {
 public:
  // Both must outlive the queue; `clock` its works, too.
  WorkQueue(Communicator& communicator, const Clock& clock);
  ~WorkQueue();

  // Starts the thread. Once.
  void Start();

  // Lets the operation that runs end (it has its timeout; abort the communicator to end it at once), fails those that wait with
  // CANCELLED and joins the thread. Later ones fail the same way. May be repeated.
  void Stop();

  // `timeout` counts from when the operation begins. An operation that fails in a way that breaks the communicator fails all later
  // ones with its status; one that could not be (INVALID_ARGUMENT before it began) does so too: what follows may need its result.
  Work Issue(const Call& call, absl::Duration timeout);
  // As Communicator::RunGroup.
  Work IssueGroup(std::span<const Call> calls, absl::Duration timeout);

 private:
  Work Add(std::span<const Call> calls, bool group, absl::Duration timeout);
  void Serve();

  Communicator& communicator_;
  const Clock& clock_;
  std::thread thread_;

  Mutex mu_;
  CondVar changed_;
  std::deque<Work> waiting_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status failure_ ABSL_GUARDED_BY(mu_);  // the first one; the answer to all later works
};

}  // namespace ringmaster

#endif  // RINGMASTER_COLLECTIVES_WORK_QUEUE_H_
