#include "trainer/train_loop.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "collectives/tcp_communicator.h"
#include "common/mutex.h"
#include "common/progress_board.h"
#include "common/real_clock.h"
#include "common/status_matchers.h"
#include "gtest/gtest.h"
#include "trainer/checkpoint/files.h"
#include "trainer/checkpoint/reader.h"
#include "trainer/session/memory_coordinator.h"

namespace ringmaster::trainer {
namespace {

using ::ringmaster::testing::StatusIs;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

std::string FreshDirectory(const std::string& name) {
  const std::string path = ::testing::TempDir() + "/" + name;
  fs::remove_all(path);
  fs::create_directories(path);
  return path;
}

// Text with a structure that a tiny model learns within some steps.
std::string TextFile() {
  const std::string path = ::testing::TempDir() + "/text.txt";
  std::ofstream out(path, std::ios::binary);
  for (int i = 0; i < 400; ++i) out << "the ring carries number " << i % 10 << " around\n";
  return path;
}

v1::JobSpec TinyGpt(const std::string& checkpoints) {
  v1::JobSpec spec;
  spec.set_name("tiny");
  v1::Gpt& gpt = *spec.mutable_model()->mutable_gpt();
  gpt.set_layers(1);
  gpt.set_heads(2);
  gpt.set_channels(16);
  gpt.set_context(8);
  spec.mutable_data()->mutable_text()->add_files(TextFile());
  v1::Train& train = *spec.mutable_train();
  train.set_steps(12);
  train.set_global_batch(8);
  train.mutable_optimizer()->mutable_adamw()->set_learning_rate(1e-2);
  train.mutable_optimizer()->mutable_adamw()->set_weight_decay(0.1);
  train.mutable_schedule()->mutable_cosine()->set_warmup_steps(3);
  train.set_clip_norm(1);
  train.set_seed(7);
  train.set_validation_samples(40);
  spec.mutable_checkpoint()->set_directory(checkpoints);
  spec.mutable_checkpoint()->set_every_steps(4);
  spec.mutable_collective_timeout()->set_seconds(20);
  return spec;
}

// Breaks the group of all ranks at their n-th all-reduce, as the death of a peer would.
class BreakingCommunicator final : public Communicator {
 public:
  BreakingCommunicator(std::unique_ptr<Communicator> real, int reductions) : real_(std::move(real)), left_(reductions) {}

  int rank() const override { return real_->rank(); }
  int size() const override { return real_->size(); }
  absl::Status AllReduce(const void* send, void* receive, int64_t count, DataType type, Reduction reduction,
                         absl::Duration timeout) override {
    if (left_ >= 0 && left_-- == 0) return absl::UnavailableError("rank 9 (nowhere, pid 1) closed its connection");
    return real_->AllReduce(send, receive, count, type, reduction, timeout);
  }
  absl::Status ReduceScatter(const void* send, void* receive, int64_t count, DataType type, Reduction reduction,
                             absl::Duration timeout) override {
    return real_->ReduceScatter(send, receive, count, type, reduction, timeout);
  }
  absl::Status AllGather(const void* send, void* receive, int64_t count, DataType type, absl::Duration timeout) override {
    return real_->AllGather(send, receive, count, type, timeout);
  }
  absl::Status Broadcast(void* buffer, int64_t count, DataType type, int root, absl::Duration timeout) override {
    return real_->Broadcast(buffer, count, type, root, timeout);
  }
  absl::Status Barrier(absl::Duration timeout) override { return real_->Barrier(timeout); }
  void Abort(std::string_view reason) override { real_->Abort(reason); }

 private:
  std::unique_ptr<Communicator> real_;
  int left_;
};

// The ranks of a job as threads, and the coordinator that outlives their epochs.
class Cluster {
 public:
  Cluster(v1::JobSpec spec, int ranks) : ranks_(ranks), coordinator_(std::move(spec), ranks, clock_) {}

  // One epoch; `break_after` all-reduces the group breaks (-1 = never).
  std::vector<TrainResult> RunEpoch(int break_after = -1) {
    ++epoch_;
    coordinator_.OpenEpoch(Epoch(epoch_));
    boards_ = std::vector<ProgressBoard>(static_cast<size_t>(ranks_));
    std::vector<TrainResult> results(static_cast<size_t>(ranks_));
    std::vector<std::thread> threads;
    for (int rank = 0; rank < ranks_; ++rank) {
      threads.emplace_back(
          [this, rank, break_after, &results] { results[static_cast<size_t>(rank)] = RunRank(rank, break_after); });
    }
    for (std::thread& thread : threads) thread.join();
    return results;
  }

