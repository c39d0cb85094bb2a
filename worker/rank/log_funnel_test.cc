#include "worker/rank/log_funnel.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ringmaster {
namespace {

RankLine Line(const std::string& job, int rank, const std::string& text) {
  RankLine line;
  line.job = JobId(job);
  line.epoch = Epoch(1);
  line.rank = Rank(rank);
  line.text = text;
  return line;
}

std::vector<std::string> Texts(const std::vector<RankLine>& lines) {
  std::vector<std::string> texts;
  for (const RankLine& line : lines) {
    texts.push_back(line.text + (line.dropped_before > 0 ? " after " + std::to_string(line.dropped_before) : ""));
  }
  return texts;
}

TEST(LogFunnel, Batch_KeepsOrderAndHoldsOneJob) {
  LogFunnel funnel(1 << 20);
  funnel.Add(Line("a", 0, "1"));
  funnel.Add(Line("a", 1, "2"));
  funnel.Add(Line("b", 0, "3"));
  funnel.Add(Line("a", 0, "4"));

  EXPECT_THAT(Texts(funnel.Take(1 << 20)), ::testing::ElementsAre("1", "2"));
  EXPECT_THAT(Texts(funnel.Take(1 << 20)), ::testing::ElementsAre("3"));
  EXPECT_THAT(Texts(funnel.Take(1 << 20)), ::testing::ElementsAre("4"));
  EXPECT_TRUE(funnel.empty());
  EXPECT_THAT(funnel.Take(1 << 20), ::testing::IsEmpty());
}

TEST(LogFunnel, Batch_IsBoundedButNeverEmpty) {
  LogFunnel funnel(1 << 20);
  funnel.Add(Line("a", 0, std::string(5000, 'x')));
  funnel.Add(Line("a", 0, std::string(5000, 'y')));

  EXPECT_EQ(funnel.Take(100).size(), 1u);
  EXPECT_EQ(funnel.Take(100).size(), 1u);
}

TEST(LogFunnel, WhenFull_TheOldestGoAndTheirNumberComesWithTheNextLineOfTheirRank) {
  LogFunnel funnel(3500);
  for (int i = 0; i < 3; ++i) funnel.Add(Line("a", 0, std::string(800, 'x')));
  funnel.Add(Line("a", 1, std::string(800, 'r')));
  funnel.Add(Line("a", 1, std::string(800, 's')));
  funnel.Add(Line("a", 0, "last"));

  const std::vector<RankLine> lines = funnel.Take(1 << 20);

  int64_t dropped = 0;
  for (const RankLine& line : lines) {
    EXPECT_TRUE(line.rank == Rank(0) || line.dropped_before == 0) << line.text;
    dropped += line.dropped_before;
  }
  EXPECT_EQ(static_cast<size_t>(dropped) + lines.size(), 6u);
  EXPECT_GT(dropped, 0);
  EXPECT_EQ(lines.back().text, "last");
}

TEST(LogFunnel, DropsAreToldOnce) {
  LogFunnel funnel(300);
  funnel.Add(Line("a", 0, std::string(200, 'x')));
  funnel.Add(Line("a", 0, "second"));

  EXPECT_THAT(Texts(funnel.Take(1 << 20)), ::testing::ElementsAre("second after 1"));
  funnel.Add(Line("a", 0, "third"));
  EXPECT_THAT(Texts(funnel.Take(1 << 20)), ::testing::ElementsAre("third"));
}

}  // namespace
}  // namespace ringmaster
