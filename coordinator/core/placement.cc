#include "coordinator/core/placement.h"

#include <algorithm>
#include <cstddef>
#include <map>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace ringmaster::coordinator {
namespace {

struct Share {
  const Host* host = nullptr;
  int ranks = 0;
};

int FirstUnused(const std::vector<int>& used) {
  int number = 0;
  while (std::find(used.begin(), used.end(), number) != used.end()) ++number;
  return number;
}

int FreeSlots(const std::vector<Host>& hosts) {
  int free = 0;
  for (const Host& host : hosts) free += static_cast<int>(host.free_slots.size());
  return free;
}

std::string Slots(int count) { return count == 1 ? "1 slot" : absl::StrCat(count, " slots"); }

std::string WaitingReason(const PlacementRequest& request, const std::vector<Host>& hosts) {
  std::vector<std::string> names;
  if (request.nodes > 0) {
    for (const Host& host : hosts) {
      if (static_cast<int>(host.free_slots.size()) >= request.slots_per_node) names.push_back(host.worker.value());
    }
    std::string reason =
        absl::StrCat("needs ", request.nodes, request.nodes == 1 ? " host" : " hosts", " with ", Slots(request.slots_per_node),
                     " free, ", names.size(), names.size() == 1 ? " has" : " have", " that of ", hosts.size(), " alive");
    return names.empty() ? reason : absl::StrCat(reason, ": ", absl::StrJoin(names, ", "));
  }
  int alive = 0, free = 0;
  for (const Host& host : hosts) {
    alive += host.slots;
    free += static_cast<int>(host.free_slots.size());
  }
  for (const Host& host : hosts) {
    const int free_here = static_cast<int>(host.free_slots.size());
    names.push_back(free == alive ? host.worker.value()
                                  : absl::StrCat(host.worker.value(), " (", free_here, " of ", host.slots, ")"));
  }
  std::string reason = absl::StrCat("needs ", Slots(request.world_size), ", ");
  if (hosts.empty()) return reason + "no worker is attached";
  if (free == alive) {
    absl::StrAppend(&reason, alive, alive == 1 ? " is alive" : " are alive");
  } else {
    absl::StrAppend(&reason, free, " of ", alive, " are free");
  }
  return absl::StrCat(reason, ": ", absl::StrJoin(names, ", "));
}

// The order in which hosts are asked: those of the epoch before, then the others by name, then those that just failed.
std::vector<const Host*> Candidates(const PlacementRequest& request, const std::vector<Host>& hosts) {
  const std::set<WorkerId> avoid(request.avoid.begin(), request.avoid.end());
  const std::set<WorkerId> previous(request.previous.begin(), request.previous.end());
  std::vector<const Host*> classes[3];
  for (const Host& host : hosts) classes[avoid.contains(host.worker) ? 2 : previous.contains(host.worker) ? 0 : 1].push_back(&host);
  std::vector<const Host*> order;
  for (const std::vector<const Host*>& one : classes) order.insert(order.end(), one.begin(), one.end());
  return order;
}

std::vector<Share> ChooseHosts(const PlacementRequest& request, const std::vector<const Host*>& candidates) {
  std::vector<Share> chosen;
  if (request.nodes > 0) {
    for (const Host* host : candidates) {
      if (static_cast<int>(chosen.size()) == request.nodes) break;
      if (static_cast<int>(host->free_slots.size()) >= request.slots_per_node) chosen.push_back({host, request.slots_per_node});
    }
    if (static_cast<int>(chosen.size()) < request.nodes) chosen.clear();
    return chosen;
  }
  int missing = request.world_size;
  for (const Host* host : candidates) {
    const int ranks = std::min(missing, static_cast<int>(host->free_slots.size()));
    if (ranks > 0) chosen.push_back({host, ranks});
    missing -= ranks;
  }
  if (missing > 0) chosen.clear();
  return chosen;
}

// Survivors at their old places, newcomers in the places that became free, the rest behind.
std::vector<Share> OrderHosts(const PlacementRequest& request, const std::vector<Share>& chosen) {
  const std::set<WorkerId> previous(request.previous.begin(), request.previous.end());
  std::map<WorkerId, Share> kept;
  std::vector<Share> fresh;
  for (const Share& share : chosen) {
    if (previous.contains(share.host->worker)) {
      kept.emplace(share.host->worker, share);
    } else {
      fresh.push_back(share);
    }
  }
  std::sort(fresh.begin(), fresh.end(),
            [](const Share& a, const Share& b) { return NaturalLess(a.host->worker.value(), b.host->worker.value()); });
  std::vector<Share> ordered;
  auto next_fresh = fresh.begin();
  for (const WorkerId& worker : request.previous) {
    if (const auto it = kept.find(worker); it != kept.end()) {
      ordered.push_back(it->second);
    } else if (next_fresh != fresh.end()) {
      ordered.push_back(*next_fresh++);
    }
  }
  ordered.insert(ordered.end(), next_fresh, fresh.end());
  return ordered;
}

}  // namespace

