// Golden scenarios: each file of testdata/ is a list of blocks,
//   lines for the coordinator's core (see scenario.cc)
//   ----
//   what it decided and sent, up to an empty line
// Lines before a block that begin with # are remarks. A difference prints the whole new transcript. With
// REWRITE_SCENARIOS=DIRECTORY in the environment the transcripts are written there: read the difference before you keep it.
#include "coordinator/core/scenario.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "gtest/gtest.h"

namespace ringmaster::coordinator {
namespace {

std::string ReadWhole(const std::filesystem::path& path) {
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

// The same file with the outputs that the core gives now.
std::string Transcript(const std::string& file) {
  Scenario scenario;
  std::string out, output;
  bool expecting = false;
  for (const std::string& line : std::vector<std::string>(absl::StrSplit(absl::StripSuffix(file, "\n"), '\n'))) {
    if (expecting) {
      if (!line.empty()) continue;
      expecting = false;
      absl::StrAppend(&out, output, "\n");
      output.clear();
    } else if (line == "----") {
      expecting = true;
      absl::StrAppend(&out, line, "\n");
    } else {
      absl::StrAppend(&out, line, "\n");
      if (!line.empty() && line[0] != '#') absl::StrAppend(&output, scenario.Play(line));
    }
  }
  return absl::StrCat(out, output);
}

std::vector<std::string> Files() {
  std::set<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator("coordinator/core/testdata")) files.insert(entry.path().stem());
  return {files.begin(), files.end()};
}

class ScenarioTest : public ::testing::TestWithParam<std::string> {};

TEST_P(ScenarioTest, DecidesAsWritten) {
  const std::string expected = ReadWhole(absl::StrCat("coordinator/core/testdata/", GetParam(), ".txt"));
  const std::string found = Transcript(expected);
  if (const char* directory = std::getenv("REWRITE_SCENARIOS"); directory != nullptr) {
    std::ofstream(std::filesystem::path(directory) / (GetParam() + ".txt")) << found;
  }
  EXPECT_EQ(found.find("] error: "), std::string::npos);
  EXPECT_EQ(found, expected);  // the difference is below the two whole texts
}

INSTANTIATE_TEST_SUITE_P(Testdata, ScenarioTest, ::testing::ValuesIn(Files()), [](const auto& info) { return info.param; });

TEST(Scenarios, AreAllThere) { EXPECT_GE(Files().size(), 12u); }

}  // namespace
}  // namespace ringmaster::coordinator
