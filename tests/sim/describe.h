// Records, effects and ranks in words, for the trace. Every field that decides something is in it: a digest over the words is a
// digest over the decisions.
#ifndef RINGMASTER_TESTS_SIM_DESCRIBE_H_
#define RINGMASTER_TESTS_SIM_DESCRIBE_H_

#include <string>

#include "coordinator/core/effects.h"
#include "coordinator/core/records.h"
#include "worker/core/worker_machine.h"

namespace ringmaster::sim {

std::string Describe(const RankKey& rank);
std::string Describe(const coordinator::Record& record);
// Empty for what only refreshes views.
std::string Describe(const coordinator::Effect& effect);

}  // namespace ringmaster::sim

#endif  // RINGMASTER_TESTS_SIM_DESCRIBE_H_
