// Reads who this trainer is from the environment contract (common/environment.h). Called once by main.
#ifndef RINGMASTER_TRAINER_SESSION_IDENTITY_FROM_ENVIRONMENT_H_
#define RINGMASTER_TRAINER_SESSION_IDENTITY_FROM_ENVIRONMENT_H_

#include <functional>

#include "absl/status/statusor.h"
#include "trainer/session/coordinator_link.h"

namespace ringmaster::trainer {

// getenv or, in tests, anything like it: null = not set.
using GetEnvironment = std::function<const char*(const char* name)>;

// INVALID_ARGUMENT: a variable is missing or malformed; the message names it, what was found and what was expected.
absl::StatusOr<TrainerIdentity> IdentityFromEnvironment(const GetEnvironment& get);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_SESSION_IDENTITY_FROM_ENVIRONMENT_H_
