#include "collectives/selection/constants_cache.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>

#include "common/status_matchers.h"
#include "gtest/gtest.h"

namespace ringmaster::selection {
namespace {

using ::ringmaster::testing::StatusIs;
using ::testing::_;
using ::testing::HasSubstr;

constexpr char kKey[] = "hosts 0 0 1; machines 12ab";
const absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);

class ConstantsCacheTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::remove_all(directory_);
    ASSERT_OK(StoreConstants(directory_, kKey, {.constants = {.flag_us = 12.3456789012345678}, .when = kNow}));
    ASSERT_EQ(std::distance(std::filesystem::directory_iterator(directory_), {}), 1) << "nothing but the file";
    file_ = std::filesystem::directory_iterator(directory_)->path();
  }

  std::string Read() const {
    std::ifstream file(file_);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void Write(const std::string& text) const { std::ofstream(file_) << text; }

  const std::string directory_ = ::testing::TempDir() + "/constants/made";
  std::filesystem::path file_;
};

TEST_F(ConstantsCacheTest, GivesBackWhatWasMeasuredToTheLastBit) {
  const auto found = LoadConstants(directory_, kKey, kNow + absl::Hours(1));
  ASSERT_OK(found);
  EXPECT_EQ(found->constants.flag_us, 12.3456789012345678);
  EXPECT_EQ(found->constants.network.us_per_byte, Constants().network.us_per_byte);
  EXPECT_EQ(found->constants.cross_memory_us_per_byte, -1);
  EXPECT_EQ(found->when, kNow);
}

TEST_F(ConstantsCacheTest, AnotherKeyIsNotThere) {
  EXPECT_THAT(LoadConstants(directory_, "hosts 0 1", kNow), StatusIs(absl::StatusCode::kNotFound, _));
  EXPECT_THAT(LoadConstants(directory_ + "/nowhere", kKey, kNow), StatusIs(absl::StatusCode::kNotFound, _));
}

TEST_F(ConstantsCacheTest, WhatIsOldOrFromTheFutureIsStale) {
  EXPECT_OK(LoadConstants(directory_, kKey, kNow + kConstantsLast));
  EXPECT_THAT(LoadConstants(directory_, kKey, kNow + kConstantsLast + absl::Seconds(1)),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("24h1s old")));
  EXPECT_THAT(LoadConstants(directory_, kKey, kNow - absl::Hours(2)), StatusIs(absl::StatusCode::kFailedPrecondition, _));
}

TEST_F(ConstantsCacheTest, EveryDamagedByteIsSeen) {
  const std::string good = Read();
  for (size_t at = 0; at < good.size(); ++at) {
    std::string bad = good;
    bad[at] ^= 1;
    Write(bad);
    EXPECT_FALSE(LoadConstants(directory_, kKey, kNow).ok()) << "byte " << at;
    Write(good.substr(0, at));
    EXPECT_THAT(LoadConstants(directory_, kKey, kNow), StatusIs(absl::StatusCode::kDataLoss, _)) << "cut at " << at;
  }
}

TEST_F(ConstantsCacheTest, FiguresThatCannotBeAreRefused) {
  for (const double wrong : {-5.0, 1e9, std::numeric_limits<double>::quiet_NaN()}) {
    ASSERT_OK(StoreConstants(directory_, kKey, {.constants = {.add_us_per_byte = wrong}, .when = kNow}));
    EXPECT_THAT(LoadConstants(directory_, kKey, kNow), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("a figure"))) << wrong;
  }
}

TEST_F(ConstantsCacheTest, ADirectoryThatCannotBeWrittenIsSaid) {
  EXPECT_THAT(StoreConstants(file_.string(), kKey, {.constants = {}, .when = kNow}),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr(file_.string())));
}

}  // namespace
}  // namespace ringmaster::selection
