// The guard's argument form; what it does is tested with real processes in process/guarded_process_runner_test.cc.
#include "worker/guard.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ringmaster {
namespace {

using ::testing::ElementsAre;

TEST(GuardArguments, WhatIsFormattedIsParsed) {
  const GuardArguments arguments{.cpus = {0, 3}, .directory = "/some where", .command = {"python3", "--", "--cpus", ""}};
  const std::vector<std::string> words = FormatGuardArguments(arguments);
  EXPECT_THAT(words, ElementsAre("--cpus", "0,3", "--directory", "/some where", "--", "python3", "--", "--cpus", ""));

  GuardArguments parsed;
  ASSERT_TRUE(ParseGuardArguments(words, &parsed));

  EXPECT_EQ(parsed.cpus, arguments.cpus);
  EXPECT_EQ(parsed.directory, arguments.directory);
  EXPECT_EQ(parsed.command, arguments.command);
}

TEST(GuardArguments, WrongForm_IsRefused) {
  const std::vector<std::string> table[] = {{},
                                            {"--"},
                                            {"program"},
                                            {"--cpus", "--", "p"},
                                            {"--cpus", "-1", "--", "p"},
                                            {"--cpus", "99999", "--", "p"},
                                            {"--unknown", "x", "--", "p"}};
  for (const std::vector<std::string>& words : table) {
    GuardArguments parsed;
    EXPECT_FALSE(ParseGuardArguments(words, &parsed)) << ::testing::PrintToString(words);
  }
}

TEST(RunGuard, WithoutArguments_IsUsage) { EXPECT_EQ(RunGuard(0, nullptr), 2); }

}  // namespace
}  // namespace ringmaster
