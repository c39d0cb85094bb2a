// Threads that help one: it has a job of numbered parts, and each helper takes the same part of every job, so that what the part
// needs is in its core's cache. Helpers that have nothing to do look for the next job for a while, then sleep; who brings a job
// does not wait for them to wake, but goes on with the parts that nobody has taken.
#ifndef RINGMASTER_COLLECTIVES_THREAD_TEAM_H_
#define RINGMASTER_COLLECTIVES_THREAD_TEAM_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/time/time.h"
#include "common/clock.h"

namespace ringmaster {

class ThreadTeam {
 public:
  // `patience`: how long who waits looks before it sleeps. `clock` must outlive the team.
  ThreadTeam(absl::Duration patience, const Clock& clock) : patience_(patience), clock_(clock) {}
  ~ThreadTeam() { Stop(); }

  // May be called again after Stop().
  void Start(int helpers);
  void Stop();

  // Calls work(0), .. work(parts - 1), each once, at the same time as far as there are threads, and returns when all have returned.
  // A part may wait for the same part of another team: a thread that has several takes them in order. One thread at a time.
  static constexpr int kMostParts = 16;
  void Run(int parts, absl::FunctionRef<void(int part)> work);

 private:
  // The number of the job, then a byte: how many parts it has.
  using Ticket = uint64_t;
  static int PartsOf(Ticket ticket) { return static_cast<int>(ticket & 0xff); }

  Ticket NextJob() const;
  // Runs the part, unless somebody has taken it or the job is over.
  void Take(int part, Ticket ticket);
  void Help(int part);

  // Looks until `value` is no longer `seen`, then sleeps.
  template <typename Value>
  void AwaitChange(const std::atomic<Value>& value, Value seen) const;

  const absl::Duration patience_;
  const Clock& clock_;
  std::vector<std::thread> helpers_;
  std::atomic<bool> stopping_{false};
  const absl::FunctionRef<void(int)>* work_ = nullptr;  // of the job: read by whoever has taken a part of it
  struct alignas(128) Seat {
    std::atomic<Ticket> taken{0};  // of the last job whose part was
  };
  std::array<Seat, kMostParts> seats_;  // by part
  alignas(128) std::atomic<Ticket> ticket_{0};
  alignas(128) std::atomic<int> ended_{0};  // parts of the job
};

}  // namespace ringmaster

#endif  // RINGMASTER_COLLECTIVES_THREAD_TEAM_H_
