#include "coordinator/core/job_table.h"

#include "absl/strings/str_cat.h"
#include "common/check.h"

namespace ringmaster::coordinator {
namespace {

constexpr Cell Act(Action action) { return {action, absl::StatusCode::kOk}; }
constexpr Cell kTake = Act(Action::kTake);
constexpr Cell kIgnore = Act(Action::kIgnore);
constexpr Cell kEnd = Act(Action::kEnd);
constexpr Cell kDrain = Act(Action::kDrain);
constexpr Cell kRecover = Act(Action::kRecover);
constexpr Cell kCollect = Act(Action::kCollect);
// Old: the sender belongs to an epoch that does not count any more, and exits.
constexpr Cell kOld = {Action::kRefuse, absl::StatusCode::kAborted};
// Wrong: not in this state; do not repeat.
constexpr Cell kWrong = {Action::kRefuse, absl::StatusCode::kFailedPrecondition};

// clang-format off
constexpr Cell kTable[kJobEvents][kJobStates] = {
    //                 Pending  Starting  Running   Recovering Draining Succeeded Failed   Cancelled
    /* Cancel       */ {kEnd,   kDrain,   kDrain,   kDrain,    kIgnore, kWrong,   kWrong,  kWrong},
    /* TimeLimit    */ {kWrong, kDrain,   kDrain,   kDrain,    kIgnore, kIgnore,  kIgnore, kIgnore},
    /* OpenEpoch    */ {kTake,  kWrong,   kTake,    kTake,     kWrong,  kWrong,   kWrong,  kWrong},
    /* RankStarted  */ {kOld,   kTake,    kTake,    kTake,     kTake,   kOld,     kOld,    kOld},
    /* RankJoined   */ {kOld,   kTake,    kTake,    kOld,      kOld,    kOld,     kOld,    kOld},
    /* RankFinished */ {kOld,   kTake,    kTake,    kTake,     kTake,   kOld,     kOld,    kOld},
    /* RankFailed   */ {kOld,   kRecover, kRecover, kCollect,  kTake,   kOld,     kOld,    kOld},
    /* AwaitEpoch   */ {kOld,   kTake,    kTake,    kTake,     kOld,    kOld,     kOld,    kOld},
    /* Publish      */ {kOld,   kTake,    kTake,    kOld,      kOld,    kOld,     kOld,    kOld},
    /* Await        */ {kOld,   kTake,    kTake,    kOld,      kOld,    kOld,     kOld,    kOld},
    // A checkpoint whose shards are all on disk is worth its commit even when a rank has died meanwhile.
    /* ReportShard  */ {kOld,   kTake,    kTake,    kTake,     kTake,   kOld,     kOld,    kOld},
    /* AwaitShards  */ {kOld,   kTake,    kTake,    kOld,      kOld,    kOld,     kOld,    kOld},
    /* Commit       */ {kOld,   kTake,    kTake,    kTake,     kTake,   kOld,     kOld,    kOld},
    /* Refuse       */ {kOld,   kTake,    kTake,    kTake,     kTake,   kOld,     kOld,    kOld},
};
// clang-format on

}  // namespace

Cell Lookup(JobState state, JobEvent event) { return kTable[static_cast<int>(event)][static_cast<int>(state)]; }

const char* Name(JobEvent event) {
  switch (event) {
    case JobEvent::kCancel: return "Cancel";
    case JobEvent::kTimeLimit: return "TimeLimit";
    case JobEvent::kOpenEpoch: return "OpenEpoch";
    case JobEvent::kRankStarted: return "RankStarted";
    case JobEvent::kRankJoined: return "Join";
    case JobEvent::kRankFinished: return "RankFinished";
    case JobEvent::kRankFailed: return "RankFailed";
    case JobEvent::kAwaitEpoch: return "AwaitEpoch";
    case JobEvent::kPublish: return "Publish";
    case JobEvent::kAwait: return "Await";
    case JobEvent::kReportShard: return "ReportShard";
    case JobEvent::kAwaitShards: return "AwaitShards";
    case JobEvent::kCommit: return "CommitCheckpoint";
    case JobEvent::kRefuse: return "RefuseCheckpoint";
  }
  return "?";
}

absl::Status Refusal(const Job& job, JobEvent event, absl::StatusCode code) {
  RM_CHECK(code != absl::StatusCode::kOk) << Name(event) << " in " << Name(job.state) << " is refused without a code";
  return absl::Status(code, absl::StrCat("job ", job.id.value(), " is ", Name(job.state), " in epoch ", job.epoch.value(), ": ",
                                         Name(event), " does not apply", job.reason.empty() ? "" : "; ", job.reason));
}

}  // namespace ringmaster::coordinator
