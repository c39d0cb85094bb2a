#include "trainer/cuda/device_snapshot.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/status_matchers.h"

namespace ringmaster::trainer {
namespace {

using ::testing::ElementsAre;

constexpr int64_t kElements = 100;

// A device whose arenas hold arena * 1000 + element, and that copies when it is awaited.
class FakeModel final : public CudaModel {
 public:
  explicit FakeModel(std::vector<ArenaRange> kept) : kept_(std::move(kept)) {
    parameters_ = {{.name = "w", .shape = {40}, .offset = 0, .size = 40}, {.name = "b", .shape = {30}, .offset = 64, .size = 30}};
  }

  const std::vector<Parameter>& parameters() const override { return parameters_; }
  int64_t arena_elements() const override { return kElements; }
  std::vector<ArenaRange> kept() const override { return kept_; }
  absl::Status Pin(std::span<float> memory) override {
    pinned_.push_back(memory.data());
    return absl::OkStatus();
  }
  absl::Status BeginCopy(std::span<const CudaArenaCopy> copies) override {
    copies_.assign(copies.begin(), copies.end());
    return absl::OkStatus();
  }
  absl::Status AwaitCopy() override {
    for (const CudaArenaCopy& copy : copies_) {
      for (size_t i = 0; i < copy.to.size(); ++i) {
        const int64_t element = copy.begin + static_cast<int64_t>(i);
        const bool is_kept =
            std::ranges::any_of(kept_, [&](const ArenaRange& range) { return element >= range.begin && element < range.end; });
        if (is_kept) copy.to[i] = static_cast<float>(1000 * static_cast<int>(copy.arena) + element);
      }
    }
    return absl::OkStatus();
  }

  absl::StatusOr<bool> Enter(const DeviceAxes&) override { return true; }
  void Leave() override {}
  absl::Status ShareWeights() override { return absl::OkStatus(); }
  absl::Status FillFrom(int) override { return absl::OkStatus(); }
  bool is_sharded() const override { return kept_.size() > 1; }
  std::array<int64_t, kMostShardCopies> copied_steps() const override { return ShardSteps{}.copies; }
  absl::Status RestoreShards(int64_t, std::span<const ShardSteps>) override { return absl::OkStatus(); }
  int device() const override { return 0; }
  std::string unique_name() const override { return "GPU-fake"; }
  absl::Status SetArena(CudaArena, std::span<const float>) override { return absl::OkStatus(); }
  absl::Status GetArena(CudaArena, std::span<float>) override { return absl::OkStatus(); }
  absl::StatusOr<LossSum> ForwardBackward(const Batch&, float, bool) override { return LossSum{}; }
  absl::StatusOr<LossSum> Evaluate(const Batch&) override { return LossSum{}; }
  PipelineStage* stage() override { return nullptr; }
  absl::StatusOr<double> GradientNorm() override { return 0; }
  absl::Status Update(const AdamWUpdate&) override { return absl::OkStatus(); }
  absl::Status WaitUntilIdle() override { return absl::OkStatus(); }
  absl::StatusOr<std::vector<ProfiledWork>> ProfileStep(const Batch&, const AdamWUpdate&) override {
    return std::vector<ProfiledWork>();
  }
  std::vector<DeviceBytes> memory() const override { return {}; }
  std::string description() const override { return "a fake"; }

  std::vector<const float*> pinned_;
  std::vector<CudaArenaCopy> copies_;

 private:
  std::vector<Parameter> parameters_;
  const std::vector<ArenaRange> kept_;
};

class DeviceSnapshotTest : public ::testing::Test {
 protected:
  // As StateTensors gives them: the parameters of one arena, then those of the next.
  std::vector<StateTensor> Tensors() {
    std::vector<StateTensor> tensors;
    for (auto& [arena, values] :
         std::vector<std::pair<std::string, std::span<float>>>{{"model/", weights_}, {"adamw.m/", moments_}}) {
      tensors.push_back({arena + "w", {40}, values.subspan(0, 40)});
      tensors.push_back({arena + "b", {30}, values.subspan(64, 30)});
    }
    return tensors;
  }
  std::vector<HostArena> Arenas() { return {{CudaArena::kWeights, weights_}, {CudaArena::kFirstMoments, moments_}}; }

  std::vector<float> weights_ = std::vector<float>(kElements, -1.0f);
  std::vector<float> moments_ = std::vector<float>(kElements, -1.0f);
};

TEST_F(DeviceSnapshotTest, OnlyWhatIsStored_IsPinnedOnceAndCopied) {
  FakeModel gpt({{0, kElements}});
  // The second of two ranks: from the middle of the weights' last tensor to the moments' first.
  DeviceSnapshot snapshot(gpt, Arenas(), {{"model/b", {30}, 10, 30, &weights_[74]}, {"adamw.m/w", {40}, 0, 40, moments_.data()}});
  ASSERT_OK(snapshot.Allocate());
  ASSERT_OK(snapshot.WarmUp());
  EXPECT_THAT(gpt.pinned_, ElementsAre(weights_.data(), moments_.data()));

  ASSERT_OK(snapshot.Take());
  ASSERT_EQ(gpt.copies_.size(), 2u);
  EXPECT_EQ(gpt.copies_[0].begin, 74);
  EXPECT_EQ(gpt.copies_[0].to.size(), 20u);
  EXPECT_EQ(gpt.copies_[1].begin, 0);
  EXPECT_EQ(gpt.copies_[1].to.size(), 40u);

  ASSERT_OK(snapshot.Await());
  EXPECT_EQ(snapshot.pieces()[0].values[0], 74.0f);
  EXPECT_EQ(snapshot.pieces()[1].values[39], 1000.0f * static_cast<float>(CudaArena::kFirstMoments) + 39.0f);
  EXPECT_EQ(weights_[73], -1.0f);
  EXPECT_EQ(moments_[40], -1.0f);
}

TEST_F(DeviceSnapshotTest, OfShardedState_WhatIsKeptIsStored) {
  FakeModel gpt({{10, 20}, {30, 70}});
  const std::vector<TensorPiece> pieces = KeptPieces(gpt, Tensors());
  std::vector<std::string> ranges;
  for (const TensorPiece& piece : pieces) {
    ranges.push_back(piece.name + " " + std::to_string(piece.begin) + ":" + std::to_string(piece.end));
  }
  EXPECT_THAT(ranges,
              ElementsAre("model/w 10:20", "model/w 30:40", "model/b 0:6", "adamw.m/w 10:20", "adamw.m/w 30:40", "adamw.m/b 0:6"));
  DeviceSnapshot snapshot(gpt, Arenas(), pieces);
  ASSERT_OK(snapshot.Take());
  ASSERT_OK(snapshot.Await());
  for (const TensorPiece& piece : snapshot.pieces()) {
    const float first = *piece.values;
    EXPECT_GE(first, 0) << piece.name;
    for (int64_t i = 1; i < piece.size(); ++i) EXPECT_EQ(piece.values[i], first + static_cast<float>(i)) << piece.name;
  }
}

}  // namespace
}  // namespace ringmaster::trainer