  MemoryCoordinator& coordinator() { return coordinator_; }
  const ProgressBoard& board(int rank) const { return boards_[static_cast<size_t>(rank)]; }
  std::string warnings() {
    MutexLock lock(&mu_);
    return warnings_;
  }
  std::string output() {
    MutexLock lock(&mu_);
    return output_;
  }

 private:
  TrainResult RunRank(int rank, int break_after) {
    const TrainerIdentity identity = {.coordinator = "memory",
                                      .job = JobId("tiny-1"),
                                      .epoch = Epoch(epoch_),
                                      .rank = Rank(rank),
                                      .incarnation = Incarnation(static_cast<uint64_t>(100 * epoch_ + rank + 1)),
                                      .host = "local",
                                      .address = "127.0.0.1",
                                      .local_rank = rank,
                                      .threads = 1};
    const auto link = coordinator_.LinkFor(identity);
    const auto files = NewPosixFiles();
    const auto connect = [&](int world_size, absl::Duration timeout) -> absl::StatusOr<std::unique_ptr<Communicator>> {
      const TcpCommunicatorOptions options = {.mesh = {.rank = rank,
                                                       .size = world_size,
                                                       .group = "world",
                                                       .job = "tiny-1",
                                                       .epoch = epoch_,
                                                       .host = "local",
                                                       .pid = 1,
                                                       .listen_address = "127.0.0.1"},
                                              .ranks_on_host = 8,
                                              .host = {}};
      auto communicator = CreateTcpCommunicator(options, *link, timeout, clock_);
      if (!communicator.ok()) return communicator.status();
      return std::make_unique<BreakingCommunicator>(*std::move(communicator), break_after);
    };
    const auto append_to = [this](std::string& text) {
      return [this, &text](const std::string& line) {
        MutexLock lock(&mu_);
        absl::StrAppend(&text, line, "\n");
      };
    };
    TrainLoop loop({.identity = identity,
                    .link = *link,
                    .clock = clock_,
                    .files = *files,
                    .board = boards_[static_cast<size_t>(rank)],
                    .connect = connect,
                    .print = append_to(output_),
                    .warn = append_to(warnings_)});
    return loop.Run();
  }

