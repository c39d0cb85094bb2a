#include "coordinator/log_store.h"

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "common/status_matchers.h"

namespace ringmaster::coordinator {
namespace {

using ::ringmaster::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class LogStoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    directory_ = std::filesystem::path(::testing::TempDir()) / (std::string("logs-") + info->name());
    std::filesystem::remove_all(directory_);
  }

  static v1::LogLines Lines(int rank, const std::vector<std::string>& texts) {
    v1::LogLines lines;
    for (const std::string& text : texts) {
      v1::LogLine* line = lines.add_lines();
      line->set_rank(rank);
      line->set_text(text);
    }
    return lines;
  }

  static std::vector<std::string> ReadAll(const LogStore& logs) {
    std::vector<std::string> texts;
    int64_t offset = 0;
    while (true) {
      const absl::StatusOr<LogStore::Batch> batch = logs.Read(kJob, offset);
      EXPECT_OK(batch);
      if (!batch.ok()) return texts;
      for (const v1::LogLine& line : batch->lines) texts.push_back(line.text());
      EXPECT_TRUE(batch->at_end || batch->next_offset > offset) << "reading must get on";
      if (batch->at_end || batch->next_offset == offset) return texts;
      offset = batch->next_offset;
    }
  }

  std::filesystem::path File() const { return directory_ / "demo-1.log"; }

  inline static const JobId kJob{"demo-1"};
  std::filesystem::path directory_;
};

TEST_F(LogStoreTest, LinesComeBackInOrderOfArrivalAlsoInAnotherProcess) {
  {
    LogStore logs(directory_);
    logs.Open(kJob);
    logs.Append(kJob, Lines(0, {"a", ""}));
    logs.Append(kJob, Lines(1, {"b"}));
    EXPECT_THAT(ReadAll(logs), ElementsAre("a", "", "b"));
  }
  LogStore logs(directory_);
  logs.Open(kJob);
  logs.Append(kJob, Lines(0, {"c"}));
  EXPECT_THAT(ReadAll(logs), ElementsAre("a", "", "b", "c"));
}

TEST_F(LogStoreTest, AJobWithoutLinesHasNone) {
  LogStore logs(directory_);
  EXPECT_THAT(ReadAll(logs), IsEmpty());
}

TEST_F(LogStoreTest, AWorkerCannotMakeFilesForJobsThatAreNotOpen) {
  LogStore logs(directory_);
  logs.Open(kJob);
  logs.Append(JobId("../elsewhere"), Lines(0, {"a"}));
  logs.Append(JobId("other-1"), Lines(0, {"a"}));
  EXPECT_FALSE(std::filesystem::exists(directory_ / "other-1.log"));
  EXPECT_FALSE(std::filesystem::exists(directory_ / "../elsewhere.log"));
}

TEST_F(LogStoreTest, BatchesAreBoundedAndJoinUp) {
  LogStore logs(directory_);
  logs.Open(kJob);
  std::vector<std::string> texts;
  for (int i = 0; i < 40; ++i) texts.push_back(std::to_string(i) + std::string(20'000, 'x'));
  logs.Append(kJob, Lines(0, texts));
  ASSERT_OK_AND_ASSIGN(const LogStore::Batch first, logs.Read(kJob, 0));
  EXPECT_FALSE(first.at_end);
  EXPECT_LT(first.lines.size(), 20u);
  EXPECT_EQ(ReadAll(logs), texts);
}

TEST_F(LogStoreTest, ALineOfAMegabyteIsCutNotLost) {
  LogStore logs(directory_);
  logs.Open(kJob);
  logs.Append(kJob, Lines(0, {std::string(3 << 20, 'x'), "next"}));
  const std::vector<std::string> texts = ReadAll(logs);
  ASSERT_EQ(texts.size(), 2u);
  EXPECT_EQ(texts[0], std::string(1 << 19, 'x'));
  EXPECT_EQ(texts[1], "next");
}

TEST_F(LogStoreTest, EachRankIsBoundedForItselfAndSaysSoOnce) {
  LogStore logs(directory_, 1000);
  logs.Open(kJob);
  for (int i = 0; i < 100; ++i) logs.Append(kJob, Lines(0, {std::string(100, 'x')}));
  logs.Append(kJob, Lines(1, {"of another rank"}));
  const std::vector<std::string> texts = ReadAll(logs);
  ASSERT_EQ(texts.size(), 9u) << "7 lines of 132, the notice, the other rank's";
  EXPECT_THAT(texts[7], HasSubstr("keeps no more lines of this rank"));
  EXPECT_EQ(texts[8], "of another rank");
}

TEST_F(LogStoreTest, TheBoundCountsWhatWasThereBefore) {
  for (int life = 0; life < 3; ++life) {
    LogStore logs(directory_, 1000);
    logs.Open(kJob);
    for (int i = 0; i < 5; ++i) logs.Append(kJob, Lines(0, {std::string(100, 'x')}));
  }
  LogStore logs(directory_, 1000);
  EXPECT_EQ(ReadAll(logs).size(), 8u);
}

TEST_F(LogStoreTest, HalfARecordAtTheEndIsCutWhenTheFileIsOpened) {
  {
    LogStore logs(directory_);
    logs.Open(kJob);
    logs.Append(kJob, Lines(0, {"a", "half of this line is missing"}));
  }
  std::filesystem::resize_file(File(), std::filesystem::file_size(File()) - 10);
  LogStore logs(directory_);
  EXPECT_THAT(ReadAll(logs), ElementsAre("a"));
  logs.Open(kJob);
  logs.Append(kJob, Lines(0, {"b"}));
  EXPECT_THAT(ReadAll(logs), ElementsAre("a", "b"));
}

TEST_F(LogStoreTest, ADamagedFileIsDataLossWithTheOffset) {
  LogStore logs(directory_);
  logs.Open(kJob);
  logs.Append(kJob, Lines(0, {"a"}));
  const auto size = std::filesystem::file_size(File());
  logs.Append(kJob, Lines(0, {"b"}));
  std::fstream(File(), std::ios::in | std::ios::out | std::ios::binary)
      .seekp(static_cast<int64_t>(size))
      .write("\xff\xff\xff\xff", 4);
  EXPECT_THAT(logs.Read(kJob, 0), StatusIs(absl::StatusCode::kDataLoss,
                                           AllOf(HasSubstr(File().string()), HasSubstr("at byte " + std::to_string(size)))));
}

TEST_F(LogStoreTest, SubscribersHearOfTheirJobUntilTheyLeave) {
  LogStore logs(directory_);
  logs.Open(kJob);
  logs.Open(JobId("other-1"));
  int woken = 0;
  const LogStore::Subscription subscription = logs.Subscribe(kJob, [&] { ++woken; });
  logs.Append(JobId("other-1"), Lines(0, {"a"}));
  EXPECT_EQ(woken, 0);
  logs.Append(kJob, Lines(0, {"a"}));
  EXPECT_EQ(woken, 1);
  logs.Unsubscribe(subscription);
  logs.Append(kJob, Lines(0, {"a"}));
  EXPECT_EQ(woken, 1);
}

}  // namespace
}  // namespace ringmaster::coordinator
