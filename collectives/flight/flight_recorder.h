// Writes a flight record: what this rank's communicator is doing and did last. Without it a wedged job can only be asked through
// its log, which says nothing about who waits for whom.
//
// One thread at a time (the one that issues operations) calls Begin and End; WaitsFor may come from any. No system call, no lock,
// no allocation: under 20 ns for both, most of it the two readings of the counter (flight_recorder_bench).
#ifndef RINGMASTER_COLLECTIVES_FLIGHT_FLIGHT_RECORDER_H_
#define RINGMASTER_COLLECTIVES_FLIGHT_FLIGHT_RECORDER_H_

#include <memory>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "collectives/call.h"
#include "collectives/flight/flight_record.h"
#include "common/clock.h"
#include "common/file_descriptor.h"

namespace ringmaster {

class FlightRecorder {
 public:
  // `group`: a name for people, cut after 63 bytes. UNAVAILABLE: the kernel gives no memory.
  static absl::StatusOr<std::unique_ptr<FlightRecorder>> Create(std::string_view group, int rank, int size, const Clock& clock);
  ~FlightRecorder();

  // Returns the operation's sequence number.
  uint64_t Begin(const Call& call);
  void End(uint64_t sequence, absl::StatusCode code);
  // The operation in progress waits for `rank`; for waits so long that a person may ask.
  void WaitsFor(int rank);
  // From here on it is also written there. Before the first operation.
  void MirrorWaits(std::atomic<int32_t>* waits_for) { mirror_ = waits_for; }

 private:
  FlightRecorder(FileDescriptor memory, char* mapping);

  FlightEntry& EntryOf(uint64_t sequence) { return entries_[(sequence - 1) % kFlightEntries]; }

  const FileDescriptor memory_;  // found by its name in /proc/PID/fd
  FlightHead* const head_;
  FlightEntry* const entries_;
  std::atomic<int32_t>* mirror_ = nullptr;
};

}  // namespace ringmaster

#endif  // RINGMASTER_COLLECTIVES_FLIGHT_FLIGHT_RECORDER_H_
