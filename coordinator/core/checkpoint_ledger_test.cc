#include "coordinator/core/checkpoint_ledger.h"

#include <string>

#include "common/status_matchers.h"

namespace ringmaster::coordinator {
namespace {

using ::ringmaster::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

ShardInfo Shard(int rank, uint32_t crc = 7) { return {Rank(rank), "shard-" + std::to_string(rank), 10, crc, ""}; }
CheckpointInfo Checkpoint(int64_t step, int64_t epoch = 1) {
  return {step, "/c/step-" + std::to_string(step), 20, 2, "00ff", Epoch(epoch)};
}
std::vector<int64_t> Steps(const std::vector<CheckpointInfo>& checkpoints) {
  std::vector<int64_t> steps;
  for (const CheckpointInfo& checkpoint : checkpoints) steps.push_back(checkpoint.step);
  return steps;
}

TEST(CheckpointLedger, CommitNeedsEveryShard) {
  CheckpointLedger ledger;
  EXPECT_THAT(ledger.CheckCommit(Checkpoint(10), 2),
              StatusIs(absl::StatusCode::kFailedPrecondition, "checkpoint of step 10: no shard yet of rank 0, 1 (world size 2)"));
  ledger.Report(10, Shard(1));
  EXPECT_THAT(ledger.MissingRanks(10, 2), ElementsAre(0));
  EXPECT_THAT(ledger.CheckCommit(Checkpoint(10), 2), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("of rank 0 ")));
  ledger.Report(10, Shard(0));
  EXPECT_OK(ledger.CheckCommit(Checkpoint(10), 2));
  EXPECT_THAT(ledger.Shards(10), ElementsAre(Shard(0), Shard(1))) << "by rank, not by arrival";
}

TEST(CheckpointLedger, ShardsOfAnotherStepDoNotCount) {
  CheckpointLedger ledger;
  ledger.Report(10, Shard(0));
  ledger.Report(20, Shard(1));
  EXPECT_FALSE(ledger.CheckCommit(Checkpoint(10), 2).ok());
  EXPECT_FALSE(ledger.CheckCommit(Checkpoint(20), 2).ok());
}

TEST(CheckpointLedger, LatestMovesWithTheCommitAlone) {
  CheckpointLedger ledger;
  EXPECT_EQ(ledger.latest_step(), -1);
  ledger.Report(10, Shard(0));
  EXPECT_EQ(ledger.latest_step(), -1);
  ledger.Commit(Checkpoint(10), 2);
  EXPECT_EQ(ledger.latest_step(), 10);
  EXPECT_TRUE(ledger.IsLatest(Checkpoint(10)));
  EXPECT_FALSE(ledger.IsLatest(Checkpoint(10, 2))) << "the same step of another epoch is another commit";
  EXPECT_TRUE(ledger.HasCommitted(10, Epoch(1)));
  EXPECT_FALSE(ledger.HasCommitted(10, Epoch(2)));
}

TEST(CheckpointLedger, NothingAtOrBelowTheLatestIsTaken) {
  CheckpointLedger ledger;
  ledger.Report(5, Shard(0));
  ledger.Report(10, Shard(0));
  ledger.Report(15, Shard(0));
  ledger.Commit(Checkpoint(10), 2);
  EXPECT_THAT(ledger.CheckReport(10, Shard(1)), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("step 10")));
  EXPECT_OK(ledger.CheckReport(11, Shard(1)));
  EXPECT_THAT(ledger.CheckCommit(Checkpoint(5), 1), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("not above")));
  EXPECT_THAT(ledger.Shards(5), IsEmpty()) << "older attempts go with the commit";
  EXPECT_THAT(ledger.Shards(15), ElementsAre(Shard(0)));
}

TEST(CheckpointLedger, ARepeatedReportIsKnownAndAnotherOneReplacesIt) {
  CheckpointLedger ledger;
  ledger.Report(10, Shard(0));
  EXPECT_TRUE(ledger.IsReported(10, Shard(0)));
  EXPECT_FALSE(ledger.IsReported(10, Shard(0, 8)));
  EXPECT_FALSE(ledger.IsReported(11, Shard(0)));
  ledger.Report(10, Shard(0, 8));
  EXPECT_THAT(ledger.Shards(10), ElementsAre(Shard(0, 8)));
}

