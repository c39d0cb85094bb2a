#include "worker/rank/heartbeat_pace.h"

#include <cmath>
#include <string>
#include <utility>

namespace ringmaster {
namespace {

// A rank that becomes slow shows in the others' share.
constexpr double kOtherShare = 0.1;

bool SameRanks(const v1::Heartbeat& a, const v1::Heartbeat& b) {
  if (a.ranks_size() != b.ranks_size()) return false;
  for (int i = 0; i < a.ranks_size(); ++i) {
    const v1::HostedRank& x = a.ranks(i).rank();
    const v1::HostedRank& y = b.ranks(i).rank();
    if (x.rank() != y.rank() || x.epoch() != y.epoch() || x.incarnation() != y.incarnation() || x.job_id() != y.job_id())
      return false;
  }
  return true;
}

// Of the phases that follow each other in every step.
bool IsWithinAStep(const std::string& phase) {
  return phase == "data" || phase == "forward" || phase == "backward" || phase == "communication" || phase == "optimizer";
}

bool IsNews(const v1::Progress& known, const v1::Progress& now) {
  const bool same_phase = known.phase() == now.phase() || (IsWithinAStep(known.phase()) && IsWithinAStep(now.phase()));
  return !same_phase || known.trouble() != now.trouble() || known.total_steps() != now.total_steps() ||
         known.validation_step() != now.validation_step() || known.waits_for() != now.waits_for() ||
         std::abs(known.communication_share() - now.communication_share()) >= kOtherShare;
}

bool StandsStill(const v1::Progress& before, const v1::Progress& now) {
  return before.step() == now.step() && before.collectives() == now.collectives();
}

}  // namespace

bool HeartbeatPace::IsDue(const v1::Heartbeat& look, absl::Time now) {
  const v1::Heartbeat before = std::exchange(before_, look);
  if (now - sent_at_ >= quiet_ || look.master_port() != sent_.master_port() || !SameRanks(look, sent_)) return true;
  if (now - sent_at_ < kSoon || !SameRanks(look, before)) return false;
  for (int i = 0; i < look.ranks_size(); ++i) {
    const v1::Progress& progress = look.ranks(i).progress();
    if (IsNews(sent_.ranks(i).progress(), progress) || StandsStill(before.ranks(i).progress(), progress)) return true;
  }
  return false;
}

void HeartbeatPace::Sent(const v1::Heartbeat& heartbeat, absl::Time now) {
  sent_at_ = now;
  sent_ = heartbeat;
}

}  // namespace ringmaster
