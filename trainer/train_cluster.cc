#include "trainer/train_cluster.h"

#include <filesystem>
#include <fstream>
#include <span>
#include <string_view>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "collectives/create_communicator.h"
#include "common/status_macros.h"
#include "gtest/gtest.h"
#include "trainer/train_loop.h"

namespace ringmaster::trainer {
namespace {

// Text with a structure that a tiny model learns within some steps.
std::string TextFile() {
  const std::string path = ::testing::TempDir() + "/text.txt";
  std::ofstream out(path, std::ios::binary);
  for (int i = 0; i < 400; ++i) out << "the ring carries number " << i % 10 << " around\n";
  return path;
}

// Breaks the groups of a rank at its n-th all-reduce, as the death of a peer would.
class BreakingCommunicator final : public Communicator {
 public:
  // `left`: all-reduces until then, in this group and in those that are split off it; negative = never.
  BreakingCommunicator(std::unique_ptr<Communicator> real, std::shared_ptr<int> left, absl::Status error)
      : real_(std::move(real)), left_(std::move(left)), error_(std::move(error)) {}

  int rank() const override { return real_->rank(); }
  int size() const override { return real_->size(); }
  void Abort(std::string_view reason) override { real_->Abort(reason); }
  std::string Explain(const Call& call) const override { return real_->Explain(call); }
  absl::StatusOr<std::unique_ptr<Communicator>> Split(int colour, int key, absl::Duration timeout) override {
    RM_ASSIGN_OR_RETURN(std::unique_ptr<Communicator> part, real_->Split(colour, key, timeout));
    if (part == nullptr) return nullptr;
    return std::make_unique<BreakingCommunicator>(std::move(part), left_, error_);
  }

 protected:
  absl::Status Execute(const Call& call, absl::Duration timeout) override {
    if (call.operation == Operation::kAllReduce && *left_ >= 0 && (*left_)-- == 0) {
      return error_;
    }
    return real_->Run(call, timeout);
  }
  absl::Status ExchangePointToPoint(std::span<const Call> calls, absl::Duration timeout) override {
    return real_->RunGroup(calls, timeout);
  }

 private:
  std::unique_ptr<Communicator> real_;
  const std::shared_ptr<int> left_;
  const absl::Status error_;
};

// The real files behind a hook.
class HookedFiles final : public CheckpointFiles {
 public:
  using Hook = std::function<absl::Status(const std::string& operation, const std::string& path)>;
  explicit HookedFiles(Hook hook) : hook_(std::move(hook)) {}

  absl::Status MakeDirectories(const std::string& path) override {
    RM_RETURN_IF_ERROR(hook_("mkdir", path));
    return real_->MakeDirectories(path);
  }
  absl::StatusOr<std::unique_ptr<OutputFile>> Create(const std::string& path) override {
    RM_RETURN_IF_ERROR(hook_("create", path));
    return real_->Create(path);
  }
  absl::Status Rename(const std::string& from, const std::string& to) override {
    RM_RETURN_IF_ERROR(hook_("rename", to));
    return real_->Rename(from, to);
  }
  absl::Status SyncDirectory(const std::string& path) override { return real_->SyncDirectory(path); }
  absl::Status ReplaceSymlink(const std::string& target, const std::string& link) override {
    RM_RETURN_IF_ERROR(hook_("symlink", link));
    return real_->ReplaceSymlink(target, link);
  }
  absl::Status RemoveFile(const std::string& path) override { return real_->RemoveFile(path); }
  absl::Status RemoveTree(const std::string& path) override { return real_->RemoveTree(path); }
  bool Exists(const std::string& path) override { return real_->Exists(path); }
  absl::StatusOr<std::vector<std::string>> List(const std::string& directory) override { return real_->List(directory); }

