// Parts of a GPT, all of them on one GPU, against the whole: loss, every gradient, the norm, training, and what must be the same
// bits.
#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "trainer/cuda/cuda_gpt.h"
#include "trainer/cuda/cuda_parts_testing.h"
#include "trainer/cuda/gpu_testing.h"
#include "trainer/cuda/one_gpu_group.h"
#include "trainer/models/create_model.h"
#include "trainer/optimizer/optimizer.h"
#include "trainer/parallel/device_sync_conformance.h"
#include "trainer/parallel/mesh.h"

namespace ringmaster::trainer {
namespace {

using testing::StatusIs;

// The fake of these tests.
class OneGpuWorld {
 public:
  using Test = GpuTest;
  using Tensor = OnDevice<float>;

  template <typename Body>
  void OnAll(int size, const Body& body) {
    OneGpuMeeting meeting(size);
    std::vector<std::thread> threads;
    for (int rank = 0; rank < size; ++rank) {
      threads.emplace_back([&, rank] {
        OneGpuSync sync(meeting, rank);
        const auto stream = CreateStream();
        ASSERT_OK(stream);
        EXPECT_OK(body(sync, reinterpret_cast<CudaStream>(stream->get())));
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  absl::Status Await(DeviceSync&, CudaStream) { return absl::OkStatus(); }  // its calls wait
};

INSTANTIATE_TYPED_TEST_SUITE_P(OneGpu, DeviceSyncConformance, OneGpuWorld);

class CudaPartsTest : public GpuTest, public ::testing::WithParamInterface<Layout> {
 protected:
  void SetUp() override {
    GpuTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    ASSERT_OK_AND_ASSIGN(
        cpu_,
        CreateModel(GptConfig{.layers = kConfig.layers, .heads = kConfig.heads, .channels = kConfig.channels, .context = kContext},
                    {.context = kContext, .vocabulary = kVocabulary}, kConfig.max_samples));
    cpu_->Initialize(1);
    // What the device will compute with; biases and scales are off their first values.
    for (const Parameter& parameter : cpu_->parameters()) {
      for (int64_t i = 0; i < parameter.size; ++i) {
        float& weight = cpu_->weights()[static_cast<size_t>(parameter.offset + i)];
        if (weight == 0.0f || weight == 1.0f) weight += 0.01f * static_cast<float>(i % 7) - 0.03f;
        weight = ToFloat(ToBf16(weight));
      }
    }
  }

  std::unique_ptr<Parts> NewParts(const Layout& layout) {
    auto parts = std::make_unique<Parts>(layout);
    EXPECT_OK(parts->Create(*cpu_));
    return parts;
  }

  // The part's share of the whole's values.
  static std::vector<float> PartOf(const Model& whole, std::span<const float> arena, const Parameter& parameter) {
    const auto it = std::ranges::find(whole.parameters(), parameter.name, &Parameter::name);
    const float* const values = arena.data() + it->offset;
    if (parameter.placement.cut.is_whole()) return {values, values + parameter.size};
    std::vector<float> part(static_cast<size_t>(parameter.size));
    CopyPart(parameter.placement.cut, values, part.data());
    return part;
  }

  static std::span<const float> Own(const std::vector<float>& arena, const Parameter& parameter) {
    return std::span(arena).subspan(static_cast<size_t>(parameter.offset), static_cast<size_t>(parameter.size));
  }

  std::unique_ptr<Model> cpu_;
};

TEST_P(CudaPartsTest, HaveTheLossAndTheGradientsOfTheWhole) {
  const Layout& layout = GetParam();
  const auto parts = NewParts(layout);
  if (HasFailure()) return;
  Losses expected;
  for (int replica = 0; replica < layout.mesh.data; ++replica) {
    for (const Batch& batch : Batches(1, replica)) {
      ASSERT_OK_AND_ASSIGN(const LossSum sum, cpu_->ForwardBackward(batch, ScaleOf(layout.mesh.data)));
      expected.Add(sum);
    }
  }
  std::vector<Losses> losses(static_cast<size_t>(parts->ranks()));
  ASSERT_OK(parts->OnAll([&](int rank) -> absl::Status {
    RM_RETURN_IF_ERROR(parts->Accumulate(rank, 1, losses[static_cast<size_t>(rank)]));
    RM_ASSIGN_OR_RETURN(const double norm, parts->gpt(rank).GradientNorm());
    parts->set_norm(rank, norm);
    return absl::OkStatus();
  }));

  Losses found;
  for (int rank = 0; rank < parts->ranks(); ++rank) {
    const MeshPlace place = parts->place(rank);
    if (place.pipeline + 1 < layout.mesh.pipeline) continue;
    const Losses& own = losses[static_cast<size_t>(rank)];
    if (place.tensor == 0) found.Add({.loss = own.loss, .units = own.units, .correct = own.correct});
    EXPECT_EQ(own.loss, losses[static_cast<size_t>(rank - place.tensor)].loss) << "all shares have the same bits";
  }
  EXPECT_EQ(found.units, expected.units);
  EXPECT_NEAR(found.loss / static_cast<double>(found.units), expected.loss / static_cast<double>(expected.units), 2e-3);
  const auto gradients = parts->Arenas(CudaArena::kGradients);
  for (int rank = 0; rank < parts->ranks(); ++rank) {
    for (const Parameter& parameter : parts->gpt(rank).parameters()) {
      EXPECT_LT(RelativeError(Own(gradients[static_cast<size_t>(rank)], parameter), PartOf(*cpu_, cpu_->gradients(), parameter)),
                0.04)
          << parameter.name << " of rank " << rank;
    }
  }
  const double norm = std::sqrt(SquaredNorm(cpu_->gradients()));
  EXPECT_NEAR(parts->Norm(), norm, 0.01 * norm) << "every element counts once";
}

TEST_P(CudaPartsTest, EvaluateLikeTheWhole) {
  const Layout& layout = GetParam();
  const auto parts = NewParts(layout);
  if (HasFailure()) return;
  Losses expected;
  for (const Batch& batch : Batches(1)) expected.Add(*cpu_->Evaluate(batch));
  std::vector<Losses> losses(static_cast<size_t>(parts->ranks()));
  ASSERT_OK(parts->OnAll([&](int rank) { return parts->Evaluate(rank, 1, losses[static_cast<size_t>(rank)]); }));
  const Losses& found = losses[static_cast<size_t>(RankAt({.pipeline = layout.mesh.pipeline - 1}, layout.mesh))];
  EXPECT_EQ(found.units, expected.units);
  EXPECT_NEAR(found.loss / static_cast<double>(found.units), expected.loss / static_cast<double>(expected.units), 2e-3);
}

TEST_P(CudaPartsTest, TrainAsOneRankDoes_AndCopiesStayTheSame) {
  const Layout& layout = GetParam();
  const auto parts = NewParts(layout);
  const auto one = NewParts({.mesh = {.data = layout.mesh.data}});
  if (HasFailure()) return;
  const std::vector<double> expected = one->Train(1, 21);
  const std::vector<double> found = parts->Train(1, 21);
  for (size_t step = 0; step < found.size(); ++step) EXPECT_NEAR(found[step], expected[step], 1e-2) << "step " << step;
  EXPECT_LT(found.back(), found.front() - 0.3);
  const auto weights = parts->Arenas(CudaArena::kWeights);
  const auto whole = one->Arenas(CudaArena::kWeights);
  std::map<std::string, std::span<const float>> kept;  // of parameters that several ranks hold whole, or at both ends
  for (int rank = 0; rank < parts->ranks(); ++rank) {
    for (const Parameter& parameter : parts->gpt(rank).parameters()) {
      const std::span<const float> own = Own(weights[static_cast<size_t>(rank)], parameter);
      const auto& cut = parameter.placement.cut;
      const auto [first, is_new] = kept.emplace(absl::StrCat(parameter.name, " ", cut.is_whole() ? 0 : cut.begin), own);
      EXPECT_TRUE(is_new || std::ranges::equal(first->second, own)) << parameter.name << " of rank " << rank;
      if (parameter.name.ends_with("qkv.bias")) continue;  // a third of its gradient is rounding
      const Parameter& from = *std::ranges::find(one->gpt(0).parameters(), parameter.name, &Parameter::name);
      std::vector<float> wanted(static_cast<size_t>(parameter.size));
      if (cut.is_whole()) {
        std::ranges::copy(Own(whole[0], from), wanted.begin());
      } else {
        CopyPart(cut, whole[0].data() + from.offset, wanted.data());
      }
      EXPECT_LT(RelativeError(own, wanted), 0.1) << parameter.name << " of rank " << rank;
    }
  }
}

TEST_P(CudaPartsTest, GiveTheSameBitsAgain) {
  std::vector<std::vector<float>> weights[2];
  for (auto& of_run : weights) {
    const auto parts = NewParts(GetParam());
    if (HasFailure()) return;
    parts->Train(1, 4);
    of_run = parts->Arenas(CudaArena::kWeights);
  }
  EXPECT_EQ(weights[0], weights[1]);
}

INSTANTIATE_TEST_SUITE_P(Layouts, CudaPartsTest,
                         ::testing::Values(Layout{{.tensor = 2}}, Layout{{.tensor = 4}}, Layout{{.pipeline = 2}},
                                           Layout{{.pipeline = 4}}, Layout{{.pipeline = 2, .tensor = 2}},
                                           Layout{{.data = 2, .tensor = 2}}, Layout{{.data = 2, .pipeline = 2}}),
                         [](const auto& info) {
                           const MeshShape& mesh = info.param.mesh;
                           return absl::StrCat("Data", mesh.data, "Pipeline", mesh.pipeline, "Tensor", mesh.tensor);
                         });

using CudaStagesTest = CudaPartsTest;

// The schedule changes nothing but the order in which passes run.
TEST_F(CudaStagesTest, BothSchedulesGiveTheSameBits) {
  const auto first = NewParts({.mesh = {.pipeline = 2}});
  const auto second = NewParts({.mesh = {.pipeline = 2}, .schedule = PipelineSchedule::kGpipe});
  if (HasFailure()) return;
  EXPECT_EQ(first->Train(1, 4), second->Train(1, 4));
  EXPECT_EQ(first->Arenas(CudaArena::kWeights), second->Arenas(CudaArena::kWeights));
}

// Stages of whole layers compute what the whole does.
TEST_F(CudaStagesTest, APipelinesFirstLossIsTheWholesToTheBit) {
  const auto parts = NewParts({.mesh = {.pipeline = 4}});
  const auto one = NewParts({});
  if (HasFailure()) return;
  EXPECT_EQ(parts->Train(1, 2), one->Train(1, 2));
}

// An epoch may end between a forward pass and its loss.
TEST_F(CudaStagesTest, ANewGroupBeginsWithoutTheLossesOfTheLast) {
  ASSERT_OK_AND_ASSIGN(const auto gpt, CreateCudaGpt(kConfig));
  ASSERT_OK(gpt->stage()->Forward(/*slot=*/0, SomeBatch(2, 1), 1.0f));
  ASSERT_OK(gpt->Enter({}).status());
  ASSERT_OK_AND_ASSIGN(const LossSum sum, gpt->Evaluate(SomeBatch(1, 1)));
  EXPECT_EQ(sum.units, kContext);
  EXPECT_NEAR(sum.loss / static_cast<double>(sum.units), std::log(static_cast<double>(kVocabulary)), 1e-3) << "all weights are 0";
}

TEST_F(CudaStagesTest, WhatHasNoPassSaysSo) {
  CudaGptConfig config = kConfig;
  config.part = {.stage = 1, .stages = 2};
  ASSERT_OK_AND_ASSIGN(const auto stage, CreateCudaGpt(config));
  EXPECT_THAT(stage->Evaluate(SomeBatch(1, 1)),
              StatusIs(absl::StatusCode::kFailedPrecondition, ::testing::HasSubstr("stage 1 of 2")));
  config.part = {.share = {.rank = 1, .ranks = 2}};
  ASSERT_OK_AND_ASSIGN(const auto share, CreateCudaGpt(config));
  EXPECT_THAT(share->Evaluate(SomeBatch(1, 1)),
              StatusIs(absl::StatusCode::kFailedPrecondition, ::testing::HasSubstr("share 1 of 2")));
  config.part = {.share = {.rank = 0, .ranks = 3}};
  EXPECT_THAT(CreateCudaGpt(config), StatusIs(absl::StatusCode::kInvalidArgument, ::testing::HasSubstr("3 shares")));
  config.part = {.share = {.rank = 0, .ranks = 2}};
  config.options.sharded = true;
  EXPECT_THAT(CreateCudaGpt(config), StatusIs(absl::StatusCode::kInvalidArgument, ::testing::HasSubstr("ZeRO-1")));
}

using CudaShardsTest = CudaPartsTest;

// Steps 1 to 4, of which the copies of the last are not known to be complete; then a rank is lost.
TEST_F(CudaShardsTest, ALostShardComesBackFromTheNextRankToTheBit) {
  const auto undisturbed = NewParts({.mesh = {.data = 3}, .sharded = true});
  const auto parts = NewParts({.mesh = {.data = 3}, .sharded = true});
  if (HasFailure()) return;
  undisturbed->Train(1, 7);
  parts->Train(1, 5);
  ASSERT_OK(parts->Replace(1));
  std::vector<ShardSteps> all;
  for (int rank = 0; rank < 3; ++rank) all.push_back({.state = rank == 1 ? -1 : 4, .copies = parts->gpt(rank).copied_steps()});
  EXPECT_EQ(all[1].copies, ShardSteps{}.copies);
  const int64_t step = NewestWholeStep(all);
  ASSERT_EQ(step, 3);
  ASSERT_OK(parts->OnAll([&](int rank) { return parts->gpt(rank).RestoreShards(step, all); }));
  parts->Train(step + 1, 6);
  EXPECT_THAT(parts->gpt(0).copied_steps(), ::testing::IsSupersetOf({3, 4})) << "the next ones are not made over them";
  parts->Train(6, 7);
  for (const CudaArena arena : {CudaArena::kWeights, CudaArena::kFirstMoments, CudaArena::kSecondMoments}) {
    EXPECT_EQ(parts->Arenas(arena), undisturbed->Arenas(arena));
  }
}

}  // namespace
}  // namespace ringmaster::trainer
