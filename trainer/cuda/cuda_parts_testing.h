// A small GPT cut over ranks that are threads on one GPU: for tests of its parts.
#ifndef RINGMASTER_TRAINER_CUDA_CUDA_PARTS_TESTING_H_
#define RINGMASTER_TRAINER_CUDA_CUDA_PARTS_TESTING_H_

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "trainer/cuda/cuda_gpt.h"
#include "trainer/cuda/gpu_testing.h"
#include "trainer/cuda/one_gpu_group.h"
#include "trainer/models/create_model.h"
#include "trainer/parallel/mesh.h"
#include "trainer/parallel/pipeline.h"

namespace ringmaster::trainer {

inline constexpr int64_t kContext = 128;
inline constexpr int64_t kVocabulary = 301;  // no number of shares divides it
inline constexpr int64_t kMicroBatches = 4;
inline constexpr CudaGptConfig kConfig = {
    .layers = 4, .heads = 4, .channels = 256, .context = kContext, .vocabulary = kVocabulary, .max_samples = 2};

inline Batch SomeBatch(int64_t samples, uint32_t seed) {
  Batch batch;
  batch.samples = samples;
  for (int64_t i = 0; i < samples * kContext; ++i) {
    // Some structure, or there is nothing to learn; of all shares of the vocabulary.
    batch.tokens.push_back(static_cast<int32_t>((static_cast<uint32_t>(i) * 7 + seed) % 97 * 3));
    batch.targets.push_back(static_cast<int32_t>((static_cast<uint32_t>(i + 1) * 7 + seed) % 97 * 3));
  }
  return batch;
}

// The micro-batches of a step of one replica; the last has padding.
inline std::vector<Batch> Batches(int64_t step, int replica = 0) {
  std::vector<Batch> batches;
  for (int64_t i = 0; i < kMicroBatches; ++i) {
    batches.push_back(SomeBatch(i + 1 == kMicroBatches ? 1 : 2, static_cast<uint32_t>(100 * replica + 10 * step + i)));
  }
  return batches;
}

constexpr float ScaleOf(int replicas) { return 1.0f / static_cast<float>((2 * kMicroBatches - 1) * kContext * replicas); }

// A step's or an evaluation's losses.
struct Losses {
  double loss = 0;
  int64_t units = 0;
  int64_t correct = 0;

  void Add(const LossSum& sum) {
    loss += sum.loss;
    units += sum.units;
    correct += sum.correct;
  }
};

struct Layout {
  MeshShape mesh;
  PipelineSchedule schedule = PipelineSchedule::kOneForwardOneBackward;
  bool sharded = false;  // and copied after every step
};

// All ranks of a layout, a thread each.
class Parts {
 public:
  explicit Parts(const Layout& layout) : layout_(layout) {
    const MeshShape& mesh = layout.mesh;
    const auto meetings = [](int groups, int size) {
      std::vector<std::unique_ptr<OneGpuMeeting>> made;
      for (int i = 0; i < groups; ++i) made.push_back(std::make_unique<OneGpuMeeting>(size));
      return made;
    };
    data_ = meetings(mesh.ranks_per_replica(), mesh.data);
    pipeline_ = meetings(mesh.data * mesh.tensor, mesh.pipeline);
    tensor_ = meetings(mesh.data * mesh.pipeline, mesh.tensor);
    ranks_.resize(static_cast<size_t>(mesh.ranks()));
  }

  absl::Status Create(const Model& whole) {
    for (int rank = 0; rank < layout_.mesh.ranks(); ++rank) RM_RETURN_IF_ERROR(CreateRank(rank));
    RM_RETURN_IF_ERROR(EnterAll());
    return OnAll([&](int rank) { return SetWeights(gpt(rank), whole); });
  }

  // A newcomer takes the place of `lost`, and a new group begins.
  absl::Status Replace(int lost) {
    RM_RETURN_IF_ERROR(CreateRank(lost));
    return EnterAll();
  }

  CudaModel& gpt(int rank) { return *this->rank(rank).gpt; }
  MeshPlace place(int rank) const { return PlaceOf(rank, layout_.mesh); }
  int ranks() const { return layout_.mesh.ranks(); }

  // What a rank adds to the step, without an update.
  absl::Status Accumulate(int rank, int64_t step, Losses& losses) {
    const std::vector<Batch> batches = Batches(step, place(rank).data);
    const float scale = ScaleOf(layout_.mesh.data);
    if (layout_.mesh.pipeline > 1) return RunStage(rank, layout_.schedule, batches, scale, losses);
    for (size_t i = 0; i < batches.size(); ++i) {
      RM_ASSIGN_OR_RETURN(const LossSum sum, gpt(rank).ForwardBackward(batches[i], scale, i + 1 == batches.size()));
      losses.Add(sum);
    }
    return absl::OkStatus();
  }

  absl::Status Evaluate(int rank, int64_t step, Losses& losses) {
    const std::vector<Batch> batches = Batches(step, place(rank).data);
    if (layout_.mesh.pipeline > 1) return RunStage(rank, PipelineSchedule::kForwardOnly, batches, std::nullopt, losses);
    for (const Batch& batch : batches) {
      RM_ASSIGN_OR_RETURN(const LossSum sum, gpt(rank).Evaluate(batch));
      losses.Add(sum);
    }
    return absl::OkStatus();
  }

