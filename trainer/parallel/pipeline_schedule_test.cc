#include "trainer/parallel/pipeline_schedule.h"

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ringmaster::trainer {
namespace {

constexpr PipelineSchedule kAll[] = {PipelineSchedule::kOneForwardOneBackward, PipelineSchedule::kGpipe,
                                     PipelineSchedule::kForwardOnly};

// All stages at once, where a transfer happens only when both sides are at it and an exchange ends only when all its transfers
// have: the least that any transport gives.
class Machine {
 public:
  Machine(PipelineSchedule schedule, PipelineShape shape) : shape_(shape) {
    for (int stage = 0; stage < shape.stages; ++stage) plans_.push_back(PlanOfStage(schedule, shape, stage));
    at_.resize(plans_.size());
    open_.resize(plans_.size());
    kept_.resize(plans_.size());
    for (size_t stage = 0; stage < plans_.size(); ++stage) open_[stage] = ExchangeOf(stage);
  }

  // False: nothing can move, and not all have ended.
  bool Run() {
    bool moved = true;
    while (moved) {
      moved = false;
      for (size_t stage = 0; stage + 1 < plans_.size(); ++stage) moved |= Transfer(stage);
      for (size_t stage = 0; stage < plans_.size(); ++stage) moved |= Compute(stage);
    }
    for (size_t stage = 0; stage < plans_.size(); ++stage) {
      if (at_[stage] != plans_[stage].steps.size() || open_[stage] != PipelineExchange{}) return false;
    }
    return true;
  }

  size_t most_kept(int stage) const { return most_kept_.at(stage); }
  const std::string& error() const { return error_; }

 private:
  PipelineExchange ExchangeOf(size_t stage) const {
    const PipelinePlan& plan = plans_[stage];
    return at_[stage] < plan.steps.size() ? plan.steps[at_[stage]].before : plan.last;
  }

  bool Transfer(size_t stage) {
    PipelineExchange& own = open_[stage];
    PipelineExchange& next = open_[stage + 1];
    bool moved = false;
    if (own.send_exit && next.receive_entry) {
      own.send_exit = next.receive_entry = false;
      moved = true;
    }
    if (next.send_gradient && own.receive_gradient) {
      next.send_gradient = own.receive_gradient = false;
      moved = true;
    }
    return moved;
  }

  bool Compute(size_t stage) {
    if (at_[stage] == plans_[stage].steps.size() || open_[stage] != PipelineExchange{}) return false;
    const PipelinePass& pass = plans_[stage].steps[at_[stage]].pass;
    std::map<int, int>& kept = kept_[stage];  // slot -> micro-batch
    if (pass.is_backward) {
      if (kept[pass.slot] != pass.micro_batch) error_ = absl::StrCat("micro-batch ", pass.micro_batch, " is not in its slot");
      kept.erase(pass.slot);
    } else {
      if (kept.contains(pass.slot) && !is_forward_only()) error_ = absl::StrCat("slot ", pass.slot, " is in use");
      kept[pass.slot] = pass.micro_batch;
    }
    size_t& most = most_kept_[static_cast<int>(stage)];
    most = std::max(most, kept.size());
    ++at_[stage];
    open_[stage] = ExchangeOf(stage);
    return true;
  }

  bool is_forward_only() const {
    return std::ranges::none_of(plans_[0].steps, [](const PipelineStep& step) { return step.pass.is_backward; });
  }

  const PipelineShape shape_;
  std::vector<PipelinePlan> plans_;
  std::vector<size_t> at_;              // step
  std::vector<PipelineExchange> open_;  // what is left of the exchange before it
  std::vector<std::map<int, int>> kept_;
  std::map<int, size_t> most_kept_;
  std::string error_;
};

TEST(PipelineSchedule, NeverBlocksAndKeepsNoMoreThanItsSlots) {
  for (const PipelineSchedule schedule : kAll) {
    for (int stages = 1; stages <= 6; ++stages) {
      for (int micro_batches = 1; micro_batches <= 13; ++micro_batches) {
        const PipelineShape shape = {.stages = stages, .micro_batches = micro_batches};
        Machine machine(schedule, shape);
        EXPECT_TRUE(machine.Run()) << stages << " stages, " << micro_batches << " micro-batches stand still";
        EXPECT_EQ(machine.error(), "");
        for (int stage = 0; stage < stages; ++stage) {
          EXPECT_EQ(machine.most_kept(stage), static_cast<size_t>(SlotsOfStage(schedule, shape, stage)));
        }
      }
    }
  }
}

TEST(PipelineSchedule, EveryMicroBatchPassesOnceEachWayInOrder) {
  for (const PipelineSchedule schedule : kAll) {
    for (int stage = 0; stage < 3; ++stage) {
      std::vector<int> forward, backward;
      for (const PipelineStep& step : PlanOfStage(schedule, {.stages = 3, .micro_batches = 5}, stage).steps) {
        (step.pass.is_backward ? backward : forward).push_back(step.pass.micro_batch);
      }
      EXPECT_THAT(forward, ::testing::ElementsAre(0, 1, 2, 3, 4));
      if (schedule == PipelineSchedule::kForwardOnly) {
        EXPECT_TRUE(backward.empty());
      } else {
        EXPECT_THAT(backward, ::testing::ElementsAre(0, 1, 2, 3, 4));
      }
    }
  }
}

TEST(PipelineSchedule, OneForwardOneBackwardKeepsAsManyAsThereAreStagesLeft) {
  const PipelineShape shape = {.stages = 4, .micro_batches = 100};
  EXPECT_EQ(SlotsOfStage(PipelineSchedule::kOneForwardOneBackward, shape, 0), 4);
  EXPECT_EQ(SlotsOfStage(PipelineSchedule::kOneForwardOneBackward, shape, 3), 1);
  EXPECT_EQ(SlotsOfStage(PipelineSchedule::kGpipe, shape, 3), 100);
}

}  // namespace
}  // namespace ringmaster::trainer
