#include "coordinator/core/verdict.h"

#include <algorithm>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace ringmaster::coordinator {
namespace {

constexpr char kWaiting[] = "communication";

Fault FaultOf(const RankView& view) {
  if (view.is_stopped) return Fault::kStopped;
  if (view.phase == "data" || view.phase == "loading") return Fault::kStuckInData;
  if (view.phase == "forward" || view.phase == "backward" || view.phase == "optimizer" || view.phase == "validation") {
    return Fault::kStuckInCompute;
  }
  return view.phase == "checkpoint" ? Fault::kStuckInDisk : Fault::kNeverEntered;
}

std::string Waiting(const std::vector<RankView>& views, size_t culprit) {
  std::vector<size_t> waiting;
  for (size_t rank = 0; rank < views.size(); ++rank) {
    if (rank != culprit && views[rank].phase == kWaiting) waiting.push_back(rank);
  }
  if (waiting.empty()) return "";
  return absl::StrCat(waiting.size() == 1 ? "; rank " : "; ranks ", absl::StrJoin(waiting, ", "), waiting.size() == 1 ? " waits" : " wait");
}

}  // namespace

const char* Name(Fault fault) {
  switch (fault) {
    case Fault::kStopped: return "stopped";
    case Fault::kStuckInData: return "stuck in data";
    case Fault::kStuckInCompute: return "stuck in compute";
    case Fault::kStuckInDisk: return "stuck in checkpoint";
    case Fault::kNeverEntered: return "never entered";
    case Fault::kNetwork: return "network";
  }
  return "?";
}

std::optional<Verdict> Judge(const std::vector<RankView>& views, absl::Time now, absl::Duration patience) {
  if (views.empty()) return std::nullopt;
  for (const RankView& view : views) {
    if (now - view.since < patience || view.times_seen < kTellingHeartbeats) return std::nullopt;
  }
  const auto is_telling = [](const RankView& view) { return view.is_stopped || view.phase == kWaiting; };
  if (std::none_of(views.begin(), views.end(), is_telling)) return std::nullopt;
  // Behind are those that have entered fewest collectives; of these, whoever is stopped or not in one is the one that is waited for.
  const auto weight = [](const RankView& view) {
    return std::tuple(view.collectives, view.is_stopped ? 0 : 1, view.phase == kWaiting ? 1 : 0, view.since);
  };
  const auto found = std::min_element(views.begin(), views.end(),
                                      [&](const RankView& a, const RankView& b) { return weight(a) < weight(b); });
  const size_t rank = static_cast<size_t>(found - views.begin());
  Verdict verdict{.fault = FaultOf(*found), .rank = Rank(static_cast<int>(rank)), .since = found->since, .text = {}};
  const std::string time = absl::StrFormat("%.1f s", absl::ToDoubleSeconds(now - found->since));
  const uint64_t most = std::max_element(views.begin(), views.end(), [](const RankView& a, const RankView& b) {
                          return a.collectives < b.collectives;
                        })->collectives;
  if (verdict.fault == Fault::kStopped) {
    verdict.text = absl::StrCat("is stopped in ", found->phase, " for ", time, Waiting(views, rank));
  } else if (found->phase != kWaiting) {
    verdict.text = absl::StrCat("did not enter collective ", found->collectives + 1, ": it is in ", found->phase, " for ", time,
                                Waiting(views, rank));
  } else if (found->collectives < most) {
    verdict.text = absl::StrCat("does not leave collective ", found->collectives, " for ", time, Waiting(views, rank));
  } else {
    verdict.fault = Fault::kNetwork;
    verdict.text = absl::StrCat("and all others are in collective ", most, " for ", time, ": none gets on; is the network between them cut?");
  }
  return verdict;
}

}  // namespace ringmaster::coordinator