bool NaturalLess(const std::string& a, const std::string& b) {
  size_t i = 0, j = 0;
  while (i < a.size() && j < b.size()) {
    if (absl::ascii_isdigit(a[i]) && absl::ascii_isdigit(b[j])) {
      while (i < a.size() && a[i] == '0') ++i;
      while (j < b.size() && b[j] == '0') ++j;
      const size_t a_begin = i, b_begin = j;
      while (i < a.size() && absl::ascii_isdigit(a[i])) ++i;
      while (j < b.size() && absl::ascii_isdigit(b[j])) ++j;
      if (i - a_begin != j - b_begin) return i - a_begin < j - b_begin;
      const int order = a.compare(a_begin, i - a_begin, b, b_begin, j - b_begin);
      if (order != 0) return order < 0;
    } else {
      if (a[i] != b[j]) return a[i] < b[j];
      ++i, ++j;
    }
  }
  if (i < a.size() || j < b.size()) return j < b.size();
  return a < b;  // "n01" and "n1" are equal as numbers: any fixed order will do
}

Placement PlaceRanks(const PlacementRequest& request, std::vector<Host> hosts) {
  std::sort(hosts.begin(), hosts.end(),
            [](const Host& a, const Host& b) { return NaturalLess(a.worker.value(), b.worker.value()); });
  const std::vector<Share> chosen = ChooseHosts(request, Candidates(request, hosts));
  Placement placement;
  if (chosen.empty()) {
    placement.waiting_reason = WaitingReason(request, hosts);
    return placement;
  }
  int group_rank = 0;
  for (const Share& share : OrderHosts(request, chosen)) {
    for (int i = 0; i < share.ranks; ++i) {
      RankPlace place;
      place.worker = share.host->worker;
      place.worker_incarnation = share.host->incarnation;
      place.address = share.host->address;
      place.slot = share.host->free_slots[i];
      place.local_rank = i;
      place.group_rank = group_rank;
      placement.ranks.push_back(std::move(place));
    }
    ++group_rank;
  }
  return placement;
}

Placement FillVacancies(const PlacementRequest& request, std::vector<RankPlace> kept, std::vector<Host> hosts) {
  std::sort(hosts.begin(), hosts.end(),
            [](const Host& a, const Host& b) { return NaturalLess(a.worker.value(), b.worker.value()); });
  const auto is_vacant = [](const RankPlace& place) { return place.worker.empty(); };
  std::map<WorkerId, std::vector<const RankPlace*>> kept_on;
  for (const RankPlace& place : kept) kept_on[place.worker].push_back(&place);
  for (Host& host : hosts) {
    for (const RankPlace* place : kept_on[host.worker]) std::erase(host.free_slots, place->slot);
  }
  kept.resize(std::max(kept.size(), static_cast<size_t>(request.world_size)));
  const int vacant = static_cast<int>(std::count_if(kept.begin(), kept.end(), is_vacant));
  const int survivors = static_cast<int>(kept.size()) - vacant;
  PlacementRequest newcomers = request;
  newcomers.nodes = 0;
  newcomers.world_size = std::min(vacant, FreeSlots(hosts));
  Placement placement;
  if (survivors + newcomers.world_size < request.min_world_size) {
    newcomers.world_size = request.min_world_size - survivors;
    placement.waiting_reason = WaitingReason(newcomers, hosts);
    return placement;
  }
  const std::vector<Share> chosen = ChooseHosts(newcomers, Candidates(request, hosts));
  auto share = chosen.begin();
  int used = 0;
  for (RankPlace& place : kept) {
    if (!is_vacant(place)) continue;
    if (share != chosen.end() && used == share->ranks) ++share, used = 0;
    if (share == chosen.end()) break;
    place.worker = share->host->worker;
    place.worker_incarnation = share->host->incarnation;
    place.address = share->host->address;
    place.slot = share->host->free_slots[used++];
    place.local_rank = -1;
  }
  std::erase_if(kept, is_vacant);
  std::map<WorkerId, std::vector<int>> local_ranks;
  for (const RankPlace& place : kept) {
    if (place.local_rank >= 0) local_ranks[place.worker].push_back(place.local_rank);
  }
  std::map<WorkerId, int> groups;
  for (RankPlace& place : kept) {
    place.group_rank = groups.emplace(place.worker, static_cast<int>(groups.size())).first->second;
    if (place.local_rank >= 0) continue;
    std::vector<int>& used = local_ranks[place.worker];
    place.local_rank = FirstUnused(used);
    used.push_back(place.local_rank);
  }
  placement.ranks = std::move(kept);
  return placement;
}

}  // namespace ringmaster::coordinator
