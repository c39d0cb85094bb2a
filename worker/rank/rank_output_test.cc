#include "worker/rank/rank_output.h"

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "common/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ringmaster {
namespace {

using ::ringmaster::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::filesystem::path Stem(const std::string& name) {
  return RankLogStem(std::filesystem::path(std::getenv("TEST_TMPDIR")) / name, "job-1", 3, 2);
}

std::string Content(const std::string& path) {
  std::ifstream file(path);
  std::stringstream content;
  content << file.rdbuf();
  return content.str();
}

TEST(RankOutput, Files_HoldTheBytesAsTheyCame) {
  const std::filesystem::path stem = Stem("bytes");
  EXPECT_EQ(stem.filename(), "rank-2.epoch-3");
  RankOutput output;
  ASSERT_OK(output.Open(stem));
  absl::Status error;

  EXPECT_THAT(output.Add(false, "one\ntw\xFF", &error), ElementsAre("one"));
  EXPECT_THAT(output.Add(true, "bad\n", &error), ElementsAre("bad"));
  EXPECT_THAT(output.Finish(false), ElementsAre("tw\xEF\xBF\xBD"));

  EXPECT_OK(error);
  EXPECT_EQ(Content(stem.string() + ".out"), "one\ntw\xFF");
  EXPECT_EQ(Content(stem.string() + ".err"), "bad\n");
}

TEST(RankOutput, StderrTail_IsTheLastTwentyLinesWithTheUnfinishedOne) {
  RankOutput output;
  ASSERT_OK(output.Open(Stem("tail")));
  absl::Status error;
  for (int i = 0; i < 30; ++i) output.Add(true, "line " + std::to_string(i) + "\n", &error);
  output.Add(false, "not stderr\n", &error);
  output.Add(true, "no newline", &error);
  output.Finish(true);

  const std::vector<std::string> tail = output.StderrTail();
  ASSERT_EQ(tail.size(), RankOutput::kTailLines);
  EXPECT_EQ(tail.front(), "line 11");
  EXPECT_EQ(tail.back(), "no newline");
}

TEST(RankOutput, FilesThatCannotBeMade_LeaveTheLinesFlowing) {
  RankOutput output;
  EXPECT_THAT(output.Open("/proc/nowhere/rank-0.epoch-1"),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("/proc/nowhere/rank-0.epoch-1.out")));
  absl::Status error;

  EXPECT_THAT(output.Add(false, "still here\n", &error), ElementsAre("still here"));
  EXPECT_OK(error);
}

TEST(RankOutput, FullDisk_IsToldOnceAndLeavesTheLinesFlowing) {
  const std::filesystem::path stem = Stem("full");
  std::filesystem::create_directories(stem.parent_path());
  std::filesystem::remove(stem.string() + ".out");
  std::filesystem::create_symlink("/dev/full", stem.string() + ".out");
  RankOutput output;
  ASSERT_OK(output.Open(stem));
  absl::Status error;

  EXPECT_THAT(output.Add(false, "a\n", &error), ElementsAre("a"));
  EXPECT_THAT(error, StatusIs(absl::StatusCode::kUnavailable, HasSubstr("No space left")));
  error = absl::OkStatus();
  EXPECT_THAT(output.Add(false, "b\n", &error), ElementsAre("b"));
  EXPECT_OK(error);
}

}  // namespace
}  // namespace ringmaster