TEST(CheckpointLedger, UnfinishedStepsAreBounded) {
  CheckpointLedger ledger;
  for (int i = 1; i <= CheckpointLedger::kMostOpenSteps; ++i) {
    ASSERT_OK(ledger.CheckReport(i, Shard(0)));
    ledger.Report(i, Shard(0));
  }
  EXPECT_THAT(ledger.CheckReport(100, Shard(0)), StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("the oldest of step 1")));
  EXPECT_OK(ledger.CheckReport(3, Shard(1)));
  ledger.DropShards();
  EXPECT_OK(ledger.CheckReport(100, Shard(0)));
}

TEST(CheckpointLedger, RetentionKeepsTheNewestAndNeverFewerThanTwo) {
  for (const int keep : {0, 1, 2}) {
    CheckpointLedger ledger;
    for (const int step : {10, 20}) ledger.Commit(Checkpoint(step), keep);
    EXPECT_THAT(ledger.to_delete(), IsEmpty());
    ledger.Commit(Checkpoint(30), keep);
    EXPECT_THAT(Steps(ledger.committed()), ElementsAre(20, 30));
    EXPECT_THAT(Steps(ledger.to_delete()), ElementsAre(10));
    ledger.Commit(Checkpoint(40), keep);
    EXPECT_THAT(Steps(ledger.to_delete()), ElementsAre(20)) << "10 was removed before 40 was committed";
  }
  CheckpointLedger ledger;
  for (const int step : {10, 20, 30, 40}) ledger.Commit(Checkpoint(step), 3);
  EXPECT_THAT(Steps(ledger.committed()), ElementsAre(20, 30, 40));
}

TEST(CheckpointLedger, WhatAnOlderEpochMayNotHaveDeletedIsNamedAgain) {
  CheckpointLedger ledger;
  for (const int step : {10, 20, 30}) ledger.Commit(Checkpoint(step, 1), 2);
  ledger.Commit(Checkpoint(40, 2), 2);
  EXPECT_THAT(Steps(ledger.to_delete()), ElementsAre(10, 20));
  ledger.Commit(Checkpoint(50, 2), 2);
  EXPECT_THAT(Steps(ledger.to_delete()), ElementsAre(30));
}

TEST(CheckpointLedger, ARefusedCheckpointIsGoneAndItsStepCanBeCommittedAgain) {
  CheckpointLedger ledger;
  ledger.Commit(Checkpoint(10), 2);
  ledger.Commit(Checkpoint(20), 2);
  EXPECT_TRUE(ledger.HasCommitted("/c/step-20"));
  ledger.Refuse("/c/step-20");
  EXPECT_FALSE(ledger.HasCommitted("/c/step-20"));
  EXPECT_EQ(ledger.latest_step(), 10);
  EXPECT_OK(ledger.CheckReport(20, Shard(0)));
  ledger.Report(20, Shard(0));
  EXPECT_OK(ledger.CheckCommit(Checkpoint(20, 2), 1));
  ledger.Commit(Checkpoint(20, 2), 2);
  EXPECT_THAT(Steps(ledger.committed()), ElementsAre(10, 20));
  EXPECT_TRUE(ledger.HasCommitted("/c/step-20"));
}

TEST(CheckpointLedger, APathThatWasCommittedAnewIsNotDeleted) {
  // given: step 10 is to be deleted, but its deleter died; then everything newer is refused, and training comes to step 10 again
  CheckpointLedger ledger;
  for (const int step : {10, 20, 30}) ledger.Commit(Checkpoint(step, 1), 2);
  ASSERT_THAT(Steps(ledger.to_delete()), ElementsAre(10));
  ledger.Refuse("/c/step-20");
  ledger.Refuse("/c/step-30");
  ledger.Commit(Checkpoint(10, 2), 2);
  EXPECT_THAT(ledger.to_delete(), IsEmpty());
  EXPECT_THAT(Steps(ledger.committed()), ElementsAre(10));
}

}  // namespace
}  // namespace ringmaster::coordinator
