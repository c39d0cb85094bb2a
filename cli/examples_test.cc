// Every file in examples/ is a job that this version accepts as it is.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "cli/spec/local_checks.h"
#include "cli/spec/spec_parser.h"
#include "common/status_matchers.h"
#include "gtest/gtest.h"

namespace ringmaster::cli {
namespace {

using ringmaster::testing::StatusIs;

TEST(Examples, AreGoodJobFiles) {
  const std::filesystem::path directory =
      std::filesystem::path(std::getenv("TEST_SRCDIR")) / std::getenv("TEST_WORKSPACE") / "examples";
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    std::ifstream file(entry.path());
    std::ostringstream text;
    text << file.rdbuf();
    ASSERT_OK_AND_ASSIGN(
        const v1::JobSpec spec,
        ParseJobSpec({.text = text.str(), .name = entry.path().filename(), .current_directory = std::getenv("TEST_TMPDIR")}));
    const absl::Status here = CheckLocally(spec, "/usr/bin:/bin");
    if (spec.device() != "cuda" || here.ok()) {
      EXPECT_OK(here);
    } else {
      EXPECT_THAT(here, StatusIs(absl::StatusCode::kInvalidArgument, ::testing::StartsWith("device: cuda: no NVIDIA GPU")));
    }
    ++count;
  }
  EXPECT_GE(count, 5);
}

}  // namespace
}  // namespace ringmaster::cli
