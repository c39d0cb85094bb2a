#include "worker/rank/line_splitter.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ringmaster {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(LineSplitter, BytesInAnyPieces_GiveTheSameLines) {
  const std::string text = "one\n\ntwo\r\nthree";
  for (size_t piece = 1; piece <= text.size(); ++piece) {
    LineSplitter splitter;
    std::vector<std::string> lines;
    for (size_t at = 0; at < text.size(); at += piece) {
      for (std::string& line : splitter.Add(absl::string_view(text).substr(at, piece))) lines.push_back(std::move(line));
    }
    EXPECT_THAT(lines, ElementsAre("one", "", "two")) << piece;
    EXPECT_THAT(splitter.Finish(), ElementsAre("three"));
    EXPECT_THAT(splitter.Finish(), IsEmpty());
  }
}

TEST(LineSplitter, LineOfTheGreatestLength_IsOneLine) {
  LineSplitter splitter;
  const std::string line(LineSplitter::kMaxLineBytes, 'x');

  EXPECT_THAT(splitter.Add(line + "\n"), ElementsAre(line));
}

TEST(LineSplitter, LongerLine_ComesInPiecesThatDivideNoCharacter) {
  LineSplitter splitter;
  // The two bytes of "ä" lie on both sides of the limit.
  const std::string head(LineSplitter::kMaxLineBytes - 1, 'x');

  const std::vector<std::string> lines = splitter.Add(head + "\xC3\xA4" + "tail\n");

  EXPECT_THAT(lines, ElementsAre(head, "\xC3\xA4tail"));
}

TEST(LineSplitter, EndlessLineWithoutNewline_HoldsNoMoreThanOneLine) {
  LineSplitter splitter;
  size_t bytes = 0;
  for (int i = 0; i < 100; ++i) {
    for (const std::string& line : splitter.Add(std::string(10000, 'y'))) bytes += line.size();
  }
  const std::vector<std::string> rest = splitter.Finish();
  ASSERT_EQ(rest.size(), 1u);
  EXPECT_LE(rest[0].size(), LineSplitter::kMaxLineBytes);
  EXPECT_EQ(bytes + rest[0].size(), 1'000'000u);
}

TEST(ToValidUtf8, KeepsWhatIsValidAndReplacesEachWrongByte) {
  const std::string bad = "\xEF\xBF\xBD";
  EXPECT_EQ(ToValidUtf8("plain \xC3\xA4 \xE2\x82\xAC \xF0\x9F\x98\x80"), "plain \xC3\xA4 \xE2\x82\xAC \xF0\x9F\x98\x80");
  EXPECT_EQ(ToValidUtf8("a\xFFz"), "a" + bad + "z");
  EXPECT_EQ(ToValidUtf8("\xC0\xAF"), bad + bad);                      // overlong
  EXPECT_EQ(ToValidUtf8("\xED\xA0\x80"), bad + bad + bad);            // surrogate
  EXPECT_EQ(ToValidUtf8("\xF4\x90\x80\x80"), bad + bad + bad + bad);  // above U+10FFFF
  EXPECT_EQ(ToValidUtf8("cut \xE2\x82"), "cut " + bad + bad);
}

}  // namespace
}  // namespace ringmaster
