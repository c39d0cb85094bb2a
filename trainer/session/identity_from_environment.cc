#include "trainer/session/identity_from_environment.h"

#include <cstdint>
#include <limits>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/environment.h"
#include "common/status_macros.h"

namespace ringmaster::trainer {
namespace {

absl::Status Wrong(const char* name, const char* found, absl::string_view expected) {
  return absl::InvalidArgumentError(absl::StrCat(name, found == nullptr ? " is not set" : absl::StrCat(" is \"", found, "\""),
                                                 "; expected ", expected,
                                                 ". Ringmaster's worker sets it: was this trainer started by hand?"));
}

absl::StatusOr<std::string> Text(const GetEnvironment& get, const char* name, absl::string_view expected) {
  const char* const found = get(name);
  if (found == nullptr || *found == '\0') return Wrong(name, found, expected);
  return std::string(found);
}

template <typename Number>
absl::StatusOr<Number> Decimal(const GetEnvironment& get, const char* name, Number least, Number most) {
  const char* const found = get(name);
  Number value = 0;
  if (found == nullptr || !absl::SimpleAtoi(found, &value) || value < least || value > most) {
    return Wrong(name, found,
                 absl::StrCat("a whole number from ", least,
                              most == std::numeric_limits<Number>::max() ? " up" : absl::StrCat(" to ", most)));
  }
  return value;
}

}  // namespace

absl::StatusOr<TrainerIdentity> IdentityFromEnvironment(const GetEnvironment& get) {
  constexpr int32_t kAny = std::numeric_limits<int32_t>::max();
  TrainerIdentity identity;
  RM_ASSIGN_OR_RETURN(identity.coordinator, Text(get, environment::kCoordinator, "host:port of the coordinator"));
  if (get(environment::kRelay) != nullptr) {
    RM_ASSIGN_OR_RETURN(identity.relay, Text(get, environment::kRelay, "the address of the worker's relay"));
  }
  RM_ASSIGN_OR_RETURN(const std::string job, Text(get, environment::kJob, "a job id"));
  identity.job = JobId(job);
  RM_ASSIGN_OR_RETURN(const int64_t epoch, Decimal<int64_t>(get, environment::kEpoch, 1, std::numeric_limits<int64_t>::max()));
  identity.epoch = Epoch(epoch);
  RM_ASSIGN_OR_RETURN(const int32_t world_size, Decimal<int32_t>(get, "WORLD_SIZE", 1, kAny));
  RM_ASSIGN_OR_RETURN(const int32_t rank, Decimal<int32_t>(get, "RANK", 0, world_size - 1));
  identity.rank = Rank(rank);
  RM_ASSIGN_OR_RETURN(identity.local_rank, Decimal<int32_t>(get, "LOCAL_RANK", 0, world_size - 1));
  RM_ASSIGN_OR_RETURN(const uint64_t incarnation,
                      Decimal<uint64_t>(get, environment::kIncarnation, 1, std::numeric_limits<uint64_t>::max()));
  identity.incarnation = Incarnation(incarnation);
  RM_ASSIGN_OR_RETURN(identity.host, Text(get, environment::kHost, "the worker's name"));
  RM_ASSIGN_OR_RETURN(identity.address, Text(get, environment::kAddress, "an address of this host that peers reach"));
  if (get(environment::kThreads) != nullptr) {
    RM_ASSIGN_OR_RETURN(identity.threads, Decimal<int32_t>(get, environment::kThreads, 1, kAny));
  }
  return identity;
}

}  // namespace ringmaster::trainer
