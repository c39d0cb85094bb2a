// CoordinatorLink over gRPC.
#ifndef RINGMASTER_TRAINER_SESSION_GRPC_COORDINATOR_LINK_H_
#define RINGMASTER_TRAINER_SESSION_GRPC_COORDINATOR_LINK_H_

#include <memory>
#include <string>
#include <vector>

#include "common/clock.h"
#include "trainer/session/coordinator_link.h"

namespace ringmaster::trainer {

// Does not connect yet: the first call does. While the coordinator is away (UNAVAILABLE, or no answer within one attempt) a call is
// repeated with exponential back-off from 50 ms to 1 s and jitter until its own timeout. `clock` must outlive the link.
std::unique_ptr<CoordinatorLink> CreateGrpcCoordinatorLink(const TrainerIdentity& identity, const Clock& clock);

// Starts gRPC's threads, for the rest of the process, so that the first link need not.
void StartGrpc();

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_SESSION_GRPC_COORDINATOR_LINK_H_
