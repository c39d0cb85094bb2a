#include <cerrno>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "common/progress_board.h"
#include "common/status_matchers.h"
#include "gtest/gtest.h"
#include "trainer/checkpoint/reader.h"
#include "trainer/train_cluster.h"

namespace ringmaster::trainer {
namespace {

using ::ringmaster::testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::Not;
namespace fs = std::filesystem;

void ExpectSucceeded(const std::vector<TrainResult>& results) {
  for (const TrainResult& result : results) {
    EXPECT_EQ(result.end, TrainEnd::kSucceeded);
    EXPECT_OK(result.status);
  }
}

// The digest of the newest committed checkpoint, after reading every byte of it.
std::string FinalDigest(TrainCluster& cluster) {
  const auto committed = cluster.coordinator().committed();
  if (committed.empty()) return "none";
  const auto info = VerifyCheckpoint(committed.back().path());
  EXPECT_OK(info);
  if (!info.ok()) return "bad";
  EXPECT_EQ(info->digest(), committed.back().digest());
  return absl::StrCat(info->step(), " ", info->digest());
}

std::string UndisturbedDigest(const std::string& name, int ranks) {
  TrainCluster cluster(TinyGpt(FreshDirectory(name)), ranks);
  ExpectSucceeded(cluster.RunEpoch());
  return FinalDigest(cluster);
}

TEST(TrainLoop, TwoRanks_LearnCommitAndReport) {
  const std::string directory = FreshDirectory("learn");
  v1::JobSpec spec = TinyGpt(directory);
  spec.mutable_train()->set_steps(60);
  TrainCluster cluster(spec, 2);

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
    TrainCluster first(spec, ranks);
    ExpectSucceeded(first.RunEpoch());
    const std::string digest = FinalDigest(first);
    FreshDirectory("repeat");
    TrainCluster second(spec, ranks);
    ExpectSucceeded(second.RunEpoch());
    EXPECT_EQ(FinalDigest(second), digest) << ranks << " ranks";
  }
}

TEST(TrainLoop, BrokenAnywhereAndResumed_HasTheBitsOfTheUndisturbedRun) {
  const std::string undisturbed = UndisturbedDigest("undisturbed", 2);
  for (const int reductions : {0, 1, 2, 7, 8, 9, 12, 17, 20, 25, 27}) {
    TrainCluster cluster(TinyGpt(FreshDirectory("broken")), 2);
    for (const TrainResult& result : cluster.RunEpoch(reductions)) {
      EXPECT_EQ(result.end, TrainEnd::kPeerLost) << reductions;
      EXPECT_FALSE(result.status.ok());
    }
    ExpectSucceeded(cluster.RunEpoch());
    EXPECT_EQ(FinalDigest(cluster), undisturbed) << "broken after " << reductions << " reductions";
    EXPECT_EQ(cluster.warnings().find("refused"), std::string::npos) << cluster.warnings();
  }
}

TEST(TrainLoop, ADeathAnywhere_CostsNoStepAndNoBit) {
  v1::JobSpec alive = TinyGpt(FreshDirectory("alive"));
  alive.mutable_train()->set_global_batch(6);
  TrainCluster undisturbed_cluster(alive, 3);
  ExpectSucceeded(undisturbed_cluster.RunEpoch());
  const std::string undisturbed = FinalDigest(undisturbed_cluster);
  for (const int victim : {0, 1, 2}) {
    for (const int reductions : {0, 1, 2, 7, 8, 17, 20, 25, 27}) {
      v1::JobSpec spec = TinyGpt(FreshDirectory("death"));
      spec.mutable_train()->set_global_batch(6);
      TrainCluster cluster(spec, 3);

      ExpectSucceeded(cluster.RunWithDeath(victim, reductions));

      EXPECT_EQ(FinalDigest(cluster), undisturbed) << "rank " << victim << " died after " << reductions << " reductions";
      EXPECT_THAT(cluster.output(), HasSubstr("epoch 2 goes on at step "));
      EXPECT_EQ(cluster.board(victim).step.load(), 12);
    }
  }
}

// Connections are made by the higher rank: the others wait until it calls.
TEST(TrainLoop, ADeathBeforeTheGroupForms_IsNotWaitedFor) {
  v1::JobSpec spec = TinyGpt(FreshDirectory("early_death"));
  spec.mutable_train()->set_global_batch(6);
  TrainCluster cluster(spec, 3);

  ExpectSucceeded(cluster.RunWithDeath(/*victim=*/2, TrainCluster::kBeforeItConnects));

  EXPECT_THAT(cluster.warnings(), Not(HasSubstr("within the time given")));
}

TEST(TrainLoop, OneTwoAndFourRanks_ReachTheSameValidationLoss) {
  std::vector<double> losses;
  for (const int ranks : {1, 2, 4}) {
    v1::JobSpec spec = TinyGpt(FreshDirectory("sizes"));
    spec.mutable_train()->set_micro_batch(ranks == 1 ? 3 : 0);  // accumulation, also uneven, is the same mean
    TrainCluster cluster(spec, ranks);
    ExpectSucceeded(cluster.RunEpoch());
    losses.push_back(cluster.board(0).validation_loss.load());
  }
  EXPECT_NEAR(losses[1], losses[0], 1e-3);
  EXPECT_NEAR(losses[2], losses[0], 1e-3);
}

TEST(TrainLoop, ResumedAtAnotherSize_ContinuesWhereItStopped) {
  const std::string directory = FreshDirectory("resize");
  TrainCluster two(TinyGpt(directory), 2);
  two.RunEpoch(/*break_after=*/21);  // after the checkpoint of step 8
  const auto committed = two.coordinator().committed();
  ASSERT_FALSE(committed.empty());
  ASSERT_EQ(committed.back().step(), 8);
  TrainCluster whole(TinyGpt(FreshDirectory("whole")), 2);
  ExpectSucceeded(whole.RunEpoch());
  for (const int ranks : {1, 4}) {
    v1::JobSpec spec = TinyGpt(FreshDirectory(absl::StrCat("resized-", ranks)));
    spec.mutable_checkpoint()->set_resume(committed.back().path());
    TrainCluster other(spec, ranks);
    ExpectSucceeded(other.RunEpoch());
    EXPECT_THAT(other.output(), HasSubstr("from step 8 of"));
    EXPECT_NEAR(other.board(0).validation_loss.load(), whole.board(0).validation_loss.load(), 1e-3) << ranks;
  }
}

TEST(TrainLoop, DamagedCheckpoint_IsRefusedByNameAndTheOneBeforeIsUsed) {
  const std::string undisturbed = UndisturbedDigest("undamaged", 2);
  for (int damage = 0; damage < 4; ++damage) {
    TrainCluster cluster(TinyGpt(FreshDirectory("damaged")), 2);
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
  TrainCluster small(TinyGpt(FreshDirectory("small")), 1);
  ExpectSucceeded(small.RunEpoch());
  v1::JobSpec spec = TinyGpt(FreshDirectory("large"));
  spec.mutable_model()->mutable_gpt()->set_layers(2);
  spec.mutable_checkpoint()->set_resume(small.coordinator().committed().back().path());
  TrainCluster large(spec, 2);
  for (const TrainResult& result : large.RunEpoch()) {
    EXPECT_EQ(result.end, TrainEnd::kBadInput);
    EXPECT_THAT(result.status, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("layers=1")));
    EXPECT_THAT(result.status, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("layers=2")));
  }
}

