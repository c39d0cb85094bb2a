// Runs the plans of all ranks on an abstract machine whose values are texts: the ranks whose contributions went into a value, in
// the order of addition.
#ifndef RINGMASTER_COLLECTIVES_PLAN_ABSTRACT_MACHINE_H_
#define RINGMASTER_COLLECTIVES_PLAN_ABSTRACT_MACHINE_H_

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "collectives/plan/plan.h"
#include "gtest/gtest.h"

namespace ringmaster::plan {

using Kind = Segment::Kind;
using Values = std::vector<std::string>;  // by element

constexpr char kUntouched[] = "-";

inline std::string Name(int rank) { return std::string(1, static_cast<char>('0' + rank)); }

inline std::string AllInOrder(int size) {
  std::string text;
  for (int rank = 0; rank < size; ++rank) text += Name(rank);
  return text;
}

// One frame on a stream holds what its sender had at that moment; a stream holds `capacity` frames, a rank as much of a peer's
// contributions as HostCommunicator does: two chunks.
class Machine {
 public:
  // `in_place`: input and result are one buffer. `labelled`: an input tells its position behind its rank.
  Machine(int size, int64_t count, int64_t chunk, bool in_place, const std::function<void(const Layout&, Plan*)>& make,
          bool labelled = false)
      : size_(size), count_(count), chunk_(chunk), in_place_(in_place), streams_(size * size) {
    for (int rank = 0; rank < size; ++rank) {
      Rank& state = ranks_.emplace_back();
      make({.rank = rank, .size = size, .count = count, .chunk = chunk}, &state.plan);
      state.input.assign(count, Name(rank));
      for (int64_t at = 0; labelled && at < count; ++at) state.input[at] += "@" + std::to_string(at);
      state.result.assign(count, kUntouched);
      if (!state.plan.gather_from.empty()) {
        state.gathered.assign(size * count, kUntouched);
        std::copy(state.input.begin(), state.input.end(), state.gathered.begin());
      }
      state.next_to.resize(size);
      state.next_from.resize(size);
      state.contributed.resize(size);
    }
  }

  void ExpectWellFormed() const {
    for (int from = 0; from < size_; ++from) {
      const Plan& plan = ranks_[from].plan;
      ASSERT_EQ(plan.to.size(), static_cast<size_t>(size_));
      ASSERT_EQ(plan.from.size(), static_cast<size_t>(size_));
      ASSERT_TRUE(plan.to[from].empty() && plan.from[from].empty()) << "rank " << from << " sends to itself";
      for (int to = 0; to < size_; ++to) {
        const std::vector<Segment>& sent = plan.to[to];
        const std::vector<Segment>& received = ranks_[to].plan.from[from];
        ASSERT_EQ(sent.size(), received.size()) << from << " -> " << to;
        for (size_t i = 0; i < sent.size(); ++i) {
          ASSERT_EQ(sent[i].range.size(), received[i].range.size()) << from << " -> " << to << ", frame " << i;
          ASSERT_GT(sent[i].range.size(), 0);
          ASSERT_LE(sent[i].range.size(), chunk_);
          ASSERT_LE(sent[i].range.end, sent[i].kind == Kind::kGathered ? count_ * size_ : count_);
          ASSERT_TRUE(sent[i].kind < Kind::kContribution && received[i].kind >= Kind::kContribution);
        }
      }
    }
  }

  // In an order that `seed` draws. False: nothing can move and not all is done.
  bool Run(uint32_t seed, size_t capacity) {
    std::mt19937 random(seed);
    std::vector<std::pair<int, int>> pairs;
    for (int rank = 0; rank < size_; ++rank) {
      CopyOwnPart(rank);
      Reduce(rank);
      for (int peer = 0; peer < size_; ++peer) {
        if (peer != rank) pairs.emplace_back(rank, peer);
      }
    }
    for (bool moved = true; moved;) {
      moved = false;
      std::shuffle(pairs.begin(), pairs.end(), random);
      for (const auto& [rank, peer] : pairs) {
        moved |= Send(rank, peer, capacity);
        moved |= Receive(rank, peer);
      }
    }
    return Done();
  }

  const Values& result(int rank) const { return in_place_ ? ranks_[rank].input : ranks_[rank].result; }

 private:
  struct Rank {
    Plan plan;
    Values input, result;
    std::vector<size_t> next_to, next_from;  // by peer
    std::vector<Values> contributed;         // by peer: in the order of plan.reduce
    Values staged;                           // reduced and not yet sent
    Values gathered;                         // operands of all, this rank's own first
    int64_t reduced = 0;
    int64_t forwarded = 0;
  };

  std::deque<Values>& Stream(int from, int to) { return streams_[from * size_ + to]; }
  Values& Result(Rank& rank) { return in_place_ ? rank.input : rank.result; }

