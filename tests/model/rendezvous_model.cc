#include "tests/model/rendezvous_model.h"

#include <algorithm>
#include <compare>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "tests/model/job_record.h"

namespace ringmaster::model {
namespace {

enum class Life : uint8_t {
  kUnborn,  // placed, its worker has not started it
  kFresh,   // has an epoch that it has not joined
  kJoined,
  kLost,  // this epoch is over for it: it wants the next one
  kDead,  // killed, its worker has not reported it
  kDone,  // exited with 0, not reported
  kGone,
};
enum class Call : uint8_t { kNone, kJoin, kAwait, kCommit };

struct Process {
  Life life = Life::kUnborn;
  int slot = 0;
  int64_t epoch = 0;
  int rank = 0;
  Call call = Call::kNone;  // on its way, made in `epoch`
  bool has_committed = false;
  auto operator<=>(const Process&) const = default;
};

struct Assignment {
  int slot = 0;
  int64_t epoch = 0;
  uint64_t process = 0;
  int rank = 0;
  bool keeps = false;
  auto operator<=>(const Assignment&) const = default;
};

struct State {
  JobRecord record;
  std::vector<Process> processes;   // number 1 is the first
  std::set<Assignment> on_the_way;  // delivered in any order
  std::vector<int64_t> fences;      // by slot: the newest epoch that its worker was told of
  int kills = 0, crashes = 0;
  std::string broken;
  auto operator<=>(const State&) const = default;
};

bool Lives(const Process& process) { return process.life >= Life::kFresh && process.life <= Life::kLost; }

class Model {
 public:
  Model(const Bounds& bounds, Bug bug) : bounds_(bounds), bug_(bug) {}

  State First() const {
    State state;
    state.fences.resize(bounds_.slots);
    state.kills = bounds_.kills;
    state.crashes = bounds_.crashes;
    return state;
  }

  // Every state that can follow; second: only by a fault.
  std::vector<std::pair<State, bool>> After(const State& state) const {
    std::vector<std::pair<State, bool>> next;
    const auto then = [&](bool is_fault, const auto& change) {
      State copy = state;
      change(copy);
      Check(copy);
      if (copy != state) next.emplace_back(std::move(copy), is_fault);
    };
    then(false, [&](State& s) { OpenEpoch(s); });
    for (const Assignment& assignment : state.on_the_way) {
      then(false, [&](State& s) {
        s.on_the_way.erase(assignment);
        Deliver(s, assignment);
      });
    }
    for (size_t i = 0; i < state.processes.size(); ++i) {
      then(false, [&](State& s) { Go(s, s.processes[i]); });
      if (state.processes[i].call != Call::kNone) then(false, [&](State& s) { Answer(s, i); });
      then(false, [&](State& s) { Report(s, i); });
      if (Lives(state.processes[i]) && state.kills > 0) {
        then(true, [&](State& s) {
          --s.kills;
          s.processes[i].life = Life::kDead;
          s.processes[i].call = Call::kNone;
        });
      }
    }
    then(false, [&](State& s) { FinishTogether(s); });
    if (state.crashes > 0) {
      then(true, [&](State& s) {
        --s.crashes;
        for (Process& process : s.processes) process.call = Call::kNone;
        // What workers have read may still be handled late; what they have not read is gone, and is repeated.
        if (bug_ == Bug::kAssignmentsNotRepeated) s.on_the_way.clear();
        if (bug_ != Bug::kAssignmentsNotRepeated) Assign(s);
      });
    }
    return next;
  }

 private:
  static void Make(State& s, const Change& change) {
    if (const std::string why = Take(change, &s.record); !why.empty() && s.broken.empty()) s.broken = why;
  }
  static Process& ProcessOf(State& s, uint64_t number) { return s.processes[number - 1]; }
  static std::optional<int> RankOf(const State& s, uint64_t number) {
    for (size_t i = 0; i < s.record.ranks.size(); ++i) {
      if (s.record.ranks[i].process == number && s.record.ranks[i].phase != RankPhase::kEnded) return static_cast<int>(i);
    }
    return std::nullopt;
  }
  static bool IsOpen(const State& s) { return s.record.phase == Phase::kStarting || s.record.phase == Phase::kRunning; }

  void Assign(State& s) const {
    for (size_t i = 0; i < s.record.ranks.size(); ++i) {
      const RankRecord& rank = s.record.ranks[i];
      if (rank.phase == RankPhase::kEnded || !IsOpen(s)) continue;
      s.on_the_way.insert(
          {ProcessOf(s, rank.process).slot, s.record.epoch, rank.process, static_cast<int>(i), rank.phase != RankPhase::kAssigned});
    }
  }

