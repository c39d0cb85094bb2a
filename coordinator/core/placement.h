// Which rank goes to which host. Pure arithmetic on a list of hosts.
#ifndef RINGMASTER_COORDINATOR_CORE_PLACEMENT_H_
#define RINGMASTER_COORDINATOR_CORE_PLACEMENT_H_

#include <string>
#include <vector>

#include "coordinator/core/types.h"

namespace ringmaster::coordinator {

// node2 < node10: runs of digits compare as numbers.
bool NaturalLess(const std::string& a, const std::string& b);

// An attached worker as placement sees it.
struct Host {
  WorkerId worker;
  Incarnation incarnation;
  std::string address;
  int slots = 0;
  std::vector<int> free_slots;  // ascending; free for the job that is placed
};

struct PlacementRequest {
  int world_size = 1;
  int min_world_size = 1;  // at most world_size: fewer ranks than world_size will do when slots are short
  int nodes = 0;           // with slots_per_node: this many hosts with so many ranks each; 0 = wherever slots are free
  int slots_per_node = 0;
  std::vector<WorkerId> previous = {};  // hosts of the epoch before, in their order: those that are alive keep it
  std::vector<WorkerId> avoid = {};     // just failed: used only when nothing else is free
};

struct Placement {
  std::vector<RankPlace> ranks;  // min_world_size to world_size of them, or none
  std::string waiting_reason;    // in words, when empty: "needs 4 slots, 2 are alive: h1, h2"
};

// First start: natural host order, filled host by host. Later: hosts of the epoch before keep their place, new ones take the places
// of those that are gone. Ranks of a host are neighbours. Incarnations of the ranks are left to the caller.
Placement PlaceRanks(const PlacementRequest& request, std::vector<Host> hosts);

// Places in `kept` that have a worker stay as they are, slot and local rank included; the others (a default RankPlace), and more
// at the end up to world_size, are filled with free slots of `hosts`: hosts of the epoch before first, then the others by name,
// then those that just failed. What cannot be filled is dropped, and ranks behind it move up. `hosts` count the slots of kept
// places as free.
Placement FillVacancies(const PlacementRequest& request, std::vector<RankPlace> kept, std::vector<Host> hosts);

}  // namespace ringmaster::coordinator

#endif  // RINGMASTER_COORDINATOR_CORE_PLACEMENT_H_
