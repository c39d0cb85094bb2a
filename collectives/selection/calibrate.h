// Measures the constants of the cost model on a communicator that works already: links by messages back and forth, arithmetic and
// copies in place. A few milliseconds on a fast network, some tens on a slow one.
#ifndef RINGMASTER_COLLECTIVES_SELECTION_CALIBRATE_H_
#define RINGMASTER_COLLECTIVES_SELECTION_CALIBRATE_H_

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "collectives/communicator.h"
#include "collectives/selection/cost_model.h"
#include "common/clock.h"

namespace ringmaster::selection {

struct Calibration {
  Layout layout;
  Constants constants;  // equal on all ranks; those of links that the group has not got stay as they are by default
};

// Collective. `host` is the same number on the ranks of one host and on no other, such as the lowest rank there. One pair of ranks
// stands for each kind of link, rank 0 for all processors; what they measure counts for everybody, so all choose alike.
// Errors: those of an operation. `timeout` is for each of a few dozen.
absl::StatusOr<Calibration> Calibrate(Communicator& communicator, int host, absl::Duration timeout, const Clock& clock);

// The part of it that needs no peers: what adding and copying take, in the cache.
absl::Status MeasureProcessor(const Clock& clock, Constants* constants);

}  // namespace ringmaster::selection

#endif  // RINGMASTER_COLLECTIVES_SELECTION_CALIBRATE_H_
