// Parts of a GPT against the whole: first values, loss, every gradient, and what of them counts in the norm.
#include "trainer/models/model_part.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "common/mutex.h"
#include "common/status_macros.h"
#include "common/status_matchers.h"
#include "gtest/gtest.h"
#include "trainer/models/create_model.h"
#include "trainer/models/reference_model.h"
#include "trainer/optimizer/optimizer.h"

namespace ringmaster::trainer {
namespace {

using ::ringmaster::testing::StatusIs;
using ::testing::HasSubstr;

// Heads, layers and vocabulary that no layout below divides evenly, but for the heads.
const GptConfig kGpt = {.layers = 5, .heads = 6, .channels = 24, .context = 7};
const SampleShape kText = {.context = 7, .vocabulary = 29};
constexpr int64_t kSamples = 2;
constexpr float kScale = 0.25f;

// Where the shares, a thread each, meet.
class Meeting {
 public:
  explicit Meeting(int size) : values_(static_cast<size_t>(size)) {}

  // Combines over all in the order of the shares. DEADLINE_EXCEEDED: somebody does not come.
  template <typename Combine>
  absl::Status Run(int rank, std::span<float> values, const Combine& combine) {
    values_[static_cast<size_t>(rank)] = values;
    RM_RETURN_IF_ERROR(Arrive());
    std::vector<float> total(values_[0].begin(), values_[0].end());
    for (size_t other = 1; other < values_.size(); ++other) {
      if (values_[other].size() != total.size()) return absl::InvalidArgumentError("sizes differ");
      for (size_t i = 0; i < total.size(); ++i) total[i] = combine(total[i], values_[other][i]);
    }
    RM_RETURN_IF_ERROR(Arrive());
    std::ranges::copy(total, values.begin());
    return Arrive();
  }

 private:
  absl::Status Arrive() {
    MutexLock lock(&mu_);
    const int64_t round = arrived_++ / static_cast<int64_t>(values_.size());
    changed_.SignalAll();
    while (arrived_ < (round + 1) * static_cast<int64_t>(values_.size())) {
      if (!changed_.WaitFor(&mu_, absl::Seconds(20))) return absl::DeadlineExceededError("a share does not come");
    }
    return absl::OkStatus();
  }

  std::vector<std::span<float>> values_;
  Mutex mu_;
  CondVar changed_;
  int64_t arrived_ ABSL_GUARDED_BY(mu_) = 0;
};

class ThreadPeers final : public TensorPeers {
 public:
  ThreadPeers(Meeting& meeting, int rank) : meeting_(meeting), rank_(rank) {}
  absl::Status Sum(std::span<float> values) override {
    return meeting_.Run(rank_, values, [](float a, float b) { return a + b; });
  }
  absl::Status Max(std::span<float> values) override {
    return meeting_.Run(rank_, values, [](float a, float b) { return std::max(a, b); });
  }

 private:
  Meeting& meeting_;
  const int rank_;
};

// The same odd weights for a whole and its parts: biases and scales are off their first values.
void Spoil(Model& model) {
  for (const Parameter& parameter : model.parameters()) {
    const TensorCut& cut = parameter.placement.cut;
    for (int64_t i = 0; i < parameter.size; ++i) {
      const int64_t place = cut.is_whole() ? i : cut.run_begin(i / cut.run()) + i % cut.run();
      float& weight = model.weights()[static_cast<size_t>(parameter.offset + i)];
      if (weight == 0.0f || weight == 1.0f) weight += 0.05f * static_cast<float>(place % 7) - 0.1f;
    }
  }
}

std::vector<Batch> Batches() { return {ExampleBatch(kText, kSamples, 3), ExampleBatch(kText, kSamples - 1, 4)}; }

struct Layout {
  int stages;
  int shares;
};

// All parts of a layout, and their passes over two micro-batches that are under way at the same time.
class Parts {
 public:
  explicit Parts(const Layout& layout) : layout_(layout), meeting_(layout.shares) {
    for (int share = 0; share < layout.shares; ++share) {
      peers_.push_back(std::make_unique<ThreadPeers>(meeting_, share));
      for (int stage = 0; stage < layout.stages; ++stage) {
        const ModelPart part = {
            .stage = stage, .stages = layout.stages, .share = {.rank = share, .ranks = layout.shares}, .slots = 2};
        auto created = CreateGptPart(kGpt, kText, kSamples, part);
        EXPECT_OK(created);
        parts_.push_back(*std::move(created));
        parts_.back().model->Initialize(5);
        if (layout.shares > 1) parts_.back().stage->Meet(peers_.back().get());
      }
    }
  }

