#include "trainer/cuda/product_choices.h"

#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ringmaster::trainer {
namespace {

using ::ringmaster::testing::StatusIs;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

constexpr char kProduct[] = "GPU H, lib 13.1.0, product (4, 8) x (8, 16)";
constexpr char kOther[] = "GPU H, lib 13.1.0, product (8, 8) x (8, 16)";
const std::string kAlgorithm("\0\1\xff algorithm", 13);

std::string Fresh(const std::string& name) {
  const std::string directory = absl::StrCat(::testing::TempDir(), "/", name);
  fs::remove_all(directory);
  return directory;
}

std::string OnlyFile(const std::string& directory) {
  std::string found;
  for (const auto& entry : fs::directory_iterator(directory)) {
    EXPECT_EQ(found, "") << entry.path();
    found = entry.path();
  }
  return found;
}

TEST(ProductChoices, WhatIsKeptIsFoundByOthersAndForThatProductAlone) {
  const std::string directory = Fresh("kept");
  ASSERT_OK_AND_ASSIGN(const auto before, ProductChoices(directory).Find(kProduct));
  EXPECT_EQ(before, std::nullopt);
  ASSERT_OK_AND_ASSIGN(const std::string counts, ProductChoices(directory).Keep(kProduct, kAlgorithm));
  EXPECT_EQ(counts, kAlgorithm);
  ASSERT_OK_AND_ASSIGN(const auto found, ProductChoices(directory).Find(kProduct));
  EXPECT_EQ(found, kAlgorithm);
  ASSERT_OK_AND_ASSIGN(const auto other, ProductChoices(directory).Find(kOther));
  EXPECT_EQ(other, std::nullopt);
  EXPECT_EQ(fs::path(OnlyFile(directory)).filename(), "GPU-H--lib-13.1.0--product--4--8--x--8--16-");
}

TEST(ProductChoices, TheFirstOneDecides) {
  const ProductChoices choices(Fresh("first"));
  ASSERT_OK(choices.Keep(kProduct, "one").status());
  ASSERT_OK_AND_ASSIGN(const std::string counts, choices.Keep(kProduct, "another"));
  EXPECT_EQ(counts, "one");
}

TEST(ProductChoices, RanksThatChooseAtTheSameTimeAgree) {
  const std::string directory = Fresh("race");
  std::vector<std::string> counts(8);
  std::vector<std::thread> ranks;
  for (size_t rank = 0; rank < counts.size(); ++rank) {
    ranks.emplace_back([&, rank] {
      const auto kept = ProductChoices(directory).Keep(kProduct, absl::StrCat("choice of ", rank));
      counts[rank] = kept.ok() ? *kept : kept.status().ToString();
    });
  }
  for (std::thread& rank : ranks) rank.join();
  EXPECT_EQ(std::set<std::string>(counts.begin(), counts.end()).size(), 1u) << counts[0] << ", " << counts[1];
  EXPECT_THAT(counts[0], ::testing::StartsWith("choice of "));
  OnlyFile(directory);  // nothing else is left
}

TEST(ProductChoices, ADamagedFileIsRefusedByName) {
  const std::string directory = Fresh("damaged");
  const ProductChoices choices(directory);
  ASSERT_OK(choices.Keep(kProduct, kAlgorithm).status());
  const std::string path = OnlyFile(directory);
  std::string whole;
  std::getline(std::ifstream(path), whole, '\0');
  for (size_t changed = 0; changed < whole.size(); ++changed) {
    std::string bytes = whole;
    bytes[changed] ^= 1;
    std::ofstream(path) << bytes;
    EXPECT_THAT(choices.Find(kProduct), StatusIs(absl::StatusCode::kDataLoss, HasSubstr(path))) << "byte " << changed;
  }
  std::ofstream(path) << whole.substr(0, whole.size() / 2);
  EXPECT_THAT(choices.Keep(kProduct, kAlgorithm), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("chosen anew")));
}

TEST(ProductChoices, APlaceThatCannotBeWrittenIsNamed) {
  const std::string directory = Fresh("place");
  std::ofstream(directory) << "a file";
  EXPECT_THAT(ProductChoices(directory).Keep(kProduct, kAlgorithm).status().message(), HasSubstr(directory));
}

}  // namespace
}  // namespace ringmaster::trainer
