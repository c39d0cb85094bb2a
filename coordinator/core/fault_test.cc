#include "coordinator/core/fault.h"

#include <csignal>
#include <set>

#include "gtest/gtest.h"

namespace ringmaster::coordinator {
namespace {

TEST(Fault, EachHasAKeyOfItsOwnThatFindsIt) {
  std::set<std::string> keys;
  for (int i = 1; i < kFaults; ++i) {
    const Fault fault = static_cast<Fault>(i);
    EXPECT_TRUE(keys.insert(Key(fault)).second) << Key(fault);
    EXPECT_EQ(FaultOfKey(Key(fault)), fault);
  }
  EXPECT_EQ(FaultOfKey("stuck in data"), std::nullopt) << "that is the name for people";
  EXPECT_EQ(FaultOfKey("none"), std::nullopt);
  EXPECT_EQ(FaultOfKey("stuck_in_data"), Fault::kStuckInData);
}

TEST(FaultOf, TheStrongestEvidenceDecides) {
  EXPECT_EQ(FaultOf({.exit_code = 0}), Fault::kNone);
  EXPECT_EQ(FaultOf({.exit_code = 3}), Fault::kExited);
  EXPECT_EQ(FaultOf({.exit_code = 3, .had_finished = true}), Fault::kBadExit);
  EXPECT_EQ(FaultOf({.exit_code = 137, .signal = SIGKILL}), Fault::kKilled);
  EXPECT_EQ(FaultOf({.exit_code = 137, .signal = SIGKILL, .out_of_memory = true}), Fault::kOutOfMemory);
  EXPECT_EQ(FaultOf({.exit_code = 139, .signal = SIGSEGV, .told = Fault::kDiskFull}), Fault::kCrashed);
  EXPECT_EQ(FaultOf({.exit_code = 1, .never_started = true}), Fault::kNotStarted);
  EXPECT_EQ(FaultOf({.exit_code = 2}), Fault::kBadInput);
  EXPECT_EQ(FaultOf({.exit_code = 75, .told = Fault::kMismatchedCall}), Fault::kLostContact) << "it is healthy, it says";
  EXPECT_EQ(FaultOf({.exit_code = 93}), Fault::kGaveUp);
  EXPECT_EQ(FaultOf({.exit_code = 94, .had_finished = true}), Fault::kRequeued);
  EXPECT_EQ(FaultOf({.exit_code = 1, .told = Fault::kDiskFull}), Fault::kDiskFull);
  EXPECT_EQ(FaultOf({.exit_code = 17, .told = Fault::kDiskFull}), Fault::kExited) << "a code of the program's own";
}

TEST(IsPossible, WhatHasEndedIsMoreThanReportedAndNobodyIsReplacedForANetwork) {
  EXPECT_FALSE(IsPossible(Fault::kKilled, Remedy::kReport));
  EXPECT_TRUE(IsPossible(Fault::kKilled, Remedy::kExcludeHost));
  EXPECT_TRUE(IsPossible(Fault::kSlow, Remedy::kRestart));
  EXPECT_TRUE(IsPossible(Fault::kDiskFull, Remedy::kReport));
  EXPECT_FALSE(IsPossible(Fault::kNetwork, Remedy::kRestart));
  EXPECT_FALSE(IsPossible(Fault::kGaveUp, Remedy::kRestart)) << "it says that it is useless";
  EXPECT_TRUE(IsPossible(Fault::kExited, Remedy::kFail));
}

}  // namespace
}  // namespace ringmaster::coordinator
