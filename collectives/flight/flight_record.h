// The flight record: the last operations of one communicator in shared memory (a memfd), readable from outside the process at any
// time, also when it is wedged or stopped. Written by FlightRecorder, read by ReadFlightRecords. docs/formats.md has the layout
// byte by byte; a change of it is a new version.
#ifndef RINGMASTER_COLLECTIVES_FLIGHT_FLIGHT_RECORD_H_
#define RINGMASTER_COLLECTIVES_FLIGHT_FLIGHT_RECORD_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "collectives/call.h"

namespace ringmaster {

constexpr char kFlightRecordName[] = "ringmaster-flight-record";  // of the memfd
constexpr int64_t kFlightEntries = 256;

enum class FlightState : uint8_t {
  kNone = 0,     // the entry was never used
  kStarted = 1,  // in progress; of a process that is gone: what it died in
  kFinished = 2,
  kFailed = 3,
};

// The processor's counter of constant rate: a tenth of the price of a clock. The rate follows from two readings of both.
inline uint64_t FlightTicks() {
#if defined(__x86_64__)
  return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
  uint64_t ticks;
  asm volatile("mrs %0, cntvct_el0" : "=r"(ticks));
  return ticks;
#else
#error "which counter has a constant rate here?"
#endif
}

struct FlightHead {
  static constexpr uint64_t kMagic = 0x544847494C464D52;  // "RMFLIGHT"
  static constexpr uint32_t kVersion = 1;

  uint64_t magic;
  uint32_t version;
  uint32_t head_bytes;
  uint32_t entry_bytes;
  uint32_t entries;
  int32_t rank;
  int32_t size;
  uint64_t created_ticks;  // FlightTicks() and CLOCK_MONOTONIC of the same moment
  int64_t created_monotonic_ns;
  int64_t created_wall_ns;      // Unix time
  std::atomic<uint64_t> begun;  // operations so far; number n lies in entry (n - 1) % entries
  char group[64];               // name, ends with zero
};
static_assert(sizeof(FlightHead) == 128);

// `version` is odd while the writer is at it. It publishes by ordered stores alone, which cost nothing on x86: version odd, fields,
// version even, each a release.
struct alignas(64) FlightEntry {
  std::atomic<uint32_t> version;
  std::atomic<Operation> operation;
  std::atomic<DataType> type;
  std::atomic<Reduction> reduction;
  std::atomic<FlightState> state;
  std::atomic<uint64_t> sequence;  // from 1
  std::atomic<int64_t> count;      // of the call; of a V operation: the sum of its send_counts
  std::atomic<int64_t> bytes;      // count in bytes
  std::atomic<int32_t> root;       // or peer
  std::atomic<int32_t> waits_for;  // rank that is waited for; -1: not known
  std::atomic<uint64_t> start_ticks;
  std::atomic<uint64_t> end_ticks;  // 0 while in progress
  std::atomic<uint32_t> code;       // absl::StatusCode
  uint32_t reserved;
};
static_assert(sizeof(FlightEntry) == 64 && std::atomic<Operation>::is_always_lock_free);

constexpr size_t kFlightRecordBytes = sizeof(FlightHead) + kFlightEntries * sizeof(FlightEntry);

}  // namespace ringmaster

#endif  // RINGMASTER_COLLECTIVES_FLIGHT_FLIGHT_RECORD_H_