TEST(TrainLoop, CoordinatorAwayAtACheckpoint_DoesNotStopSteps) {
  const std::string undisturbed = UndisturbedDigest("present", 2);
  TrainCluster cluster(TinyGpt(FreshDirectory("away")), 2);
  // It goes when the manifest of step 4 is in place, and comes back when all steps are done.
  cluster.set_file_hook([&](int, const std::string& operation, const std::string& path) {
    if (operation == "rename" && path.ends_with("step-00000004")) cluster.coordinator().GoAway();
    return absl::OkStatus();
  });
  cluster.set_print_hook([&](const std::string& line) {
    if (line.starts_with("validation step 12/12")) cluster.coordinator().ComeBack();
  });

  ExpectSucceeded(cluster.RunEpoch());

  EXPECT_EQ(FinalDigest(cluster), undisturbed);
  const auto committed = cluster.coordinator().committed();
  ASSERT_EQ(committed.size(), 2u);
  EXPECT_EQ(committed[0].step(), 4);
  EXPECT_EQ(committed[1].step(), 12);
  EXPECT_THAT(cluster.warnings(), HasSubstr("checkpoint of step 8 skipped"));
}

TEST(TrainLoop, ABusyDiskAtACheckpoint_IsNotWaitedForWhereTheSpecSaysSkip) {
  v1::JobSpec spec = TinyGpt(FreshDirectory("busy"));
  spec.mutable_checkpoint()->set_when_busy("skip");
  TrainCluster cluster(spec, 2);
  absl::Notification later;
  cluster.set_print_hook([&](const std::string& line) {
    if (line.starts_with("step 10/")) later.Notify();
  });
  cluster.set_file_hook([&](int rank, const std::string& operation, const std::string& path) {
    const bool is_first = rank == 1 && operation == "create" && path.find("step-00000004.tmp-1/") != std::string::npos;
    return is_first && !later.WaitForNotificationWithTimeout(absl::Seconds(20))
               ? absl::DeadlineExceededError("step 10 waits for it")
               : absl::OkStatus();
  });

  ExpectSucceeded(cluster.RunEpoch());

  const auto committed = cluster.coordinator().committed();
  ASSERT_EQ(committed.size(), 2u);
  EXPECT_EQ(committed[0].step(), 4);
  EXPECT_EQ(committed[1].step(), 12);
  EXPECT_THAT(cluster.warnings(), HasSubstr("checkpoint of step 8 skipped"));
}

