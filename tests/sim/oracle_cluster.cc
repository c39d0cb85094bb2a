// What happens in the cluster, as the oracle is told of it: faults, processes, addresses.
#include "tests/sim/describe.h"
#include "tests/sim/oracle.h"

namespace ringmaster::sim {

void Oracle::Hurt(const coordinator::RankIdentity& rank, int exit_code) {
  trace_.Note("hurt: ", Describe(RankKey{rank.job, rank.epoch, rank.rank}));
  injuries_[rank.job].push_back({rank.incarnation, exit_code, timeline_.now()});
}

void Oracle::Frozen(Incarnation incarnation, bool steps) {
  standstills_[incarnation].push_back({.since = timeline_.now(), .steps = steps});
}

void Oracle::Thawed(Incarnation incarnation) { standstills_[incarnation].back().until = timeline_.now(); }

void Oracle::HurtHost(const WorkerId& host) {
  hurt_hosts_[host] = timeline_.now();
  last_network_ = timeline_.now();
}

void Oracle::HostSilent(const WorkerId& host, Incarnation incarnation) {
  HurtHost(host);
  ++silent_.insert({host, {incarnation, timeline_.now()}}).first->second.reasons;
}

void Oracle::HostHeard(const WorkerId& host) {
  const auto silence = silent_.find(host);
  if (silence == silent_.end() || --silence->second.reasons > 0) return;
  silent_.erase(silence);
  HurtHost(host);
}

void Oracle::ProcessStarted(const RankKey& rank, Incarnation incarnation, const WorkerId& host) {
  const auto owner = owners_.find(rank);
  if (owner == owners_.end() || owner->second != incarnation) Violate(Describe(rank), " starts and was never placed");
  if (!truths_.insert({incarnation, {rank, host, {}, 0}}).second) Violate(Describe(rank), " has a second process");
  for (const auto& [other, truth] : truths_) {
    if (truth.rank.job == rank.job && truth.rank.epoch < rank.epoch && truth.host == host && !truth.ended.has_value()) {
      Violate(Describe(rank), " starts on ", host.value(), " while ", Describe(truth.rank), " still runs there");
    }
  }
}

void Oracle::ProcessEnded(Incarnation incarnation, int exit_code) {
  Truth& truth = truths_.at(incarnation);
  truth.ended = timeline_.now();
  truth.exit_code = exit_code;
}

void Oracle::MustHaveRun(Incarnation incarnation, const WorkerId& host) {
  const auto truth = truths_.find(incarnation);
  if (truth == truths_.end() || truth->second.host != host) {
    Violate("worker ", host.value(), " is told to keep a process that it never had");
  }
}

void Oracle::Kept(Incarnation incarnation, const RankKey& to) {
  const auto owner = owners_.find(to);
  if (owner == owners_.end() || owner->second != incarnation) Violate(Describe(to), " is kept, and was placed as another process");
  truths_.at(incarnation).rank = to;
}

void Oracle::Moved(const coordinator::RankIdentity& from, const coordinator::RankIdentity& to) {
  const auto owner = owners_.find({to.job, to.epoch, to.rank});
  if (to.epoch <= from.epoch || to.incarnation != from.incarnation || owner == owners_.end() || owner->second != to.incarnation) {
    Violate("rank ", from.rank.value(), " of epoch ", from.epoch.value(), " is told to go on as rank ", to.rank.value(),
            " of epoch ", to.epoch.value(), ", which is another process");
  }
}

void Oracle::Joined(const coordinator::RankIdentity& identity, int world_size) {
  const RankKey last{identity.job, identity.epoch, Rank(world_size - 1)};
  if (!owners_.contains(last) || owners_.contains({last.job, last.epoch, Rank(world_size)})) {
    Violate(Describe({identity.job, identity.epoch, identity.rank}), ": joined a world of ", world_size, ", another was placed");
  }
}

void Oracle::Read(const RankKey& reader, Rank of, const std::string& value) {
  const auto it = values_.find({reader.job, reader.epoch, of});
  if (it == values_.end() || it->second != value) {
    Violate(Describe(reader), " read \"", value, "\" as the address of rank ", of.value(), ", which did not publish it");
  }
}

}  // namespace ringmaster::sim
