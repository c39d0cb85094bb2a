#include "tests/model/job_record.h"

#include <algorithm>

namespace ringmaster::model {
namespace {

bool IsOpen(const JobRecord& record) { return record.phase == Phase::kStarting || record.phase == Phase::kRunning; }

bool IsLive(const JobRecord& record, int64_t epoch, int rank) {
  return epoch == record.epoch && rank >= 0 && rank < std::ssize(record.ranks) && record.ranks[rank].phase != RankPhase::kEnded &&
         record.phase != Phase::kFinished && record.phase != Phase::kPending;
}

std::string TakeOne(const Open& open, JobRecord& record) {
  if (open.epoch != record.epoch + 1) return "the epoch is not the next one";
  std::vector<RankRecord> ranks;
  size_t next_old = 0, kept = 0;
  for (const uint64_t process : open.processes) {
    const auto same = [&](const RankRecord& rank) { return rank.process == process; };
    const auto old = std::find_if(record.ranks.begin(), record.ranks.end(), same);
    if (std::any_of(ranks.begin(), ranks.end(), same)) return "a process has two ranks";
    if (old == record.ranks.end()) {
      ranks.push_back({RankPhase::kAssigned, process, false});
      continue;
    }
    const size_t place = static_cast<size_t>(old - record.ranks.begin());
    if (old->phase == RankPhase::kEnded || !old->stays) return "a process is kept that has ended or does not stay";
    if (place < next_old) return "kept ranks change their order";
    next_old = place + 1;
    ++kept;
    ranks.push_back({RankPhase::kStarted, process, true});
  }
  const bool any_lives =
      std::any_of(record.ranks.begin(), record.ranks.end(), [](const RankRecord& rank) { return rank.phase != RankPhase::kEnded; });
  const bool grows = kept == record.ranks.size() && ranks.size() > kept;
  const bool may = record.phase == Phase::kPending || (record.phase == Phase::kRecovering && (kept > 0 || !any_lives)) ||
                   (record.phase == Phase::kRunning && grows);
  if (!may) return "an epoch is opened beside one that goes on";
  record = {Phase::kStarting, open.epoch, std::move(ranks)};
  return "";
}

std::string TakeOne(const Start& start, JobRecord& record) {
  if (!IsLive(record, start.epoch, start.rank)) return "a start of a rank that does not count";
  RankPhase& phase = record.ranks[start.rank].phase;
  phase = std::max(phase, RankPhase::kStarted);
  return "";
}

std::string TakeOne(const Join& join, JobRecord& record) {
  if (!IsLive(record, join.epoch, join.rank) || !IsOpen(record)) return "a join of a rank that does not count, or too late";
  record.ranks[join.rank].phase = RankPhase::kJoined;
  record.ranks[join.rank].stays = join.stays;
  return "";
}

std::string TakeOne(const End& end, JobRecord& record) {
  if (!IsLive(record, end.epoch, end.rank)) return "an end of a rank that does not count";
  record.ranks[end.rank].phase = RankPhase::kEnded;
  return "";
}

std::string TakeOne(const Commit& commit, JobRecord& record) {
  if (commit.epoch != record.epoch || record.phase == Phase::kPending || record.phase == Phase::kFinished) {
    return "a commit by another epoch than the current one";
  }
  return "";
}

std::string TakeOne(const Move& move, JobRecord& record) {
  const auto all = [&](RankPhase least) {
    return std::all_of(record.ranks.begin(), record.ranks.end(), [&](const RankRecord& rank) { return rank.phase >= least; });
  };
  const Phase from = record.phase;
  bool may = false;
  switch (move.to) {
    case Phase::kPending:
    case Phase::kStarting: break;
    case Phase::kRunning: may = from == Phase::kStarting && all(RankPhase::kStarted); break;
    case Phase::kRecovering: may = IsOpen(record); break;
    case Phase::kDraining:
      may = (IsOpen(record) || from == Phase::kRecovering) && (!move.succeeds || all(RankPhase::kEnded));
      break;
    case Phase::kFinished:
      may = from == Phase::kPending || ((from == Phase::kDraining || from == Phase::kRecovering) && all(RankPhase::kEnded));
      break;
  }
  if (!may) return "a state follows another that it may not follow";
  record.phase = move.to;
  return "";
}

}  // namespace

std::string Take(const Change& change, JobRecord* record) {
  return std::visit([&](const auto& one) { return TakeOne(one, *record); }, change);
}

}  // namespace ringmaster::model
