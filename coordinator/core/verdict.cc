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
  return absl::StrCat(waiting.size() == 1 ? "; rank " : "; ranks ", absl::StrJoin(waiting, ", "),
                      waiting.size() == 1 ? " waits" : " wait");
}

// For whom most of the others wait, as far as they know; nothing: fewer than half of them agree.
std::optional<size_t> MostAwaited(const std::vector<RankView>& views) {
  std::vector<size_t> awaited_by(views.size());
  for (const RankView& view : views) {
    if (view.waits_for >= 0 && static_cast<size_t>(view.waits_for) < views.size())
      ++awaited_by[static_cast<size_t>(view.waits_for)];
  }
  const auto most = std::max_element(awaited_by.begin(), awaited_by.end());
  if (*most == 0 || 2 * *most < views.size() - 1) return std::nullopt;
  return static_cast<size_t>(most - awaited_by.begin());
}

std::string InSeconds(absl::Duration time) { return absl::StrFormat("%.1f s", absl::ToDoubleSeconds(time)); }

bool StandsStill(const RankView& view, absl::Time now, absl::Duration patience) {
  return now - view.since >= patience && view.times_seen >= kTellingHeartbeats;
}

}  // namespace

std::optional<Verdict> Judge(const std::vector<RankView>& views, absl::Time now, absl::Duration patience) {
  if (views.empty()) return std::nullopt;
  for (const RankView& view : views) {
    if (now - view.since < patience || view.times_seen < kTellingHeartbeats) return std::nullopt;
  }
  const auto is_telling = [](const RankView& view) { return view.is_stopped || view.phase == kWaiting; };
  if (std::none_of(views.begin(), views.end(), is_telling)) return std::nullopt;
  // Behind are those that have entered fewest collectives; of these, whoever is stopped or not in one is the one that is waited
  // for.
  const auto weight = [](const RankView& view) {
    return std::tuple(view.collectives, view.is_stopped ? 0 : 1, view.phase == kWaiting ? 1 : 0, view.since);
  };
  const auto found =
      std::min_element(views.begin(), views.end(), [&](const RankView& a, const RankView& b) { return weight(a) < weight(b); });
  const size_t rank = static_cast<size_t>(found - views.begin());
  Verdict verdict{.fault = FaultOf(*found), .rank = Rank(static_cast<int>(rank)), .since = found->since, .text = {}};
  const std::string time = InSeconds(now - found->since);
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
    const std::optional<size_t> awaited = MostAwaited(views);
    verdict.rank = Rank(static_cast<int>(awaited.value_or(0)));
    verdict.since = views[awaited.value_or(0)].since;
    verdict.text = absl::StrCat("and all others are in collective ", most, " for ", time,
                                awaited.has_value() ? ": they wait for it, and nothing of it arrives; is its network cut?"
                                                    : ": none gets on; is the network between them cut?");
  }
  return verdict;
}

std::optional<Verdict> JudgeAlone(const std::vector<RankView>& views, absl::Time now, absl::Duration patience) {
  if (views.empty()) return std::nullopt;
  for (const RankView& view : views) {
    const Fault fault = FaultOf(view);
    const bool tells =
        view.phase != "loading" && view.phase != "validation" && (fault == Fault::kStuckInData || fault == Fault::kStuckInCompute);
    if (!tells || !StandsStill(view, now, patience)) return std::nullopt;
  }
  const auto longest =
      std::min_element(views.begin(), views.end(), [](const RankView& a, const RankView& b) { return a.since < b.since; });
  return Verdict{.fault = FaultOf(*longest),
                 .rank = Rank(static_cast<int>(longest - views.begin())),
                 .since = longest->since,
                 .text = absl::StrCat("is in ", longest->phase, " for ", InSeconds(now - longest->since), " and no rank gets on")};
}

std::optional<Verdict> JudgeExits(const std::map<Rank, RankView>& views, absl::Time now, absl::Duration patience) {
  for (const auto& [rank, view] : views) {
    if (view.phase != "finished" || !StandsStill(view, now, patience)) continue;
    return Verdict{.fault = view.is_stopped ? Fault::kStopped : Fault::kStuckAtExit,
                   .rank = rank,
                   .since = view.since,
                   .text = absl::StrCat(view.is_stopped ? "is stopped" : "has done all its steps and does not end", " for ",
                                        InSeconds(now - view.since))};
  }
  return std::nullopt;
}

std::optional<Verdict> JudgeArrivals(const std::map<Rank, RankView>& absent, int joined, absl::Time now, absl::Duration patience) {
  for (const auto& [rank, view] : absent) {
    if (!StandsStill(view, now, patience)) continue;
    const std::string time = InSeconds(now - view.since);
    return Verdict{.fault = view.is_stopped ? Fault::kStopped : Fault::kNeverJoined,
                   .rank = rank,
                   .since = view.since,
                   .text = absl::StrCat(view.is_stopped ? absl::StrCat("is stopped in ", view.phase, " for ", time)
                                                        : absl::StrCat("does not join: it is in ", view.phase, " for ", time),
                                        "; ", joined, joined == 1 ? " rank waits" : " ranks wait")};
  }
  return std::nullopt;
}

std::optional<Verdict> JudgeTroubles(const std::vector<RankView>& views, absl::Time now) {
  for (size_t rank = 0; rank < views.size(); ++rank) {
    const RankView& view = views[rank];
    if (view.trouble == Fault::kNone) continue;
    return Verdict{
        .fault = view.trouble,
        .rank = Rank(static_cast<int>(rank)),
        .since = view.trouble_since,
        .text = absl::StrCat("says that its last checkpoint failed (", Name(view.trouble), "); see its log; training goes on")};
  }
  return std::nullopt;
}

std::optional<Verdict> JudgePace(const std::vector<RankView>& views, absl::Time since) {
  if (views.size() < 2) return std::nullopt;
  std::vector<double> work;
  for (const RankView& view : views) work.push_back(1 - view.communication_share);
  const auto slowest = std::max_element(work.begin(), work.end());
  const double own = *slowest;
  const Rank rank(static_cast<int>(slowest - work.begin()));
  work.erase(slowest);
  const auto middle = work.begin() + static_cast<std::ptrdiff_t>(work.size() / 2);
  std::nth_element(work.begin(), middle, work.end());
  if (own < kSlowest * *middle || own < *middle + kSlowShare) return std::nullopt;
  return Verdict{.fault = Fault::kSlow,
                 .rank = rank,
                 .since = since,
                 .text = absl::StrFormat(
                     "is slow: its own work fills %.0f%% of its steps, and %.0f%% of those of the others, which wait for it",
                     100 * own, 100 * *middle)};
}

}  // namespace ringmaster::coordinator
