// What every Communicator promises, as tests. A test file says how to make a group, and gets the suite:
//   INSTANTIATE_TEST_SUITE_P(Tcp, CommunicatorConformance, ::testing::Values(GroupFactory{"tcp", &MakeTcpGroup}), GroupName);
#ifndef RINGMASTER_COLLECTIVES_CONFORMANCE_COMMUNICATOR_CONFORMANCE_H_
#define RINGMASTER_COLLECTIVES_CONFORMANCE_COMMUNICATOR_CONFORMANCE_H_

#include "collectives/conformance/communicator_conformance_failures.h"
#include "collectives/conformance/communicator_conformance_group.h"
#include "collectives/conformance/communicator_conformance_mismatches.h"
#include "collectives/conformance/communicator_conformance_results.h"

#endif  // RINGMASTER_COLLECTIVES_CONFORMANCE_COMMUNICATOR_CONFORMANCE_H_
