// Seeds of the cluster simulator, in the number that every change can afford, and what makes its findings worth something: the same
// seed is the same run, faults do happen, and the minimiser keeps only what matters.
#include <cstdint>
#include <set>
#include <string>

#include "gtest/gtest.h"
#include "tests/sim/cluster.h"
#include "tests/sim/minimise.h"
#include "tests/sim/plan.h"

namespace ringmaster::sim {
namespace {

constexpr uint64_t kSeeds = 2000;

TEST(Simulator, ThousandsOfSeedsBreakNothing) {
  std::set<coordinator::JobState> ends;
  int epochs = 0, jobs = 0;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    const Plan plan = MakePlan(seed);
    const Result result = Simulate(plan, nullptr);
    ASSERT_TRUE(result.status.ok()) << "seed " << seed << ": " << result.status.message()
                                    << "\nagain: bazel run //tests/sim:simulate -- --seed " << seed << " --trace --minimise";
    epochs += result.epochs;
    jobs += static_cast<int>(result.jobs.size());
    for (const coordinator::Job& job : result.jobs) ends.insert(job.state);
  }
  // The seeds are worth something: every end is reached, and many jobs need more than one epoch.
  EXPECT_EQ(ends, (std::set{coordinator::JobState::kSucceeded, coordinator::JobState::kFailed, coordinator::JobState::kCancelled}));
  EXPECT_GT(epochs, jobs * 5 / 4);
}

TEST(Simulator, SameSeedTwice_SameTraceByteForByte) {
  std::set<uint64_t> digests;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    std::string first_text, second_text;
    const Result first = Simulate(MakePlan(seed), &first_text);
    const Result second = Simulate(MakePlan(seed), &second_text);
    EXPECT_EQ(first_text, second_text) << "seed " << seed;
    EXPECT_EQ(first.digest, second.digest) << "seed " << seed;
    EXPECT_EQ(first.digest, Simulate(MakePlan(seed), nullptr).digest)
        << "the digest depends on whether the text is kept, seed " << seed;
    digests.insert(first.digest);
  }
  EXPECT_EQ(digests.size(), 50u) << "different seeds are different runs";
}

TEST(Simulator, EveryKindOfFaultIsPlanned) {
  std::set<FaultKind> kinds;
  for (uint64_t seed = 0; seed < 500; ++seed) {
    for (const Fault& fault : MakePlan(seed).faults) kinds.insert(fault.kind);
  }
  EXPECT_EQ(kinds.size(), static_cast<size_t>(kFaultKinds));
}

TEST(Minimiser, KeepsOnlyTheFaultsThatMatter) {
  Plan plan;
  for (int i = 0; i < 13; ++i) {
    Fault fault;
    fault.target = i;
    plan.faults.push_back(fault);
  }
  const auto has = [](const Plan& candidate, int target) {
    for (const Fault& fault : candidate.faults) {
      if (fault.target == target) return true;
    }
    return false;
  };

  const Plan smaller = Minimise(plan, [&](const Plan& candidate) { return has(candidate, 3) && has(candidate, 11); });

  ASSERT_EQ(smaller.faults.size(), 2u);
  EXPECT_EQ(smaller.faults[0].target, 3);
  EXPECT_EQ(smaller.faults[1].target, 11);
}

}  // namespace
}  // namespace ringmaster::sim
