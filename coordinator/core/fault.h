// What can be wrong with a rank, each with a name that a job file, a program and a person know it by; and what is done about it.
// Pure. docs/failure_model.md says how each is found.
#ifndef RINGMASTER_COORDINATOR_CORE_FAULT_H_
#define RINGMASTER_COORDINATOR_CORE_FAULT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ringmaster::coordinator {

// Values are stored: append only.
enum class Fault {
  kNone = 0,
  // --- The process has ended ---
  kKilled,       // by a signal from outside
  kCrashed,      // by a signal of its own making: SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS
  kOutOfMemory,  // by the kernel, which had no memory left for its control group
  kExited,       // with a code of its own
  kBadInput,     // code 2: the same call fails again
  kGaveUp,       // code 93: "do not restart me"
  kRequeued,     // code 94: "start me again", no failure
  kNotStarted,   // the program could not be executed
  kBadExit,      // it failed after its last step
  kLostContact,  // it is healthy, others are gone
  kWorkerDied,   // with its ranks
  kHostGone,     // silence: the machine or its link
  // --- The trainer says so ---
  kMismatchedCall,    // it called another collective than the others
  kDiskFull,          // no space for a checkpoint
  kCheckpointFailed,  // a checkpoint could not be written for any other reason
  // --- It lives, and keeps the others waiting ---
  kStopped,         // SIGSTOP, a debugger, a frozen cgroup
  kStuckInData,     // reading the next batch
  kStuckInCompute,  // forward, backward, optimizer
  kStuckInDisk,     // in a checkpoint: a disk that is slow or hangs
  kNeverEntered,    // anything else, while the others wait in a collective
  kNeverJoined,     // its process runs, and does not come to the epoch
  kStuckAtExit,     // all steps are done, and it does not end
  kSlow,            // it steps, but every step waits for it
  kNetwork,         // all ranks are in the same collective, and none gets on
};
inline constexpr int kFaults = 25;

// "stuck in data"; "none".
const char* Name(Fault fault);
// "stuck_in_data": in job files, JSON and on the wire.
std::string Key(Fault fault);
// Nothing for what is no key.
std::optional<Fault> FaultOfKey(std::string_view key);

// Its process lives: a verdict, not an end.
inline bool IsStanding(Fault fault) { return fault >= Fault::kStopped; }

// How a process ended, as its worker tells it.
struct ProcessEnd {
  int exit_code = 0;
  int signal = 0;
  bool out_of_memory = false;
  bool never_started = false;
  bool had_finished = false;  // its board said that all steps are done
  Fault told = Fault::kNone;  // by the trainer, last
};
// kNone for a success.
Fault FaultOf(const ProcessEnd& end);

// What follows a fault.
enum class Remedy {
  kReport = 0,       // it is said, nothing else
  kRestart = 1,      // the rank is replaced
  kExcludeHost = 2,  // the same, elsewhere: its host gets no rank of this job until it has cooled down
  kFail = 3,         // the job fails
};
const char* Key(Remedy remedy);
std::optional<Remedy> RemedyOfKey(std::string_view key);
// Whether a job file may ask for it: what has ended is more than reported, what has no culprit cannot be replaced.
bool IsPossible(Fault fault, Remedy remedy);

}  // namespace ringmaster::coordinator

#endif  // RINGMASTER_COORDINATOR_CORE_FAULT_H_
