#include "cli/doctor_checks.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "cli/fake_job_client.h"
#include "common/fake_clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ringmaster::cli {
namespace {

using ::testing::HasSubstr;

TEST(JudgeClockSkew, WarnsAboveASecondBeyondTheRoundTrip) {
  EXPECT_EQ(JudgeClockSkew(absl::Milliseconds(900), absl::Milliseconds(1)).health, Health::kOk);
  EXPECT_EQ(JudgeClockSkew(absl::Milliseconds(1100), absl::Milliseconds(1)).health, Health::kWarn);
  EXPECT_EQ(JudgeClockSkew(absl::Milliseconds(-1100), absl::Milliseconds(1)).health, Health::kWarn);
  EXPECT_EQ(JudgeClockSkew(absl::Milliseconds(1100), absl::Milliseconds(200)).health, Health::kOk) << "may be the network's doing";
}

TEST(JudgeFileLimit, LowLimitsHaveARemedy) {
  EXPECT_EQ(JudgeFileLimit(1024, 4096).health, Health::kOk);
  EXPECT_EQ(JudgeFileLimit(1023, 4096).health, Health::kWarn);
  EXPECT_EQ(JudgeFileLimit(255, 4096).health, Health::kFail);
  EXPECT_THAT(JudgeFileLimit(255, 4096).remedy, HasSubstr("ulimit -n"));
}

TEST(JudgeDirectory, SpaceFirstThenSpeed) {
  const int64_t gib = int64_t{1} << 30;
  EXPECT_EQ(JudgeDirectory("d", "/d", gib, absl::Milliseconds(1)).health, Health::kOk);
  EXPECT_EQ(JudgeDirectory("d", "/d", gib - 1, absl::Milliseconds(1)).health, Health::kWarn);
  EXPECT_EQ(JudgeDirectory("d", "/d", 1000, absl::Milliseconds(1)).health, Health::kFail);
  EXPECT_EQ(JudgeDirectory("d", "/d", gib, absl::Seconds(1)).health, Health::kWarn);
}

TEST(CheckDirectory, LooksAtTheNearestParentAndLeavesNothing) {
  const FakeClock clock;
  const std::filesystem::path base = std::filesystem::path(std::getenv("TEST_TMPDIR")) / "nearest";
  std::filesystem::create_directories(base);
  const Finding finding = CheckDirectory("state", base / "not" / "yet", clock);
  EXPECT_NE(finding.health, Health::kFail) << finding.detail;
  EXPECT_THAT(finding.detail, HasSubstr(base.string() + ":"));
  EXPECT_TRUE(std::filesystem::is_empty(base));
}

TEST(CheckCoordinator, FailsWithTheReason) {
  FakeJobClient client;
  EXPECT_EQ(CheckCoordinator(&client, "h:1").health, Health::kOk);
  client.Break(absl::UnavailableError("no coordinator answers at h:1"));
  EXPECT_EQ(CheckCoordinator(&client, "h:1").health, Health::kFail);
  EXPECT_THAT(CheckCoordinator(&client, "h:1").detail, HasSubstr("h:1"));
}

TEST(CheckClockSkew, ComparesCalendars) {
  FakeJobClient client;  // its calendar says 1970-01-01
  FakeClock clock;       // twelve days later
  EXPECT_EQ(CheckClockSkew(&client, clock).health, Health::kWarn);
}

TEST(CheckReachability, AFailedDialBackNamesBothEnds) {
  FakeJobClient client;
  const Finding finding = CheckReachability(&client, "127.0.0.1:7077");
  EXPECT_EQ(finding.health, Health::kFail);
  EXPECT_THAT(finding.detail, HasSubstr("127.0.0.1:"));
  EXPECT_THAT(finding.remedy, HasSubstr("--address"));
}

TEST(CheckListenPort, WantsHostAndPort) {
  EXPECT_EQ(CheckListenPort("nonsense").health, Health::kFail);
  EXPECT_EQ(CheckListenPort("h:0").health, Health::kFail);
  EXPECT_EQ(CheckListenPort("h:99999").health, Health::kFail);
}

TEST(CheckTrainerBinary, TellsMissingFromBroken) {
  const std::filesystem::path base = std::getenv("TEST_TMPDIR");
  EXPECT_THAT(CheckTrainerBinary(base / "none").remedy, HasSubstr("copy ringmaster-trainer"));
  const auto script = [&](const std::string& name, const std::string& text) {
    std::ofstream(base / name) << "#!/bin/sh\n" << text;
    std::filesystem::permissions(base / name, std::filesystem::perms::owner_all);
    return base / name;
  };
  const Finding good = CheckTrainerBinary(script("good", "echo trainer 1.2, oneDNN 2.6\n"));
  EXPECT_EQ(good.health, Health::kOk);
  EXPECT_EQ(good.detail, "trainer 1.2, oneDNN 2.6");
  const Finding broken = CheckTrainerBinary(script("broken", "echo cannot open libdnnl.so.2 >&2; exit 127\n"));
  EXPECT_EQ(broken.health, Health::kFail);
  EXPECT_THAT(broken.detail, HasSubstr("libdnnl.so.2"));
  EXPECT_THAT(broken.remedy, HasSubstr("libdnnl2"));
}

TEST(ThisMachine, HasPortsAndMemory) {
  EXPECT_EQ(CheckFreePort().health, Health::kOk);
  EXPECT_NE(CheckSharedMemory().health, Health::kFail);
  EXPECT_EQ(CheckCores().health, Health::kOk);
}

}  // namespace
}  // namespace ringmaster::cli
