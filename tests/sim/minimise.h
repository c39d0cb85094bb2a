// Fewer faults that still break something: delta debugging over the plan's list of faults.
#ifndef RINGMASTER_TESTS_SIM_MINIMISE_H_
#define RINGMASTER_TESTS_SIM_MINIMISE_H_

#include <functional>

#include "tests/sim/plan.h"

namespace ringmaster::sim {

// `plan` breaks something. The result does too, and without any one of its faults it does not.
Plan Minimise(const Plan& plan);
Plan Minimise(const Plan& plan, const std::function<bool(const Plan&)>& breaks);

}  // namespace ringmaster::sim

#endif  // RINGMASTER_TESTS_SIM_MINIMISE_H_
