#include "cli/capture_output.h"

#include "common/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ringmaster::cli {
namespace {

using ::ringmaster::testing::StatusIs;
using ::testing::HasSubstr;

TEST(CaptureOutput, GivesBothStreamsAndTheExitCode) {
  ASSERT_OK_AND_ASSIGN(const CapturedOutput output, CaptureOutput({"sh", "-c", "echo out; echo err >&2; exit 3"}));
  EXPECT_EQ(output.text, "out\nerr\n");
  EXPECT_EQ(output.exit_code, 3);
}

TEST(CaptureOutput, GivesASignalAs128PlusItsNumber) {
  ASSERT_OK_AND_ASSIGN(const CapturedOutput output, CaptureOutput({"sh", "-c", "kill -TERM $$"}));
  EXPECT_EQ(output.exit_code, 128 + 15);
}

TEST(CaptureOutput, KeepsWordsApartWithoutAShell) {
  ASSERT_OK_AND_ASSIGN(const CapturedOutput output, CaptureOutput({"printf", "%s|", "a b", "$HOME;"}));
  EXPECT_EQ(output.text, "a b|$HOME;|");
}

TEST(CaptureOutput, ReadsOnPastWhatItKeeps) {
  ASSERT_OK_AND_ASSIGN(const CapturedOutput output, CaptureOutput({"sh", "-c", "head -c 300000 /dev/zero; exit 5"}));
  EXPECT_EQ(output.exit_code, 5);
  EXPECT_LT(output.text.size(), 8192);
}

TEST(CaptureOutput, NamesAProgramThatIsNotThere) {
  EXPECT_THAT(CaptureOutput({"/nowhere/program"}), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("/nowhere/program")));
}

}  // namespace
}  // namespace ringmaster::cli
