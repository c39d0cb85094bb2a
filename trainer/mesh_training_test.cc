// The same job in every layout of a mesh: the same curve, the same checkpoints, and what a death costs.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "collectives/host_communicator.h"
#include "collectives/transport/inproc_transport.h"
#include "common/mutex.h"
#include "common/real_clock.h"
#include "common/status_macros.h"
#include "common/status_matchers.h"
#include "gtest/gtest.h"
#include "trainer/checkpoint/reader.h"
#include "trainer/model_state.h"
#include "trainer/parallel/mesh_syncs.h"
#include "trainer/parallel/stored_state.h"
#include "trainer/train_cluster.h"
#include "trainer/workbench.h"

namespace ringmaster::trainer {
namespace {

using ::ringmaster::testing::StatusIs;
using ::testing::HasSubstr;

constexpr int kSteps = 200;
constexpr absl::Duration kTimeout = absl::Seconds(20);

struct Layout {
  const char* name;
  MeshShape mesh;
};
constexpr Layout kLayouts[] = {
    {"one rank", {}},
    {"data 4", {.data = 4}},
    {"tensor 4", {.tensor = 4}},
    {"pipeline 4", {.pipeline = 4}},
    {"data 2 x tensor 2", {.data = 2, .tensor = 2}},
    {"data 2 x pipeline 2", {.data = 2, .pipeline = 2}},
};

v1::JobSpec SpecOf(const MeshShape& mesh, const std::string& checkpoints) {
  v1::JobSpec spec = TinyGpt(checkpoints);
  v1::Gpt& gpt = *spec.mutable_model()->mutable_gpt();
  gpt.set_layers(4);
  gpt.set_heads(4);
  v1::Parallel& parallel = *spec.mutable_parallel();
  parallel.mutable_data()->set_min(mesh.data);
  parallel.mutable_data()->set_max(mesh.data);
  parallel.set_tensor(mesh.tensor);
  parallel.set_pipeline(mesh.pipeline);
  v1::Train& train = *spec.mutable_train();
  train.set_steps(kSteps);
  train.set_log_every(1);
  train.set_validation_samples(32);
  train.mutable_optimizer()->mutable_adamw()->set_learning_rate(3e-3);
  spec.mutable_checkpoint()->set_every_steps(kSteps / 2);
  return spec;
}

// Losses of all steps, the validation loss, and where the last checkpoint is.
struct LayoutRun {
  std::vector<double> losses;
  std::string checkpoint;
};

LayoutRun RunLayout(const Layout& layout) {
  TrainCluster cluster(SpecOf(layout.mesh, FreshDirectory(absl::StrCat("mesh-", layout.name))), layout.mesh.ranks());
  LayoutRun run;
  cluster.set_print_hook([&](const std::string& line) {
    if (line.starts_with("step ")) run.losses.push_back(cluster.board(0).train_loss.load());
  });
  for (const TrainResult& result : cluster.RunEpoch()) {
    EXPECT_OK(result.status);
    EXPECT_EQ(result.end, TrainEnd::kSucceeded);
  }
  run.losses.push_back(cluster.board(0).validation_loss.load());
  const auto committed = cluster.coordinator().committed();
  EXPECT_FALSE(committed.empty()) << cluster.warnings();
  if (!committed.empty()) run.checkpoint = committed.back().path();
  return run;
}

const std::vector<LayoutRun>& Runs() {
  static const auto* const runs = [] {
    auto* all = new std::vector<LayoutRun>();
    for (const Layout& layout : kLayouts) all->push_back(RunLayout(layout));
    return all;
  }();
  return *runs;
}

TEST(Mesh, AllLayoutsHaveTheSameLossCurve) {
  const LayoutRun& single = Runs()[0];
  ASSERT_EQ(single.losses.size(), kSteps + 1u);
  EXPECT_LT(single.losses[kSteps - 1], 2.0);  // ln 256 = 5.55 at the start
  for (size_t index = 1; index < std::size(kLayouts); ++index) {
    const LayoutRun& run = Runs()[index];
    ASSERT_EQ(run.losses.size(), kSteps + 1u) << kLayouts[index].name;
    double largest = 0;
    for (size_t step = 0; step < run.losses.size(); ++step) {
      largest = std::max(largest, std::abs(run.losses[step] - single.losses[step]));
    }
    EXPECT_LT(largest, 1e-5) << kLayouts[index].name;
    RecordProperty(absl::StrCat("largest difference, ", kLayouts[index].name), absl::StrCat(largest));
    std::printf("%s: largest difference of a loss %g\n", kLayouts[index].name, largest);
  }
}

using Tensors = std::map<std::string, std::vector<float>>;

Tensors ReadAll(const std::string& path) {
  Tensors tensors;
  auto reader = CheckpointReader::Open(path);
  EXPECT_OK(reader);
  if (!reader.ok()) return tensors;
  EXPECT_OK(reader->Verify());
  for (const auto& [name, info] : reader->tensors()) {
    tensors[name].resize(static_cast<size_t>(info.size));
    EXPECT_OK(reader->Read(name, 0, tensors[name]));
  }
  return tensors;
}

// One rank of a layout, with neither coordinator nor steps: loads a checkpoint and says what it would store.
class Loader {
 public:
  Loader(const MeshShape& mesh, std::unique_ptr<Transport> tensor, int rank)
      : mesh_(mesh),
        tensor_(std::make_unique<HostCommunicator>(std::move(tensor), clock_, HostCommunicatorOptions{}), clock_, nullptr,
                {.timeout = kTimeout}) {
    auto bench = SetUpWorkbench(SpecOf(mesh, ""), {.rank = rank, .world_size = mesh.ranks()});
    EXPECT_OK(bench);
    bench_ = *std::move(bench);
    place_ = PlaceOf(rank, mesh);
  }

