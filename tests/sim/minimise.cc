#include "tests/sim/minimise.h"

#include <algorithm>
#include <cstddef>

#include "tests/sim/cluster.h"

namespace ringmaster::sim {

Plan Minimise(const Plan& plan) {
  return Minimise(plan, [](const Plan& smaller) { return !Simulate(smaller, nullptr).status.ok(); });
}

Plan Minimise(const Plan& plan, const std::function<bool(const Plan&)>& breaks) {
  Plan best = plan;
  for (size_t chunk = std::max<size_t>(best.faults.size() / 2, 1); !best.faults.empty();) {
    bool shrunk = false;
    for (size_t begin = 0; begin < best.faults.size();) {
      Plan smaller = best;
      const size_t end = std::min(begin + chunk, smaller.faults.size());
      smaller.faults.erase(smaller.faults.begin() + static_cast<ptrdiff_t>(begin),
                           smaller.faults.begin() + static_cast<ptrdiff_t>(end));
      if (breaks(smaller)) {
        best = smaller;
        shrunk = true;
      } else {
        begin = end;
      }
    }
    if (chunk == 1 && !shrunk) break;
    if (chunk > 1) chunk /= 2;
  }
  return best;
}

}  // namespace ringmaster::sim