  void OpenEpoch(State& s) const {
    const Phase phase = s.record.phase;
    if (phase != Phase::kPending && phase != Phase::kRecovering) return;
    Open open{s.record.epoch + 1, std::vector<uint64_t>(bounds_.ranks)};
    std::set<int> taken;
    bool any_kept = false, any_lives = false;
    for (size_t i = 0; i < s.record.ranks.size(); ++i) {
      const RankRecord& rank = s.record.ranks[i];
      if (rank.phase == RankPhase::kEnded) continue;
      any_lives = true;
      if (!rank.stays) continue;
      any_kept = true;
      open.processes[i] = rank.process;
      taken.insert(ProcessOf(s, rank.process).slot);
    }
    if (any_lives && !any_kept) return;
    for (uint64_t& process : open.processes) {
      if (process != 0) continue;
      int slot = 0;
      while (taken.contains(slot)) ++slot;
      if (slot >= bounds_.slots) return;
      taken.insert(slot);
      s.processes.push_back({.slot = slot});
      process = s.processes.size();
    }
    Make(s, open);
    Assign(s);
  }

  void Deliver(State& s, const Assignment& assignment) const {
    int64_t& fence = s.fences[assignment.slot];
    if (assignment.epoch <= fence && bug_ != Bug::kLateAssignmentStarts) return;
    fence = std::max(fence, assignment.epoch);
    if (assignment.keeps) return;
    for (Process& other : s.processes) {
      if (bug_ == Bug::kStartsBesideOld || other.slot != assignment.slot || !Lives(other)) continue;
      other.life = Life::kGone;
      other.call = Call::kNone;
    }
    Process& process = ProcessOf(s, assignment.process);
    if (process.life != Life::kUnborn && s.broken.empty()) s.broken = "a process is started twice";
    process.life = Life::kFresh;
    process.epoch = assignment.epoch;
    process.rank = assignment.rank;
  }

  // What a process does by itself.
  void Go(State& s, Process& process) const {
    if (process.call != Call::kNone) return;
    switch (process.life) {
      case Life::kFresh: process.call = Call::kJoin; return;
      case Life::kLost: process.call = Call::kAwait; return;
      case Life::kJoined: {
        const auto peers = std::count_if(s.processes.begin(), s.processes.end(), [&](const Process& other) {
          return other.epoch == process.epoch && (other.life == Life::kFresh || other.life == Life::kJoined);
        });
        const bool is_over = s.record.epoch > process.epoch;
        const bool any_hurt = std::any_of(s.processes.begin(), s.processes.end(), [&](const Process& other) {
          return other.epoch == process.epoch &&
                 (other.life == Life::kDead || other.life == Life::kGone || other.life == Life::kLost);
        });
        if (is_over || (peers < bounds_.ranks && any_hurt)) {
          process.life = Life::kLost;
        } else if (process.rank == 0 && !process.has_committed && s.record.phase == Phase::kRunning) {
          process.call = Call::kCommit;
        }
        return;
      }
      default: return;
    }
  }

  void Answer(State& s, size_t index) const {
    const uint64_t number = index + 1;
    Process& process = s.processes[index];
    const std::optional<int> rank = RankOf(s, number);
    const bool counts = rank.has_value() && process.epoch == s.record.epoch;
    const Call call = process.call;
    if (call == Call::kAwait) {
      if (process.epoch == s.record.epoch) {
        if (counts && IsOpen(s)) Make(s, Move{Phase::kRecovering});
        if (s.record.phase >= Phase::kDraining) process.call = Call::kNone, process.life = Life::kDead;
        return;  // parked
      }
      if (bug_ == Bug::kWaiterForgotten) return;
      process.call = Call::kNone;
      process.life = rank.has_value() ? Life::kFresh : Life::kGone;
      if (rank.has_value()) process.epoch = s.record.epoch, process.rank = *rank, process.has_committed = false;
      return;
    }
    process.call = Call::kNone;
    if (call == Call::kJoin) {
      if ((!counts || !IsOpen(s)) && bug_ != Bug::kOldJoinAccepted) {
        process.life = Life::kLost;
        return;
      }
      Make(s, Join{process.epoch, process.rank, true});
      process.life = Life::kJoined;
      const bool all = std::all_of(s.record.ranks.begin(), s.record.ranks.end(),
                                   [](const RankRecord& one) { return one.phase >= RankPhase::kJoined; });
      if (all && s.record.phase == Phase::kStarting) Make(s, Move{Phase::kRunning});
      return;
    }
    process.has_committed = true;
    if (!counts && bug_ != Bug::kOldCommitAccepted) {
      if (process.life == Life::kJoined) process.life = Life::kLost;
      return;
    }
    Make(s, Commit{process.epoch});
  }