  const RealClock clock_;
  const int ranks_;
  int64_t epoch_ = 0;
  MemoryCoordinator coordinator_;
  std::vector<ProgressBoard> boards_;
  Mutex mu_;
  std::string warnings_;
  std::string output_;
};

void ExpectSucceeded(const std::vector<TrainResult>& results) {
  for (const TrainResult& result : results) {
    EXPECT_EQ(result.end, TrainEnd::kSucceeded);
    EXPECT_OK(result.status);
  }
}

// The digest of the newest committed checkpoint, after reading every byte of it.
std::string FinalDigest(Cluster& cluster) {
  const auto committed = cluster.coordinator().committed();
  if (committed.empty()) return "none";
  const auto info = VerifyCheckpoint(committed.back().path());
  EXPECT_OK(info);
  if (!info.ok()) return "bad";
  EXPECT_EQ(info->digest(), committed.back().digest());
  return absl::StrCat(info->step(), " ", info->digest());
}

std::string UndisturbedDigest(const std::string& name, int ranks) {
  Cluster cluster(TinyGpt(FreshDirectory(name)), ranks);
  ExpectSucceeded(cluster.RunEpoch());
  return FinalDigest(cluster);
}

TEST(TrainLoop, TwoRanks_LearnCommitAndReport) {
  const std::string directory = FreshDirectory("learn");
  v1::JobSpec spec = TinyGpt(directory);
  spec.mutable_train()->set_steps(60);
  Cluster cluster(spec, 2);

  ExpectSucceeded(cluster.RunEpoch());

  const ProgressBoard& board = cluster.board(0);
  EXPECT_EQ(board.step.load(), 60);
  EXPECT_EQ(board.total_steps.load(), 60);
  EXPECT_EQ(board.phase.load(), TrainerPhase::kFinished);
  EXPECT_LT(board.train_loss.load(), 3.5);  // ln 256 = 5.55 at the start
  EXPECT_LT(board.validation_loss.load(), 3.5);
  EXPECT_TRUE(std::isnan(board.validation_accuracy.load()));
  EXPECT_EQ(board.validation_step.load(), 60);
  EXPECT_EQ(board.validation_loss.load(), cluster.board(1).validation_loss.load());
  EXPECT_EQ(board.checkpoint_step.load(), 60);
  EXPECT_GT(board.units_per_second.load(), 0);
  EXPECT_GT(board.collective_sequence.load(), 120u);
  const auto committed = cluster.coordinator().committed();
  ASSERT_EQ(committed.size(), 2u);  // keep: 2
  EXPECT_EQ(committed.back().step(), 60);
  EXPECT_EQ(fs::read_symlink(directory + "/tiny-1/latest"), "step-00000060");
  ASSERT_OK_AND_ASSIGN(const auto listed, ListCheckpoints(directory + "/tiny-1"));
  EXPECT_EQ(listed.size(), 2u);  // retention removed the others
  EXPECT_THAT(cluster.output(), HasSubstr("step 10/60 loss "));
  EXPECT_THAT(cluster.output(), HasSubstr("validation step 60/60 loss "));
}

TEST(TrainLoop, RepeatedAtTheSameSize_HasTheSameBits) {
  for (const int ranks : {1, 2, 3}) {
    v1::JobSpec spec = TinyGpt(FreshDirectory("repeat"));
    spec.mutable_train()->set_global_batch(6);
    Cluster first(spec, ranks);
    ExpectSucceeded(first.RunEpoch());
    const std::string digest = FinalDigest(first);
    FreshDirectory("repeat");
    Cluster second(spec, ranks);
    ExpectSucceeded(second.RunEpoch());
    EXPECT_EQ(FinalDigest(second), digest) << ranks << " ranks";
  }
}

TEST(TrainLoop, BrokenAnywhereAndResumed_HasTheBitsOfTheUndisturbedRun) {
  const std::string undisturbed = UndisturbedDigest("undisturbed", 2);
  for (const int reductions : {0, 1, 2, 7, 8, 9, 12, 17, 20, 25, 29}) {
    Cluster cluster(TinyGpt(FreshDirectory("broken")), 2);
    for (const TrainResult& result : cluster.RunEpoch(reductions)) {
      EXPECT_EQ(result.end, TrainEnd::kPeerLost) << reductions;
      EXPECT_FALSE(result.status.ok());
    }
    ExpectSucceeded(cluster.RunEpoch());
    EXPECT_EQ(FinalDigest(cluster), undisturbed) << "broken after " << reductions << " reductions";
    EXPECT_EQ(cluster.warnings().find("refused"), std::string::npos) << cluster.warnings();
  }
}

TEST(TrainLoop, OneTwoAndFourRanks_ReachTheSameValidationLoss) {
  std::vector<double> losses;
  for (const int ranks : {1, 2, 4}) {
    v1::JobSpec spec = TinyGpt(FreshDirectory("sizes"));
    spec.mutable_train()->set_micro_batch(ranks == 1 ? 3 : 0);  // accumulation, also uneven, is the same mean
    Cluster cluster(spec, ranks);
    ExpectSucceeded(cluster.RunEpoch());
    losses.push_back(cluster.board(0).validation_loss.load());
  }
  EXPECT_NEAR(losses[1], losses[0], 1e-3);
  EXPECT_NEAR(losses[2], losses[0], 1e-3);
}

TEST(TrainLoop, ResumedAtAnotherSize_ContinuesWhereItStopped) {
  const std::string directory = FreshDirectory("resize");
  Cluster two(TinyGpt(directory), 2);
  two.RunEpoch(/*break_after=*/21);  // after the checkpoint of step 8
  const auto committed = two.coordinator().committed();
  ASSERT_FALSE(committed.empty());
  ASSERT_EQ(committed.back().step(), 8);
  Cluster whole(TinyGpt(FreshDirectory("whole")), 2);
  ExpectSucceeded(whole.RunEpoch());
  for (const int ranks : {1, 4}) {
    v1::JobSpec spec = TinyGpt(FreshDirectory(absl::StrCat("resized-", ranks)));
    spec.mutable_checkpoint()->set_resume(committed.back().path());
    Cluster other(spec, ranks);
    ExpectSucceeded(other.RunEpoch());
    EXPECT_THAT(other.output(), HasSubstr("from step 8 of"));
    EXPECT_NEAR(other.board(0).validation_loss.load(), whole.board(0).validation_loss.load(), 1e-3) << ranks;
  }
}

TEST(TrainLoop, DamagedCheckpoint_IsRefusedByNameAndTheOneBeforeIsUsed) {
  const std::string undisturbed = UndisturbedDigest("undamaged", 2);
  for (int damage = 0; damage < 4; ++damage) {
    Cluster cluster(TinyGpt(FreshDirectory("damaged")), 2);
    cluster.RunEpoch(/*break_after=*/21);
    const auto committed = cluster.coordinator().committed();
    ASSERT_EQ(committed.size(), 2u);  // steps 4 and 8
    const std::string path = committed.back().path();
    const std::string shard = path + "/w-01of02.safetensors";
    switch (damage) {
      case 0: fs::resize_file(shard, fs::file_size(shard) - 1); break;
      case 1: {
        std::fstream file(shard, std::ios::binary | std::ios::in | std::ios::out);
        file.seekp(5000);
        file.put('\x55');
        break;
      }
      case 2: fs::remove(path + "/MANIFEST.pb"); break;
      default: fs::remove_all(path);
    }

    ExpectSucceeded(cluster.RunEpoch());

    EXPECT_TRUE(cluster.coordinator().refused().contains(path));
    EXPECT_THAT(cluster.warnings(), HasSubstr("checkpoint refused: " + path));
    EXPECT_THAT(cluster.output(), HasSubstr("from step 4 of"));
    EXPECT_EQ(FinalDigest(cluster), undisturbed) << "damage " << damage;
  }
}

TEST(TrainLoop, CheckpointOfAnotherModel_IsBadInputOnEveryRank) {
  Cluster small(TinyGpt(FreshDirectory("small")), 1);
  ExpectSucceeded(small.RunEpoch());
  v1::JobSpec spec = TinyGpt(FreshDirectory("large"));
  spec.mutable_model()->mutable_gpt()->set_layers(2);
  spec.mutable_checkpoint()->set_resume(small.coordinator().committed().back().path());
  Cluster large(spec, 2);
  for (const TrainResult& result : large.RunEpoch()) {
    EXPECT_EQ(result.end, TrainEnd::kBadInput);
    EXPECT_THAT(result.status, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("layers=1")));
    EXPECT_THAT(result.status, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("layers=2")));
  }
}

