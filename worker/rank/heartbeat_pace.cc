#include "worker/rank/heartbeat_pace.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace ringmaster {
namespace {

// A rank that becomes slow shows in the others' share.
constexpr double kOtherShare = 0.15;

bool SameRanks(const WorkerLook& a, const WorkerLook& b) {
  return std::ranges::equal(
      a.ranks, b.ranks, [](const RankLook& x, const RankLook& y) { return x.incarnation == y.incarnation && x.epoch == y.epoch; });
}

// Of the phases that follow each other in every step.
bool IsWithinAStep(TrainerPhase phase) { return phase >= TrainerPhase::kData && phase <= TrainerPhase::kOptimizer; }

bool IsNews(const RankLook& known, const RankLook& now) {
  const bool same_phase = known.phase == now.phase || (IsWithinAStep(known.phase) && IsWithinAStep(now.phase));
  return !same_phase || known.trouble != now.trouble || known.total_steps != now.total_steps ||
         known.validation_step != now.validation_step ||
         std::abs(known.communication_share - now.communication_share) >= kOtherShare;
}

bool StandsStill(const RankLook& before, const RankLook& now) {
  return before.step == now.step && before.collectives == now.collectives;
}

}  // namespace

RankLook::RankLook(Incarnation process, Epoch in, const ProgressBoard& board)
    : incarnation(process),
      epoch(in),
      phase(board.phase),
      trouble(board.trouble),
      step(board.step),
      total_steps(board.total_steps),
      validation_step(board.validation_step),
      collectives(board.collective_sequence),
      communication_share(board.communication_share) {}

bool HeartbeatPace::IsDue(const WorkerLook& look, absl::Time now) {
  const WorkerLook before = std::exchange(before_, look);
  if (!SameRanks(look, before)) new_until_ = now + kNew;
  bool is_due = now - sent_at_ >= quiet_ || look.master_port != sent_.master_port || !SameRanks(look, sent_) ||
                (now < new_until_ && now - sent_at_ >= kSoon);
  if (!is_due && now - sent_at_ >= kSoon) {
    for (size_t i = 0; i < look.ranks.size(); ++i) {
      is_due = is_due || IsNews(sent_.ranks[i], look.ranks[i]) || StandsStill(before.ranks[i], look.ranks[i]);
    }
  }
  if (!is_due) return false;
  sent_at_ = now;
  sent_ = look;
  return true;
}

}  // namespace ringmaster
