// Waits beside training for the epoch after this one, so that a rank which computes, or hangs in a collective, hears of it at once.
#ifndef RINGMASTER_TRAINER_SESSION_EPOCH_WATCH_H_
#define RINGMASTER_TRAINER_SESSION_EPOCH_WATCH_H_

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "trainer/session/coordinator_link.h"

namespace ringmaster::trainer {

// Start and Stop: the owner's thread.
class EpochWatch {
 public:
  // `on_over` gets the reason, once, in the watch's thread: another epoch is open, or the job goes on without this process.
  // `link` is the watch's own: it cancels it.
  EpochWatch(std::unique_ptr<CoordinatorLink> link, std::function<void(const std::string& reason)> on_over)
      : link_(std::move(link)), on_over_(std::move(on_over)) {}
  ~EpochWatch() { Stop(); }

  void Start();
  // Joins the thread. Idempotent.
  void Stop();

 private:
  void Run();

  const std::unique_ptr<CoordinatorLink> link_;
  const std::function<void(const std::string& reason)> on_over_;
  std::thread thread_;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_SESSION_EPOCH_WATCH_H_
