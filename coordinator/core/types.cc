#include "coordinator/core/types.h"

namespace ringmaster::coordinator {

const char* Name(JobState state) {
  switch (state) {
    case JobState::kPending: return "Pending";
    case JobState::kStarting: return "Starting";
    case JobState::kRunning: return "Running";
    case JobState::kRecovering: return "Recovering";
    case JobState::kDraining: return "Draining";
    case JobState::kSucceeded: return "Succeeded";
    case JobState::kFailed: return "Failed";
    case JobState::kCancelled: return "Cancelled";
  }
  return "?";
}

const char* Name(RankState state) {
  switch (state) {
    case RankState::kAssigned: return "Assigned";
    case RankState::kStarted: return "Started";
    case RankState::kJoined: return "Joined";
    case RankState::kExited: return "Exited";
    case RankState::kLost: return "Lost";
  }
  return "?";
}

}  // namespace ringmaster::coordinator