  bool Send(int rank, int peer, size_t capacity) {
    Rank& state = ranks_[rank];
    const std::vector<Segment>& segments = state.plan.to[peer];
    if (state.next_to[peer] == segments.size() || Stream(rank, peer).size() == capacity) return false;
    const Segment& segment = segments[state.next_to[peer]];
    const bool reduced = segment.kind == Kind::kReduced || segment.kind == Kind::kStaged;
    if (reduced && state.reduced < segment.range.end - state.plan.reduce.begin) return false;
    EXPECT_EQ(segment.kind == Kind::kStaged, reduced && state.plan.stage_result);
    if (segment.kind == Kind::kStaged) {
      Stream(rank, peer).emplace_back(state.staged.begin(), state.staged.begin() + segment.range.size());
      state.staged.erase(state.staged.begin(), state.staged.begin() + segment.range.size());
      ++state.next_to[peer];
      Reduce(rank);
      return true;
    }
    if (segment.kind == Kind::kForwarded && state.forwarded < segment.range.end) return false;
    if (segment.kind == Kind::kGathered && !Gathered(state, segment.range.end)) return false;
    const Values& source = segment.kind == Kind::kInput      ? state.input
                           : segment.kind == Kind::kGathered ? state.gathered
                                                             : Result(state);
    Stream(rank, peer).emplace_back(source.begin() + segment.range.begin, source.begin() + segment.range.end);
    ++state.next_to[peer];
    if (state.plan.overwrites_input) Reduce(rank);
    return true;
  }

  bool Receive(int rank, int peer) {
    Rank& state = ranks_[rank];
    if (Stream(peer, rank).empty()) return false;
    const Segment& segment = state.plan.from[peer][state.next_from[peer]];
    Values& values = Stream(peer, rank).front();
    if (segment.kind == Kind::kContribution) {
      Values& staged = state.contributed[peer];
      if (static_cast<int64_t>(staged.size()) + segment.range.size() > state.reduced + 2 * chunk_) return false;
      EXPECT_EQ(segment.range.begin, state.plan.reduce.begin + static_cast<int64_t>(staged.size())) << "contributions in order";
      staged.insert(staged.end(), values.begin(), values.end());
      Reduce(rank);
    } else if (segment.kind == Kind::kOperands) {
      std::move(values.begin(), values.end(), state.gathered.begin() + segment.range.begin);
    } else {
      std::move(values.begin(), values.end(), Result(state).begin() + segment.range.begin);
      if (peer == state.plan.forward_from) state.forwarded = segment.range.end;
    }
    Stream(peer, rank).pop_front();
    ++state.next_from[peer];
    if (segment.kind == Kind::kOperands) Reduce(rank);
    return true;
  }

  void CopyOwnPart(int rank) {
    Rank& state = ranks_[rank];
    for (int64_t at = 0; at < state.plan.copy_to.size() && !in_place_; ++at) {
      state.result[state.plan.copy_to.begin + at] = state.input[state.plan.copy_from.begin + at];
    }
  }

  void Reduce(int rank) {
    Rank& state = ranks_[rank];
    if (state.plan.operands.empty()) return;
    if (!state.plan.gather_from.empty()) return ReduceGathered(rank);
    int64_t ready = state.plan.reduce.size();
    for (const int operand : state.plan.operands) {
      if (operand != rank) ready = std::min(ready, static_cast<int64_t>(state.contributed[operand].size()));
    }
    if (state.plan.overwrites_input && in_place_) ready = std::min(ready, SentToAll(rank));
    for (; state.reduced < ready; ++state.reduced) {
      if (state.plan.stage_result && static_cast<int64_t>(state.staged.size()) == 2 * chunk_) return;
      const int64_t at = state.plan.reduce.begin + state.reduced;
      std::string sum;
      for (const int operand : state.plan.operands) {
        sum += operand == rank ? state.input[at] : state.contributed[operand][state.reduced];
      }
      EXPECT_EQ(state.plan.last_link, static_cast<int>(sum.size()) == size_) << "where the result is rounded";
      if (state.plan.stage_result) {
        state.staged.push_back(sum);
      } else {
        Result(state)[at] = sum;
      }
    }
  }

  // HostCommunicator looks at peers in the order of gather_from, and so must need them.
  static bool Gathered(const Rank& state, int64_t end) {
    for (const int peer : state.plan.gather_from) {
      const std::vector<Segment>& segments = state.plan.from[peer];
      if (segments.empty() || segments.front().range.begin >= end) return true;
      if (state.next_from[peer] < segments.size()) return false;
    }
    return true;
  }

  void ReduceGathered(int rank) {
    Rank& state = ranks_[rank];
    if (!Gathered(state, size_ * count_)) return;
    for (; state.reduced < count_; ++state.reduced) {
      std::string sum;
      for (const int operand : state.plan.operands) {
        sum += state.gathered[(operand - rank + size_) % size_ * count_ + state.reduced];
      }
      Result(state)[state.reduced] = sum;
    }
  }

  // Elements of the input, all of which goes to every peer.
  int64_t SentToAll(int rank) const {
    const Rank& state = ranks_[rank];
    int64_t sent = state.plan.reduce.size();
    for (int peer = 0; peer < size_; ++peer) {
      const size_t next = state.next_to[peer];
      if (peer != rank) sent = std::min(sent, next == 0 ? 0 : state.plan.to[peer][next - 1].range.end);
    }
    return sent;
  }

  bool Done() const {
    for (const Rank& rank : ranks_) {
      if (!rank.plan.operands.empty() && rank.reduced != rank.plan.reduce.size()) return false;
      for (int peer = 0; peer < size_; ++peer) {
        if (rank.next_to[peer] != rank.plan.to[peer].size() || rank.next_from[peer] != rank.plan.from[peer].size()) return false;
      }
    }
    return true;
  }

  const int size_;
  const int64_t count_, chunk_;
  const bool in_place_;
  std::vector<Rank> ranks_;
  std::vector<std::deque<Values>> streams_;
};

}  // namespace ringmaster::plan

#endif  // RINGMASTER_COLLECTIVES_PLAN_ABSTRACT_MACHINE_H_