 private:
  const std::unique_ptr<CheckpointFiles> real_ = NewPosixFiles();
  const Hook hook_;
};

}  // namespace

std::string FreshDirectory(const std::string& name) {
  const std::string path = ::testing::TempDir() + "/" + name;
  std::filesystem::remove_all(path);
  std::filesystem::create_directories(path);
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

std::vector<TrainResult> TrainCluster::RunEpoch(int break_after) {
  ++epoch_;
  coordinator_.OpenEpoch(Epoch(epoch_));
  boards_ = std::vector<ProgressBoard>(static_cast<size_t>(ranks_));
  std::vector<TrainResult> results(static_cast<size_t>(ranks_));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks_; ++rank) {
    threads.emplace_back([this, rank, break_after, &results] {
      results[static_cast<size_t>(rank)] = RunRank(IdentityOf(rank), break_after, Break::kPeerLost);
    });
  }
  for (std::thread& thread : threads) thread.join();
  return results;
}

std::vector<TrainResult> TrainCluster::RunWithDeath(int victim, int reductions) {
  ++epoch_;
  coordinator_.OpenEpoch(Epoch(epoch_));
  coordinator_.KeepProcesses(ranks_ - 1);
  boards_ = std::vector<ProgressBoard>(static_cast<size_t>(ranks_));
  std::vector<TrainResult> results(static_cast<size_t>(ranks_));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks_; ++rank) {
    threads.emplace_back([this, rank, victim, reductions, &results] {
      TrainerIdentity identity = IdentityOf(rank);
      TrainResult& result = results[static_cast<size_t>(rank)];
      if (rank == victim) {
        result = RunRank(identity, reductions, Break::kDeath);
        EXPECT_EQ(result.end, TrainEnd::kFailed) << result.status;
        if (reductions == kBeforeItConnects) coordinator_.OpenEpoch(Epoch(epoch_ + 1));  // the others do not know
        const auto next = coordinator_.LinkFor(identity)->AwaitEpoch({}, absl::Seconds(20));
        if (!next.ok()) {
          result = {TrainEnd::kFailed, next.status()};
          return;
        }
        identity = *next;
        identity.incarnation = identity.incarnation.Next();
      }
      result = RunRank(identity, -1, Break::kPeerLost);
    });
  }
  for (std::thread& thread : threads) thread.join();
  ++epoch_;
  return results;
}

std::string TrainCluster::output() {
  MutexLock lock(&mu_);
  return output_;
}

std::string TrainCluster::warnings() {
  MutexLock lock(&mu_);
  return warnings_;
}

TrainerIdentity TrainCluster::IdentityOf(int rank) const {
  return {.coordinator = "memory",
          .job = JobId("tiny-1"),
          .epoch = Epoch(epoch_),
          .rank = Rank(rank),
          .incarnation = Incarnation(static_cast<uint64_t>(100 * epoch_ + 10 * rank + 1)),
          .host = "local",
          .address = "127.0.0.1",
          .local_rank = rank,
          .threads = 1};
}

TrainResult TrainCluster::RunRank(const TrainerIdentity& identity, int break_after, Break how) {
  const int rank = identity.rank.value();
  const auto link = coordinator_.LinkFor(identity);
  HookedFiles files([this, rank](const std::string& operation, const std::string& path) {
    return file_hook_ ? file_hook_(rank, operation, path) : absl::OkStatus();
  });
  int breaks = break_after;
  int dies_at = how == Break::kDeath ? break_after : -1;
  const auto connect = [&](const TrainerIdentity& member, Rendezvous& rendezvous, int world_size, absl::Duration timeout,
                           int cancel_fd) -> absl::StatusOr<std::unique_ptr<Communicator>> {
    const CommunicatorOptions options = {.mesh = {.rank = rank,
                                                  .size = world_size,
                                                  .group = "world",
                                                  .job = "tiny-1",
                                                  .epoch = member.epoch.value(),
                                                  .host = "local",
                                                  .pid = 1,
                                                  .listen_address = "127.0.0.1",
                                                  .cancel_fd = cancel_fd},
                                         .ranks_on_host = 8};
    if (std::exchange(dies_at, -1) == kBeforeItConnects) {
      RM_RETURN_IF_ERROR(rendezvous.Publish(absl::StrCat("collectives/world/", rank), "127.0.0.1 1 42 - - 1 1 local"));
      for (int other = 0; other < world_size; ++other) {
        RM_RETURN_IF_ERROR(rendezvous.Await(absl::StrCat("collectives/world/", other), timeout).status());
      }
      return absl::InternalError("killed by the test");
    }
    auto communicator = CreateCommunicator(options, rendezvous, timeout, clock_);
    if (!communicator.ok()) return communicator.status();
    return std::make_unique<BreakingCommunicator>(*std::move(communicator), std::make_shared<int>(std::exchange(breaks, -1)),
                                                  how == Break::kDeath
                                                      ? absl::InternalError("killed by the test")
                                                      : absl::UnavailableError("rank 9 (nowhere, pid 1) closed its connection"));
  };
  const auto print = [this](const std::string& line) {
    if (print_hook_) print_hook_(line);
    MutexLock lock(&mu_);
    absl::StrAppend(&output_, line, "\n");
  };
  const auto warn = [this](const std::string& line) {
    MutexLock lock(&mu_);
    absl::StrAppend(&warnings_, line, "\n");
  };
  TrainLoop loop({.identity = identity,
                  .link = *link,
                  .clock = clock_,
                  .files = files,
                  .board = boards_[static_cast<size_t>(rank)],
                  .connect = connect,
                  .nccl = [] { return absl::UnimplementedError("no GPUs in this test"); },
                  .print = print,
                  .warn = warn});
  return loop.Run();
}

}  // namespace ringmaster::trainer
