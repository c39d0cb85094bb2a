// What users stumble over, looked at one by one. Each check looks at this machine (or asks the coordinator) and says what to do.
#ifndef RINGMASTER_CLI_DOCTOR_CHECKS_H_
#define RINGMASTER_CLI_DOCTOR_CHECKS_H_

#include <cstdint>
#include <filesystem>
#include <string>

#include "absl/time/time.h"
#include "cli/job_client.h"
#include "common/clock.h"

namespace ringmaster::cli {

enum class Health { kOk, kWarn, kFail };

struct Finding {
  std::string check;
  Health health = Health::kOk;
  std::string detail;
  std::string remedy = {};  // empty when ok
};

Finding CheckFreePort();
// The port of host:port, when it is this machine's: free, or in use by whom.
Finding CheckListenPort(const std::string& address);
Finding CheckCoordinator(JobClient* client, const std::string& address);
Finding CheckClockSkew(JobClient* client, const Clock& clock);
// The coordinator connects back to a port that is opened here for the time of the call.
Finding CheckReachability(JobClient* client, const std::string& coordinator);
Finding CheckDirectory(const std::string& what, const std::filesystem::path& directory, const Clock& clock);
Finding CheckFileLimit();
Finding CheckCores();
Finding CheckSharedMemory();
Finding CheckHostName();
Finding CheckTrainerBinary(const std::filesystem::path& trainer);

// Pure parts.
Finding JudgeClockSkew(absl::Duration skew, absl::Duration round_trip);
Finding JudgeFileLimit(uint64_t soft, uint64_t hard);
Finding JudgeDirectory(const std::string& what, const std::string& directory, int64_t free_bytes, absl::Duration sync);

}  // namespace ringmaster::cli

#endif  // RINGMASTER_CLI_DOCTOR_CHECKS_H_
