#include "worker/rank/shared_board.h"

#include <sys/mman.h>
#include <unistd.h>

#include <limits>

#include "common/status_matchers.h"
#include "gtest/gtest.h"

namespace ringmaster {
namespace {

TEST(SharedBoard, NewBoard_SaysNothingThatWasNotMeasured) {
  ASSERT_OK_AND_ASSIGN(const auto board, SharedBoard::Create());

  const v1::Progress progress = board->Read();

  EXPECT_EQ(progress.step(), 0);
  EXPECT_EQ(progress.phase(), "starting");
  EXPECT_EQ(progress.trouble(), "");
  EXPECT_FALSE(progress.has_waits_for());
  EXPECT_FALSE(progress.has_train_loss());
  EXPECT_FALSE(progress.has_validation_loss());
  EXPECT_FALSE(progress.has_validation_accuracy());
  EXPECT_EQ(progress.validation_step(), -1);
}

TEST(SharedBoard, WhatTheOtherSideWrites_IsRead) {
  ASSERT_OK_AND_ASSIGN(const auto board, SharedBoard::Create());
  void* memory = mmap(nullptr, ProgressBoard::kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, board->fd(), 0);
  ASSERT_NE(memory, MAP_FAILED);
  auto* trainer = static_cast<ProgressBoard*>(memory);
  EXPECT_EQ(trainer->magic, ProgressBoard::kMagic);
  trainer->phase = TrainerPhase::kCommunication;
  trainer->step = 41;
  trainer->total_steps = 100;
  trainer->train_loss = 2.5;
  trainer->validation_accuracy = 0.75;
  trainer->units_per_second = 1000;
  trainer->unit_is_tokens = 1;
  trainer->communication_share = 0.125;
  trainer->trouble = TrainerTrouble::kDiskFull;
  trainer->waits_for = 0;
  trainer->last_call = 7;

  const v1::Progress progress = board->Read();

  EXPECT_EQ(progress.phase(), "communication");
  EXPECT_EQ(progress.step(), 41);
  EXPECT_EQ(progress.total_steps(), 100);
  EXPECT_EQ(progress.train_loss(), 2.5);
  EXPECT_FALSE(progress.has_validation_loss());
  EXPECT_EQ(progress.validation_accuracy(), 0.75);
  EXPECT_EQ(progress.tokens_per_second(), 1000);
  EXPECT_EQ(progress.samples_per_second(), 0);
  EXPECT_EQ(progress.communication_share(), 0.125);
  EXPECT_EQ(progress.trouble(), "disk_full");
  EXPECT_TRUE(progress.has_waits_for());
  EXPECT_EQ(progress.last_call(), 7);
  trainer->unit_is_tokens = 0;
  EXPECT_EQ(board->Read().samples_per_second(), 1000);
  munmap(memory, ProgressBoard::kBytes);
}

TEST(SharedBoard, GarbagePhase_IsUnknown) {
  ProgressBoard board;
  board.phase = static_cast<TrainerPhase>(12345);
  board.trouble = static_cast<TrainerTrouble>(12345);

  EXPECT_EQ(ToProgress(board).phase(), "unknown");
  EXPECT_EQ(ToProgress(board).trouble(), "");
}

TEST(SharedBoard, SizeIsSealed_SoThatARankCannotMakeOurReadsFault) {
  ASSERT_OK_AND_ASSIGN(const auto board, SharedBoard::Create());

  EXPECT_NE(ftruncate(board->fd(), 0), 0);
  EXPECT_NE(ftruncate(board->fd(), 1 << 20), 0);
}

}  // namespace
}  // namespace ringmaster