  // Steps begin .. end-1, clipped; the losses of replica 0 by step.
  std::vector<double> Train(int64_t begin, int64_t end) {
    std::vector<double> curve;
    for (int64_t step = begin; step < end; ++step) {
      std::vector<Losses> losses(ranks_.size());
      EXPECT_OK(OnAll([&](int rank) -> absl::Status {
        RM_RETURN_IF_ERROR(Accumulate(rank, step, losses[static_cast<size_t>(rank)]));
        RM_ASSIGN_OR_RETURN(this->rank(rank).norm, gpt(rank).GradientNorm());
        return absl::OkStatus();
      }));
      const double norm = Norm();
      EXPECT_OK(OnAll([&](int rank) {
        return gpt(rank).Update({.step = step,
                                 .learning_rate = 3e-4,
                                 .weight_decay = 0.1,
                                 .gradient_scale = norm > 1 ? 1 / norm : 1,
                                 .copies_shards = layout_.sharded});
      }));
      const Losses& of_replica = losses[static_cast<size_t>(RankAt({.pipeline = layout_.mesh.pipeline - 1}, layout_.mesh))];
      curve.push_back(of_replica.loss / static_cast<double>(of_replica.units));
    }
    return curve;
  }

  // Over replica 0, of what GradientNorm has left with its ranks.
  double Norm() {
    double squares = 0;
    for (int rank = 0; rank < layout_.mesh.ranks_per_replica(); ++rank) squares += this->rank(rank).norm * this->rank(rank).norm;
    return std::sqrt(squares);
  }

  void set_norm(int rank, double norm) { this->rank(rank).norm = norm; }

  std::vector<std::vector<float>> Arenas(CudaArena arena) {
    std::vector<std::vector<float>> all(ranks_.size());
    EXPECT_OK(OnAll([&](int rank) {
      std::vector<float>& values = all[static_cast<size_t>(rank)];
      values.resize(static_cast<size_t>(gpt(rank).arena_elements()));
      return gpt(rank).GetArena(arena, values);
    }));
    return all;
  }

  absl::Status OnAll(const std::function<absl::Status(int rank)>& body) {
    std::vector<absl::Status> results(ranks_.size());
    std::vector<std::thread> threads;
    for (int rank = 0; rank < layout_.mesh.ranks(); ++rank) {
      threads.emplace_back([&, rank] { results[static_cast<size_t>(rank)] = body(rank); });
    }
    for (std::thread& thread : threads) thread.join();
    absl::Status first;
    for (absl::Status& status : results) first.Update(std::move(status));
    return first;
  }

 private:
  struct Rank {
    std::unique_ptr<CudaModel> gpt;
    std::unique_ptr<OneGpuSync> data, pipeline, tensor;
    double norm = 0;

    DeviceAxes axes() const { return {.data = data.get(), .pipeline = pipeline.get(), .tensor = tensor.get()}; }
  };

  Rank& rank(int rank) { return ranks_[static_cast<size_t>(rank)]; }

  absl::Status EnterAll() {
    return OnAll([&](int rank) { return gpt(rank).Enter(this->rank(rank).axes()).status(); });
  }

  absl::Status CreateRank(int rank) {
    const MeshShape& mesh = layout_.mesh;
    const MeshPlace at = place(rank);
    CudaGptConfig config = kConfig;
    config.options.sharded = layout_.sharded;
    config.options.shard_copies = layout_.sharded ? kMostShardCopies : 0;
    config.part = {.stage = at.pipeline,
                   .stages = mesh.pipeline,
                   .share = {.rank = at.tensor, .ranks = mesh.tensor},
                   .slots = SlotsOfStage(layout_.schedule, {.stages = mesh.pipeline, .micro_batches = kMicroBatches}, at.pipeline)};
    Rank& own = this->rank(rank);
    RM_ASSIGN_OR_RETURN(own.gpt, CreateCudaGpt(config));
    const auto join = [](std::vector<std::unique_ptr<OneGpuMeeting>>& meetings, int colour, int place, int size) {
      return size == 1 ? nullptr : std::make_unique<OneGpuSync>(*meetings[static_cast<size_t>(colour)], place);
    };
    own.data = join(data_, ColourOnData(at, mesh), at.data, mesh.data);
    own.pipeline = join(pipeline_, ColourOnPipeline(at, mesh), at.pipeline, mesh.pipeline);
    own.tensor = join(tensor_, ColourOnTensor(at, mesh), at.tensor, mesh.tensor);
    return absl::OkStatus();
  }

  static absl::Status SetWeights(CudaModel& gpt, const Model& whole) {
    std::vector<float> weights(static_cast<size_t>(gpt.arena_elements()));
    for (const Parameter& parameter : gpt.parameters()) {
      const auto from = std::ranges::find(whole.parameters(), parameter.name, &Parameter::name);
      const float* const values = whole.weights().data() + from->offset;
      float* const to = weights.data() + parameter.offset;
      if (parameter.placement.cut.is_whole()) {
        std::copy_n(values, parameter.size, to);
      } else {
        CopyPart(parameter.placement.cut, values, to);
      }
    }
    return gpt.SetArena(CudaArena::kWeights, weights);
  }

  absl::Status RunStage(int rank, PipelineSchedule schedule, const std::vector<Batch>& batches, std::optional<float> scale,
                        Losses& losses) {
    const PipelineShape shape = {.stages = layout_.mesh.pipeline, .micro_batches = kMicroBatches};
    RM_ASSIGN_OR_RETURN(
        const LossSum sum,
        RunPipeline(
            PlanOfStage(schedule, shape, place(rank).pipeline), *gpt(rank).stage(),
            [&](const PipelinePass& pass) -> const Batch& { return batches[static_cast<size_t>(pass.micro_batch)]; }, scale));
    losses.Add(sum);
    return absl::OkStatus();
  }

  const Layout layout_;
  std::vector<std::unique_ptr<OneGpuMeeting>> data_, pipeline_, tensor_;  // by colour
  std::vector<Rank> ranks_;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CUDA_CUDA_PARTS_TESTING_H_