TEST(TrainLoop, CoordinatorAwayAtACheckpoint_DoesNotStopSteps) {
  v1::JobSpec spec = TinyGpt(FreshDirectory("away"));
  Cluster cluster(spec, 2);
  ExpectSucceeded(cluster.RunEpoch());
  const std::string digest = FinalDigest(cluster);
  EXPECT_NE(digest, "none");
}

TEST(TrainLoop, BadSpecs_AreBadInputBeforeAnythingIsWritten) {
  const std::string blocked = FreshDirectory("blocked") + "/file";
  std::ofstream(blocked) << "x";
  const struct {
    std::string says;
    std::function<void(v1::JobSpec&)> change;
  } cases[] = {
      {"train.global_batch", [](v1::JobSpec& spec) { spec.mutable_train()->set_global_batch(7); }},
      {"device", [](v1::JobSpec& spec) { spec.set_device("cuda"); }},
      {"/no/such/file", [](v1::JobSpec& spec) { spec.mutable_data()->mutable_text()->set_files(0, "/no/such/file"); }},
      {"heads", [](v1::JobSpec& spec) { spec.mutable_model()->mutable_gpt()->set_heads(3); }},
      {"checkpoint.directory", [&](v1::JobSpec& spec) { spec.mutable_checkpoint()->set_directory(blocked + "/sub"); }},
  };
  for (const auto& bad : cases) {
    v1::JobSpec spec = TinyGpt(FreshDirectory("bad"));
    bad.change(spec);
    Cluster cluster(spec, 2);
    for (const TrainResult& result : cluster.RunEpoch()) {
      EXPECT_EQ(result.end, TrainEnd::kBadInput) << bad.says;
      EXPECT_THAT(std::string(result.status.message()), HasSubstr(bad.says));
    }
    EXPECT_TRUE(cluster.coordinator().committed().empty());
  }
}

TEST(TrainLoop, LossThatIsNotFinite_EndsTheRunByName) {
  v1::JobSpec spec = TinyGpt(FreshDirectory("diverge"));
  spec.mutable_train()->mutable_optimizer()->mutable_sgd()->set_learning_rate(1e30);
  spec.mutable_train()->set_clip_norm(0);
  Cluster cluster(spec, 2);
  for (const TrainResult& result : cluster.RunEpoch()) {
    EXPECT_EQ(result.end, TrainEnd::kDiverged);
    EXPECT_THAT(std::string(result.status.message()), HasSubstr("diverged"));
  }
}

}  // namespace
}  // namespace ringmaster::trainer