  Model& model(int share, int stage) { return *part(share, stage).model; }

  // The sums, of each share, with or without backward passes.
  std::vector<LossSum> Run(std::optional<float> scale) {
    std::vector<LossSum> sums(peers_.size());
    std::vector<std::thread> threads;
    for (int share = 0; share < layout_.shares; ++share) {
      threads.emplace_back([&, share] { EXPECT_OK(RunShare(share, scale, sums[static_cast<size_t>(share)])); });
    }
    for (std::thread& thread : threads) thread.join();
    return sums;
  }

  // As the first and the last stage do it.
  void SumTied() {
    for (int share = 0; share < layout_.shares && layout_.stages > 1; ++share) {
      const auto first = part(share, 0).stage->tied_gradient();
      const auto last = part(share, layout_.stages - 1).stage->tied_gradient();
      ASSERT_EQ(first.size(), last.size());
      for (size_t i = 0; i < first.size(); ++i) first[i] = last[i] = first[i] + last[i];
    }
  }

 private:
  CreatedPart& part(int share, int stage) { return parts_[static_cast<size_t>(share * layout_.stages + stage)]; }

  absl::Status RunShare(int share, std::optional<float> scale, LossSum& sum) {
    const std::vector<Batch> batches = Batches();
    const int last = layout_.stages - 1;
    for (int slot = 0; slot < 2; ++slot) {
      for (int stage = 0; stage <= last; ++stage) {
        Stage& own = *part(share, stage).stage;
        if (stage > 0) std::ranges::copy(part(share, stage - 1).stage->exit(), own.entry(slot).begin());
        RM_ASSIGN_OR_RETURN(const LossSum of_stage, own.Forward(slot, batches[static_cast<size_t>(slot)], scale));
        sum.loss += of_stage.loss;
        sum.units += of_stage.units;
        sum.correct += of_stage.correct;
      }
    }
    for (int slot = 0; slot < 2 && scale.has_value(); ++slot) {
      for (int stage = last; stage >= 0; --stage) {
        Stage& own = *part(share, stage).stage;
        if (stage < last) {
          std::ranges::copy(part(share, stage + 1).stage->entry_gradient(), own.exit_gradient().begin());
        }
        RM_RETURN_IF_ERROR(own.Backward(slot));
      }
    }
    return absl::OkStatus();
  }