TEST(TrainLoop, DiskFullAtAPeriodicCheckpoint_IsAWarningAndTrainingGoesOn) {
  const std::string undisturbed = UndisturbedDigest("room", 2);
  for (const int full_rank : {0, 1}) {
    TrainCluster cluster(TinyGpt(FreshDirectory("full")), 2);
    cluster.set_file_hook([&](int rank, const std::string& operation, const std::string& path) {
      const bool is_full = rank == full_rank && operation == "create" && path.find("step-00000004.tmp-1/") != std::string::npos;
      return is_full ? absl::ErrnoToStatus(ENOSPC, absl::StrCat("cannot write ", path)) : absl::OkStatus();
    });

    ExpectSucceeded(cluster.RunEpoch());

    EXPECT_EQ(FinalDigest(cluster), undisturbed) << full_rank;
    EXPECT_NE(cluster.coordinator().committed().front().step(), 4);
    EXPECT_THAT(cluster.warnings(), HasSubstr("checkpoint of step 4"));
    EXPECT_THAT(cluster.warnings(), HasSubstr("No space left on device"));
    EXPECT_EQ(cluster.board(1 - full_rank).trouble, TrainerTrouble::kNone) << "the other rank could write";
    for (const auto& entry : fs::directory_iterator(fs::path(cluster.coordinator().committed().front().path()).parent_path())) {
      EXPECT_THAT(entry.path().string(), Not(HasSubstr(".tmp-"))) << "a failed attempt outlives the next commit";
    }
  }
}

TEST(TrainLoop, DiskFullAtTheFinalCheckpoint_FailsTheRankWithPlaceAndReason) {
  TrainCluster cluster(TinyGpt(FreshDirectory("full-at-the-end")), 1);
  cluster.set_file_hook([&](int, const std::string& operation, const std::string& path) {
    const bool is_full = operation == "create" && path.find("step-00000012.tmp-1/") != std::string::npos;
    return is_full ? absl::ErrnoToStatus(ENOSPC, absl::StrCat("cannot write ", path)) : absl::OkStatus();
  });

  const TrainResult result = cluster.RunEpoch()[0];

  EXPECT_EQ(result.end, TrainEnd::kFailed);
  EXPECT_THAT(std::string(result.status.message()), HasSubstr("full-at-the-end/tiny-1"));
  EXPECT_THAT(std::string(result.status.message()), HasSubstr("No space left on device"));
}

TEST(TrainLoop, SyntheticDigits_AreLearnedByASmallNetwork) {
  v1::JobSpec spec = TinyGpt(FreshDirectory("digits"));
  spec.mutable_model()->mutable_cnn()->add_channels(16);
  spec.mutable_model()->mutable_cnn()->add_channels(32);
  spec.mutable_model()->mutable_cnn()->set_hidden(64);
  spec.mutable_data()->mutable_synthetic_digits()->set_train(2000);
  spec.mutable_data()->mutable_synthetic_digits()->set_validation(400);
  v1::Train& train = *spec.mutable_train();
  train.set_steps(150);
  train.set_global_batch(32);
  train.set_validation_samples(0);
  spec.mutable_checkpoint()->set_every_steps(0);
  TrainCluster cluster(spec, 2);

  ExpectSucceeded(cluster.RunEpoch());

  EXPECT_GT(cluster.board(0).validation_accuracy.load(), 0.85);
  EXPECT_THAT(cluster.output(), HasSubstr("samples/s"));
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
    TrainCluster cluster(spec, 2);
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
  TrainCluster cluster(spec, 2);
  for (const TrainResult& result : cluster.RunEpoch()) {
    EXPECT_EQ(result.end, TrainEnd::kDiverged);
    EXPECT_THAT(std::string(result.status.message()), HasSubstr("diverged"));
  }
}

}  // namespace
}  // namespace ringmaster::trainer
