// Measures the constants of the cost model on a communicator that works already: links by messages back and forth, arithmetic and
// copies in place. A few milliseconds on a fast network, some tens on a slow one.
#ifndef RINGMASTER_COLLECTIVES_SELECTION_CALIBRATE_H_
#define RINGMASTER_COLLECTIVES_SELECTION_CALIBRATE_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "collectives/communicator.h"
#include "collectives/selection/cost_model.h"
#include "common/clock.h"

namespace ringmaster::selection {

// Equal on all ranks but for `trouble`.
struct Calibration {
  Layout layout;
  Constants constants;      // those of links that the group has not got stay as they are by default
  int64_t measured_at = 0;  // seconds of the calendar
  bool from_cache = false;
  std::string trouble = {};  // on rank 0: why the constants could not be kept for later groups
};

struct CalibrationOptions {
  int host = 0;               // the same number on the ranks of one host and on no other, such as the lowest rank there
  double ranks_per_core = 1;  // on this rank's host
  // Where rank 0 keeps constants for later groups (constants_cache.h); empty: nowhere.
  std::string cache_directory = {};
  std::string machine = {};  // of this rank: what its part of the figures depends on
};

// Collective. One pair of ranks
// stands for each kind of link, rank 0 for all processors; what they measure counts for everybody, so all choose alike.
// Errors: those of an operation. `timeout` is for each of a few dozen.
absl::StatusOr<Calibration> Calibrate(Communicator& communicator, const CalibrationOptions& options, absl::Duration timeout,
                                      const Clock& clock);

// The part of it that needs no peers: what adding and copying take, in the cache.
absl::Status MeasureProcessor(const Clock& clock, Constants* constants);

}  // namespace ringmaster::selection

#endif  // RINGMASTER_COLLECTIVES_SELECTION_CALIBRATE_H_