  const Layout layout_;
  Meeting meeting_;
  std::vector<std::unique_ptr<ThreadPeers>> peers_;
  std::vector<CreatedPart> parts_;  // (shares, stages)
};

std::unique_ptr<Model> Whole() {
  auto model = CreateModel(kGpt, kText, kSamples);
  EXPECT_OK(model);
  (*model)->Initialize(5);
  return *std::move(model);
}

// The part's share of one of the whole's arenas.
std::vector<float> PartOf(const Model& whole, std::span<const float> arena, const Parameter& parameter) {
  const auto it = std::ranges::find(whole.parameters(), parameter.name, &Parameter::name);
  const float* const values = arena.data() + it->offset;
  std::vector<float> part(static_cast<size_t>(parameter.size));
  if (parameter.placement.cut.is_whole()) return {values, values + parameter.size};
  CopyPart(parameter.placement.cut, values, part.data());
  return part;
}

std::vector<float> Own(std::span<const float> arena, const Parameter& parameter) {
  const auto own = arena.subspan(static_cast<size_t>(parameter.offset), static_cast<size_t>(parameter.size));
  return {own.begin(), own.end()};
}

class PartsOfAModel : public ::testing::TestWithParam<Layout> {};

TEST_P(PartsOfAModel, BeginWithTheWeightsOfTheWhole) {
  const Layout layout = GetParam();
  Parts parts(layout);
  const auto whole = Whole();
  for (int share = 0; share < layout.shares; ++share) {
    for (int stage = 0; stage < layout.stages; ++stage) {
      Model& model = parts.model(share, stage);
      for (const Parameter& parameter : model.parameters()) {
        EXPECT_EQ(Own(model.weights(), parameter), PartOf(*whole, whole->weights(), parameter)) << parameter.name;
      }
    }
  }
}

TEST_P(PartsOfAModel, HaveItsLossAndItsGradients) {
  const Layout layout = GetParam();
  Parts parts(layout);
  const auto whole = Whole();
  Spoil(*whole);
  LossSum expected;
  for (const Batch& batch : Batches()) {
    ASSERT_OK_AND_ASSIGN(const LossSum sum, whole->ForwardBackward(batch, kScale));
    expected.loss += sum.loss;
    expected.units += sum.units;
    expected.correct += sum.correct;
  }
  for (int part = 0; part < layout.shares * layout.stages; ++part) Spoil(parts.model(part / layout.stages, part % layout.stages));

  const std::vector<LossSum> sums = parts.Run(kScale);
  parts.SumTied();

  double squares = 0;
  for (int share = 0; share < layout.shares; ++share) {
    EXPECT_NEAR(sums[static_cast<size_t>(share)].loss, expected.loss, 1e-6 * expected.loss);
    EXPECT_EQ(sums[static_cast<size_t>(share)].loss, sums[0].loss) << "all shares have the same bits";
    EXPECT_EQ(sums[static_cast<size_t>(share)].units, expected.units);
    EXPECT_EQ(sums[static_cast<size_t>(share)].correct, expected.correct);
    for (int stage = 0; stage < layout.stages; ++stage) {
      Model& model = parts.model(share, stage);
      squares += SquaredGradientNorm(model);
      for (const Parameter& parameter : model.parameters()) {
        const std::vector<float> own = Own(model.gradients(), parameter);
        const std::vector<float> wanted = PartOf(*whole, whole->gradients(), parameter);
        double difference = 0;
        for (size_t i = 0; i < own.size(); ++i) difference += std::pow(static_cast<double>(own[i]) - wanted[i], 2);
        EXPECT_LE(std::sqrt(difference), 2e-6 * std::sqrt(SquaredNorm(wanted)) + 1e-7)
            << parameter.name << " of share " << share << ", stage " << stage;
      }
    }
  }
  const double whole_squares = SquaredGradientNorm(*whole);
  EXPECT_NEAR(squares, whole_squares, 1e-5 * whole_squares) << "every element counts once";
}

TEST_P(PartsOfAModel, EvaluateLikeTheWhole) {
  Parts parts(GetParam());
  const auto whole = Whole();
  double expected = 0;
  for (const Batch& batch : Batches()) expected += whole->Evaluate(batch)->loss;
  for (const LossSum& sum : parts.Run(std::nullopt)) EXPECT_NEAR(sum.loss, expected, 1e-6 * expected);
}

INSTANTIATE_TEST_SUITE_P(Layouts, PartsOfAModel,
                         ::testing::Values(Layout{1, 2}, Layout{1, 3}, Layout{1, 6}, Layout{2, 1}, Layout{3, 1}, Layout{5, 1},
                                           Layout{2, 3}),
                         [](const auto& info) {
                           return "Stages" + std::to_string(info.param.stages) + "Shares" + std::to_string(info.param.shares);
                         });

TEST(PartOfAModel, ThatCannotBe_IsRefusedByTheFieldsName) {
  const auto create = [](const ModelPart& part) { return CreateGptPart(kGpt, kText, kSamples, part).status(); };
  EXPECT_THAT(create({.share = {.rank = 0, .ranks = 4}}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("parallel.tensor: found 4")));
  EXPECT_THAT(create({.stages = 6}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("parallel.pipeline: found 6")));
}

TEST(PartOfAModel, OneStageOfSeveral_HasNoPassOfItsOwn) {
  ASSERT_OK_AND_ASSIGN(const CreatedPart part, CreateGptPart(kGpt, kText, kSamples, {.stage = 1, .stages = 2}));
  EXPECT_THAT(part.model->Evaluate(Batches()[0]), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("stage 1 of 2")));
}

}  // namespace
}  // namespace ringmaster::trainer
