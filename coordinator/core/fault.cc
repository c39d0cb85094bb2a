#include "coordinator/core/fault.h"

#include <csignal>

#include "absl/strings/str_replace.h"
#include "common/exit_codes.h"

namespace ringmaster::coordinator {
namespace {

bool IsOfItsOwnMaking(int signal) {
  return signal == SIGSEGV || signal == SIGABRT || signal == SIGBUS || signal == SIGFPE || signal == SIGILL || signal == SIGTRAP ||
         signal == SIGSYS;
}

}  // namespace

const char* Name(Fault fault) {
  switch (fault) {
    case Fault::kNone: return "none";
    case Fault::kKilled: return "killed";
    case Fault::kCrashed: return "crashed";
    case Fault::kOutOfMemory: return "out of memory";
    case Fault::kExited: return "exited";
    case Fault::kBadInput: return "bad input";
    case Fault::kGaveUp: return "gave up";
    case Fault::kRequeued: return "requeued";
    case Fault::kNotStarted: return "not started";
    case Fault::kBadExit: return "bad exit";
    case Fault::kLostContact: return "lost contact";
    case Fault::kWorkerDied: return "worker died";
    case Fault::kHostGone: return "host gone";
    case Fault::kMismatchedCall: return "mismatched call";
    case Fault::kDiskFull: return "disk full";
    case Fault::kCheckpointFailed: return "checkpoint failed";
    case Fault::kStopped: return "stopped";
    case Fault::kStuckInData: return "stuck in data";
    case Fault::kStuckInCompute: return "stuck in compute";
    case Fault::kStuckInDisk: return "stuck in checkpoint";
    case Fault::kNeverEntered: return "never entered";
    case Fault::kNeverJoined: return "never joined";
    case Fault::kStuckAtExit: return "stuck at exit";
    case Fault::kSlow: return "slow";
    case Fault::kNetwork: return "network";
  }
  return "none";
}

std::string Key(Fault fault) { return absl::StrReplaceAll(Name(fault), {{" ", "_"}}); }

std::optional<Fault> FaultOfKey(std::string_view key) {
  for (int i = 1; i < kFaults; ++i) {
    if (Key(static_cast<Fault>(i)) == key) return static_cast<Fault>(i);
  }
  return std::nullopt;
}

Fault FaultOf(const ProcessEnd& end) {
  if (end.never_started) return Fault::kNotStarted;
  if (end.out_of_memory) return Fault::kOutOfMemory;
  if (IsOfItsOwnMaking(end.signal)) return Fault::kCrashed;
  if (end.signal != 0) return Fault::kKilled;
  switch (end.exit_code) {
    case kExitSucceeded: return Fault::kNone;
    case kExitUsage: return Fault::kBadInput;
    case kExitPeerLost: return Fault::kLostContact;
    case kExitDoNotRequeue: return Fault::kGaveUp;
    case kExitRequeue: return Fault::kRequeued;
  }
  // What a trainer has said explains an end for which it has no code. Other codes are the program's own.
  if (end.told != Fault::kNone && end.exit_code == kExitFailed) return end.told;
  return end.had_finished ? Fault::kBadExit : Fault::kExited;
}

const char* Key(Remedy remedy) {
  switch (remedy) {
    case Remedy::kReport: return "report";
    case Remedy::kRestart: return "restart";
    case Remedy::kExcludeHost: return "exclude_host";
    case Remedy::kFail: return "fail";
  }
  return "report";
}

std::optional<Remedy> RemedyOfKey(std::string_view key) {
  for (const Remedy remedy : {Remedy::kReport, Remedy::kRestart, Remedy::kExcludeHost, Remedy::kFail}) {
    if (key == Key(remedy)) return remedy;
  }
  return std::nullopt;
}

bool IsPossible(Fault fault, Remedy remedy) {
  if (fault == Fault::kNone) return false;
  if (remedy == Remedy::kReport) return IsStanding(fault) || fault == Fault::kDiskFull || fault == Fault::kCheckpointFailed;
  // Codes 2 and 93 say themselves that a restart is useless.
  if (fault == Fault::kBadInput || fault == Fault::kGaveUp) return remedy == Remedy::kFail;
  return fault != Fault::kNetwork && fault != Fault::kLostContact;
}

}  // namespace ringmaster::coordinator