  absl::Status Load(const std::string& path, Tensors& into, std::map<std::string, std::vector<int>>& hits) {
    RM_ASSIGN_OR_RETURN(CheckpointReader reader, CheckpointReader::Open(path));
    RM_RETURN_IF_ERROR(LoadTensors(reader, bench_.tensors));
    StoredState stored(bench_.tensors, place_, mesh_);
    RM_RETURN_IF_ERROR(stored.Gather(tensor_));
    static Mutex mu;
    MutexLock lock(&mu);
    for (const TensorPiece& piece : stored.pieces()) {
      auto& values = into[piece.name];
      auto& hit = hits[piece.name];
      values.resize(static_cast<size_t>(ElementsOf(piece.shape)));
      hit.resize(values.size());
      std::copy_n(piece.values, piece.size(), values.begin() + piece.begin);
      for (int64_t i = piece.begin; i < piece.end; ++i) ++hit[static_cast<size_t>(i)];
    }
    return absl::OkStatus();
  }

 private:
  const RealClock clock_{};
  const MeshShape mesh_;
  MeshPlace place_;
  GradientSync tensor_;
  Workbench bench_;
};

TEST(Mesh, ACheckpointOfEachLayoutIsTheSameTensorsInEachOther) {
  std::vector<Tensors> saved;
  for (const LayoutRun& run : Runs()) saved.push_back(ReadAll(run.checkpoint));
  ASSERT_GT(saved[0].size(), 100u);
  for (const Layout& reads : kLayouts) {
    std::vector<std::unique_ptr<Loader>> loaders;
    for (int replica = 0; replica * reads.mesh.tensor < reads.mesh.ranks(); ++replica) {
      for (std::unique_ptr<Transport>& transport : CreateInprocTransports(reads.mesh.tensor)) {
        loaders.push_back(std::make_unique<Loader>(reads.mesh, std::move(transport), static_cast<int>(loaders.size())));
      }
    }
    for (size_t writer = 0; writer < saved.size(); ++writer) {
      Tensors loaded;
      std::map<std::string, std::vector<int>> hits;
      std::vector<std::thread> threads;
      for (auto& loader : loaders) {
        threads.emplace_back([&] { EXPECT_OK(loader->Load(Runs()[writer].checkpoint, loaded, hits)); });
      }
      for (std::thread& thread : threads) thread.join();
      EXPECT_TRUE(loaded == saved[writer]) << kLayouts[writer].name << " read by " << reads.name;
      for (const auto& [name, counts] : hits) EXPECT_EQ(std::ranges::count(counts, 1), std::ssize(counts)) << name;
    }
  }
}

TEST(Mesh, ResumedInAnotherLayout_ContinuesWhereItStopped) {
  const Layout& other = kLayouts[4];
  v1::JobSpec spec = SpecOf(other.mesh, FreshDirectory("mesh-resumed"));
  spec.mutable_train()->set_steps(kSteps + 4);
  spec.mutable_checkpoint()->set_resume(Runs()[3].checkpoint);
  TrainCluster cluster(spec, other.mesh.ranks());
  for (const TrainResult& result : cluster.RunEpoch()) EXPECT_OK(result.status);
  EXPECT_THAT(cluster.output(), HasSubstr("(data 2, pipeline 1, tensor 2), from step 200 of"));
  EXPECT_EQ(cluster.board(0).step.load(), kSteps + 4);
  EXPECT_LT(cluster.board(0).train_loss.load(), Runs()[0].losses[kSteps - 1] + 0.2);
}

// The digest of the job's last checkpoint.
std::string FinalDigest(TrainCluster& cluster) {
  const auto committed = cluster.coordinator().committed();
  return committed.empty() ? "none" : absl::StrCat(committed.back().step(), " ", committed.back().digest());
}

v1::JobSpec ShortSpec(const MeshShape& mesh, const std::string& name) {
  v1::JobSpec spec = SpecOf(mesh, FreshDirectory(name));
  spec.mutable_train()->set_steps(12);
  spec.mutable_checkpoint()->set_every_steps(4);
  return spec;
}

TEST(Mesh, ADeath_IsFilledFromItsTwinOrEndsAtTheLastCheckpoint_WithTheSameBits) {
  struct Case {
    const char* name;
    MeshShape mesh;
    bool has_twins;
    // All-reduces in all groups of the victim before it dies: within a pass and between passes, before and behind updates.
    std::vector<int> reductions;
  };
  const Case cases[] = {
      {"twin", {.data = 2, .tensor = 2}, true, {2, 151, 160, 161}},
      {"stages", {.data = 2, .pipeline = 2}, true, {0, 19, 20, 21}},
      {"alone", {.pipeline = 2, .tensor = 2}, false, {2, 160, 161}},
  };
  for (const Case& c : cases) {
    TrainCluster undisturbed(ShortSpec(c.mesh, absl::StrCat("whole-", c.name)), 4);
    for (const TrainResult& result : undisturbed.RunEpoch()) EXPECT_OK(result.status);
    for (const int reductions : c.reductions) {
      for (const int victim : {0, 3}) {
        TrainCluster cluster(ShortSpec(c.mesh, absl::StrCat("death-", c.name)), 4);
        for (const TrainResult& result : cluster.RunWithDeath(victim, reductions)) {
          EXPECT_OK(result.status);
          EXPECT_EQ(result.end, TrainEnd::kSucceeded);
        }
        EXPECT_EQ(FinalDigest(cluster), FinalDigest(undisturbed)) << c.name << ", rank " << victim << ", " << reductions;
        const bool went_on = cluster.output().find("epoch 2 goes on at step") != std::string::npos;
        EXPECT_EQ(went_on, c.has_twins) << c.name << ", rank " << victim << ", " << reductions;
      }
    }
  }
}

TEST(Mesh, GpipeAndOneForwardOneBackward_HaveTheSameBits) {
  std::vector<std::string> digests;
  for (const char* schedule : {"1f1b", "gpipe"}) {
    v1::JobSpec spec = ShortSpec({.pipeline = 3}, absl::StrCat("schedule-", schedule));
    spec.mutable_parallel()->set_schedule(schedule);
    spec.mutable_parallel()->set_micro_batches(8);
    TrainCluster cluster(spec, 3);
    for (const TrainResult& result : cluster.RunEpoch()) EXPECT_OK(result.status);
    digests.push_back(FinalDigest(cluster));
  }
  EXPECT_EQ(digests[0], digests[1]);
  EXPECT_THAT(digests[0], HasSubstr("12 "));
}

TEST(Mesh, ALayoutThatCannotBe_IsBadInputThatNamesTheField) {
  const struct {
    MeshShape mesh;
    const char* says;
  } cases[] = {
      {{.tensor = 3}, "parallel.tensor: found 3, expected a divisor of model.gpt.heads, which is 4"},
      {{.pipeline = 5}, "parallel.pipeline: found 5, expected at most model.gpt.layers, which is 4"},
      {{.pipeline = 3}, "parallel.micro_batches: found 3, expected a divisor of the 8 samples"},
  };
  for (const auto& bad : cases) {
    TrainCluster cluster(SpecOf(bad.mesh, FreshDirectory("mesh-bad")), bad.mesh.ranks());
    for (const TrainResult& result : cluster.RunEpoch()) {
      EXPECT_EQ(result.end, TrainEnd::kBadInput);
      EXPECT_THAT(result.status, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(bad.says)));
    }
  }
}

}  // namespace
}  // namespace ringmaster::trainer
