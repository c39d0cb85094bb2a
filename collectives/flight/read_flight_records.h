// Reads the flight records of another process from outside: what `ringmaster flight-record PID` prints.
#ifndef RINGMASTER_COLLECTIVES_FLIGHT_READ_FLIGHT_RECORDS_H_
#define RINGMASTER_COLLECTIVES_FLIGHT_READ_FLIGHT_RECORDS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "collectives/call.h"
#include "collectives/flight/flight_record.h"
#include "common/clock.h"

namespace ringmaster {

// One operation, checked and with times instead of ticks.
struct FlightOperation {
  uint64_t sequence = 0;
  FlightState state = FlightState::kNone;
  Operation operation = Operation::kBarrier;
  DataType type = DataType::kU8;
  Reduction reduction = Reduction::kSum;
  int64_t count = 0;
  int64_t bytes = 0;
  int root = 0;
  int waits_for = -1;
  absl::Time started = {};       // calendar
  absl::Duration duration = {};  // of one in progress: until now
  absl::StatusCode code = absl::StatusCode::kOk;
  bool torn = false;  // the writer was at it, or died at it: only `sequence` means anything
};

struct FlightRecord {
  std::string group = {};
  int rank = 0;
  int size = 0;
  uint64_t begun = 0;
  std::vector<FlightOperation> operations = {};  // oldest first
};

// One record for each communicator of process `pid` that keeps one.
// NOT_FOUND: no such process, or it has no flight record. PERMISSION_DENIED: another user's. DATA_LOSS: a record that is none, or
// of a version that this program does not know.
absl::StatusOr<std::vector<FlightRecord>> ReadFlightRecords(int64_t pid, const Clock& clock);

// The same for bytes in a file: `path` may be a copy of the memory.
absl::StatusOr<FlightRecord> ReadFlightRecord(const std::string& path, const Clock& clock);

}  // namespace ringmaster

#endif  // RINGMASTER_COLLECTIVES_FLIGHT_READ_FLIGHT_RECORDS_H_
