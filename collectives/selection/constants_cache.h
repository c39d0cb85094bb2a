// Constants of the cost model that were measured before, in a directory of the host that measured them: a file for each key. What
// is damaged, old, of another key or not plausible is measured again, never trusted.
#ifndef RINGMASTER_COLLECTIVES_SELECTION_CONSTANTS_CACHE_H_
#define RINGMASTER_COLLECTIVES_SELECTION_CONSTANTS_CACHE_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "collectives/selection/cost_model.h"

namespace ringmaster::selection {

// Networks and neighbours change: after that long constants are measured anew.
inline constexpr absl::Duration kConstantsLast = absl::Hours(24);

struct MeasuredConstants {
  Constants constants;
  absl::Time when;  // by the calendar
};

// `key`: all that they depend on, one line. Errors, all of which mean "measure": NOT_FOUND; DATA_LOSS: the file is damaged or holds
// what no machine can be; FAILED_PRECONDITION: it is another key's, or too old at `now`.
absl::StatusOr<MeasuredConstants> LoadConstants(const std::string& directory, const std::string& key, absl::Time now);

// Replaces what is there in one step; the directory is made. UNAVAILABLE: the system's reason.
absl::Status StoreConstants(const std::string& directory, const std::string& key, const MeasuredConstants& measured);

}  // namespace ringmaster::selection

#endif  // RINGMASTER_COLLECTIVES_SELECTION_CONSTANTS_CACHE_H_
