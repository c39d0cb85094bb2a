#include "worker/rpc/convert.h"

#include <algorithm>
#include <set>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace ringmaster {

namespace {

// A job id becomes a directory name.
absl::Status CheckJobId(const std::string& job) {
  const bool plain = std::all_of(job.begin(), job.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' || c == '.';
  });
  if (plain && !job.empty() && job.size() <= 200 && job[0] != '.') return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("job id \"", job.substr(0, 200), "\": expected 1-200 letters, digits, '-', '_' or '.', not '.' first"));
}

}  // namespace

absl::Duration ToDuration(const google::protobuf::Duration& duration) {
  const absl::Duration result = absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
  return std::max(absl::ZeroDuration(), result);
}

RunningRank ToRunningRank(const v1::HostedRank& rank) {
  return {{JobId(rank.job_id()), Epoch(rank.epoch()), Rank(rank.rank())}, Incarnation(rank.incarnation())};
}

v1::HostedRank ToHostedRank(const RunningRank& rank, int64_t pid) {
  v1::HostedRank result;
  result.set_job_id(rank.key.job.value());
  result.set_epoch(rank.key.epoch.value());
  result.set_rank(rank.key.rank.value());
  result.set_incarnation(rank.incarnation.value());
  result.set_pid(pid);
  return result;
}

absl::StatusOr<Assignment> ToAssignment(const v1::Assign& assign, int slots) {
  RM_RETURN_IF_ERROR(CheckJobId(assign.job_id()));
  const std::string name = absl::StrCat("assignment of job ", assign.job_id(), " epoch ", assign.epoch());
  if (assign.epoch() < 1) return absl::InvalidArgumentError(absl::StrCat(name, ": epochs start at 1"));
  if (assign.ranks().empty()) return absl::InvalidArgumentError(absl::StrCat(name, ": no ranks"));
  Assignment result{JobId(assign.job_id()), Epoch(assign.epoch()), kDefaultStopGrace, {}};
  if (assign.spec().has_stop_grace()) result.grace = ToDuration(assign.spec().stop_grace());
  std::set<int> ranks;
  std::set<int> local_ranks;
  for (const v1::AssignedRank& rank : assign.ranks()) {
    if (rank.rank() < 0 || rank.rank() >= assign.world_size() || !ranks.insert(rank.rank()).second) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, ": rank ", rank.rank(), " is outside a world of ", assign.world_size(), " or comes twice"));
    }
    if (rank.local_rank() < 0 || rank.local_rank() >= slots || !local_ranks.insert(rank.local_rank()).second) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, ": local rank ", rank.local_rank(), " is outside 0..", slots - 1, " or comes twice"));
    }
    if (rank.slot() < 0 || rank.slot() >= slots) {
      return absl::InvalidArgumentError(absl::StrCat(name, ": slot ", rank.slot(), ", but this worker has ", slots));
    }
    result.ranks.push_back({Rank(rank.rank()), Incarnation(rank.incarnation()), rank.keeps_process()});
  }
  return result;
}

absl::StatusOr<worker_event::StopRequested> ToStopRequested(const v1::StopRanks& stop) {
  RM_RETURN_IF_ERROR(CheckJobId(stop.job_id()));
  return worker_event::StopRequested{JobId(stop.job_id()), Epoch(stop.epoch()),
                                     stop.has_grace() ? ToDuration(stop.grace()) : kDefaultStopGrace,
                                     stop.incarnation() == 0 ? std::nullopt : std::optional(Incarnation(stop.incarnation()))};
}

}  // namespace ringmaster
