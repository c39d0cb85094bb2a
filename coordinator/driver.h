// The one thread that owns the core: takes what events there are from a queue, steps the machine over them, stores the records of
// all in one write, then performs the effects and answers the calls. When the store fails, a call gets its error and nothing of it
// stays; what workers said is kept and tried again, and reads are served all the time.
#ifndef RINGMASTER_COORDINATOR_DRIVER_H_
#define RINGMASTER_COORDINATOR_DRIVER_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "common/mutex.h"
#include "coordinator/core/effects.h"
#include "coordinator/core/events.h"
#include "coordinator/core/machine.h"
#include "coordinator/store/job_store.h"

namespace ringmaster::coordinator {

class Driver {
 public:
  // Called on the driver's thread; must not block.
  struct Hooks {
    std::function<void(const Effect&)> to_worker;  // SendWelcome, SendAssign, SendStop, SendExitSeen, CloseStream
    std::function<void(const JobEntry&, bool progress_only)> job_changed;
    std::function<void()> answered = [] {};  // all calls of a step are answered
  };
  // Exactly one call, on the driver's thread or (after Stop) on the caller's.
  using Done = std::function<void(const absl::Status&, const Answer&)>;
  using Reader = std::function<void(const Machine&, absl::Time now)>;

  Driver(std::unique_ptr<JobStore> store, const Membership::Options& options, const Clock& clock);
  ~Driver() { Stop(); }

  // Replays the store. Once, before Start. DATA_LOSS: a record does not read back.
  absl::Status Load();
  // Jobs as loaded; before Start.
  const Machine& machine() const { return machine_; }

  void Start(Hooks hooks);
  // Calls that wait get UNAVAILABLE. Idempotent; later calls are refused the same way.
  void Stop();

  // --- Thread-safe ---
  void Post(EventBody event);
  template <typename CallEvent>
  void Call(CallEvent event, Done done) {
    event.call = NextCall();
    const CallId call = event.call;
    Enqueue({.event = std::move(event), .call = call, .done = std::move(done), .reader = {}, .refused = {}});
  }
  // `refused` is called instead when the driver has stopped.
  void Read(Reader reader, std::function<void()> refused);

 private:
  struct Item {
    EventBody event = Tick{};
    std::optional<CallId> call;
    Done done;
    Reader reader;
    std::function<void()> refused;
  };

  CallId NextCall();
  void Enqueue(Item item);
  static void Refuse(Item& item);
  void Run();
  // What has come: one read, or events; nothing when a deadline has come. False: stop.
  bool Wait(absl::Time deadline, std::vector<Item>* items);
  void Process(std::vector<Item> items);
  // Steps, stores in one write, performs. The error is the store's; then nothing has happened.
  absl::Status StepAndStore(std::span<const Event> events);
  Event Now(EventBody body) { return {std::move(body), clock_.WallNow(), entropy_()}; }
  void Perform(const Outcome& outcome);
  void Retry();
  void LogRecord(const Record& record);

  const std::unique_ptr<JobStore> store_;
  const Clock& clock_;
  Hooks hooks_;

  // The driver's thread alone.
  Machine machine_;
  std::mt19937_64 entropy_;
  std::map<CallId, Done> calls_;
  std::map<JobId, JobState> logged_states_;
  std::deque<EventBody> stalled_;  // not stored yet, in order; not empty = the store fails
  absl::Status store_error_;
  absl::Time retry_at_;

  Mutex mu_;
  CondVar wake_;
  std::deque<Item> queue_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  uint64_t next_call_ ABSL_GUARDED_BY(mu_) = 1;
  std::thread thread_;
};

}  // namespace ringmaster::coordinator

#endif  // RINGMASTER_COORDINATOR_DRIVER_H_