  void Report(State& s, size_t index) const {
    Process& process = s.processes[index];
    // Ranks that do not stay are stopped when nobody does.
    if (Lives(process) && s.record.phase == Phase::kRecovering && RankOf(s, index + 1).has_value()) {
      const bool any_stays = std::any_of(s.record.ranks.begin(), s.record.ranks.end(),
                                         [](const RankRecord& rank) { return rank.stays && rank.phase != RankPhase::kEnded; });
      if (!any_stays) process.life = Life::kDead, process.call = Call::kNone;
      return;
    }
    // Placed and never started: the worker, or the coordinator when it comes to stop it, knows that there is no process.
    const bool never = process.life == Life::kUnborn && s.record.phase == Phase::kRecovering;
    if (process.life != Life::kDead && process.life != Life::kDone && !never) return;
    const bool failed = process.life != Life::kDone;
    const std::optional<int> rank = RankOf(s, index + 1);
    if (never) std::erase_if(s.on_the_way, [&](const Assignment& one) { return one.process == index + 1; });
    process.life = Life::kGone;
    if (!rank.has_value()) return;
    Make(s, End{s.record.epoch, *rank});
    if (failed && IsOpen(s)) Make(s, Move{Phase::kRecovering});
    const bool all = std::all_of(s.record.ranks.begin(), s.record.ranks.end(),
                                 [](const RankRecord& one) { return one.phase == RankPhase::kEnded; });
    if (all && IsOpen(s)) {
      Make(s, Move{Phase::kDraining, true});
      Make(s, Move{Phase::kFinished});
    }
  }

  // The last step is done: all ranks exit.
  void FinishTogether(State& s) const {
    if (s.record.phase != Phase::kRunning) return;
    for (const RankRecord& rank : s.record.ranks) {
      const Process& process = ProcessOf(s, rank.process);
      if (process.life != Life::kJoined || process.epoch != s.record.epoch || process.call != Call::kNone) return;
    }
    for (const RankRecord& rank : s.record.ranks) ProcessOf(s, rank.process).life = Life::kDone;
  }

  static void Check(State& s) {
    std::set<std::pair<int64_t, int>> owners;
    std::set<int> slots;
    for (const Process& process : s.processes) {
      if (!Lives(process) || !s.broken.empty()) continue;
      if (!owners.emplace(process.epoch, process.rank).second) s.broken = "two processes are the same rank of one epoch";
      if (!slots.insert(process.slot).second) s.broken = "two processes have one slot";
    }
  }

  const Bounds bounds_;
  const Bug bug_;
};

}  // namespace

Found Search(const Bounds& bounds, Bug bug) {
  const Model model(bounds, bug);
  std::map<State, size_t> numbers = {{model.First(), 0}};
  std::vector<const State*> states = {&numbers.begin()->first};
  std::vector<std::vector<size_t>> before(1);  // by which states, without a fault
  Found found;
  for (size_t i = 0; i < states.size(); ++i) {
    for (auto& [next, is_fault] : model.After(*states[i])) {
      ++found.steps;
      if (!next.broken.empty()) return {next.broken, std::ssize(states), found.steps};
      const auto [it, fresh] = numbers.emplace(std::move(next), states.size());
      if (fresh) states.push_back(&it->first), before.emplace_back();
      if (!is_fault) before[it->second].push_back(i);
    }
  }
  found.states = std::ssize(states);
  std::vector<bool> can_finish(states.size());
  std::vector<size_t> open;
  for (size_t i = 0; i < states.size(); ++i) {
    if (states[i]->record.phase == Phase::kFinished) can_finish[i] = true, open.push_back(i);
  }
  while (!open.empty()) {
    const size_t i = open.back();
    open.pop_back();
    for (const size_t earlier : before[i]) {
      if (!can_finish[earlier]) can_finish[earlier] = true, open.push_back(earlier);
    }
  }
  const auto stuck = std::find(can_finish.begin(), can_finish.end(), false);
  if (stuck != can_finish.end()) found.broken = "the job can never finish";
  return found;
}

}  // namespace ringmaster::model
