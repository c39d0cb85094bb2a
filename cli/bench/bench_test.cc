#include <algorithm>
#include <limits>

#include "absl/strings/str_join.h"
#include "cli/bench/bench_options.h"
#include "cli/bench/bench_row.h"
#include "cli/bench/comparison.h"
#include "cli/bench/exact_data.h"
#include "cli/bench/peers.h"
#include "cli/bench/programs.h"
#include "common/real_clock.h"
#include "common/status_matchers.h"

namespace ringmaster::cli {
namespace {

using ::ringmaster::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

TEST(BenchOptionsTest, SizesAreRangesOrLists) {
  EXPECT_THAT(*ParseSizes("8:64"), ElementsAre(8, 16, 32, 64));
  EXPECT_THAT(*ParseSizes("1K:1M:32"), ElementsAre(1024, 32768, 1048576));
  EXPECT_THAT(*ParseSizes("8,4K,1G"), ElementsAre(8, 4096, 1073741824));
  for (const char* wrong : {"", "x", "8:", "64:8", "0:8", "8:64:1", "8:16:2:3", "1T", "-8"}) {
    EXPECT_THAT(ParseSizes(wrong).status(), StatusIs(absl::StatusCode::kInvalidArgument, ::testing::_)) << wrong;
  }
}

TEST(BenchOptionsTest, AWrongNameIsAnsweredWithThePossibleOnes) {
  EXPECT_EQ(*ParseType("bf16"), DataType::kBF16);
  EXPECT_THAT(ParseType("float").status(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("f32, f64")));
  EXPECT_THAT(ParseOperation("allreduce").status(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("all_reduce")));
  EXPECT_THAT(ParseOperation("send").status(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("all_to_all")));
}

TEST(BenchOptionsTest, BusBandwidthCountsTheBusiestLink) {
  EXPECT_EQ(BusFactor(Operation::kAllReduce, 4), 1.5);
  EXPECT_EQ(BusFactor(Operation::kReduceScatter, 4), 0.75);
  EXPECT_EQ(BusFactor(Operation::kBroadcast, 4), 1);
}

TEST(BenchRowTest, TheQuantileIsTheValueBelowWhichThatShareLies) {
  std::vector<double> values;
  for (int i = 100; i >= 1; --i) values.push_back(i);
  EXPECT_EQ(Quantile(values, 0.5), 51);
  EXPECT_EQ(Quantile(values, 0.99), 100);
  EXPECT_EQ(Quantile(values, 0), 1);
  EXPECT_EQ(Quantile({}, 0.5), 0);
}

TEST(BenchRowTest, JsonKeepsTheNamesThatScriptsRelyOn) {
  BenchRow row{
      .op = "all_reduce", .dtype = "f32", .ranks = 2, .transport = "shm", .buffers = "private", .bytes = 8, .time_us_p50 = 0.5};
  row.against["openmpi"] = {.time_us_p50 = 1, .ratio = 2};
  const nlohmann::json json = ToJson(row);
  for (const char* field : {"op", "dtype", "ranks", "transport", "buffers", "bytes", "time_us_p50", "time_us_p99", "algbw_gbs",
                            "busbw_gbs", "errors"}) {
    EXPECT_TRUE(json.contains(field)) << field;
  }
  EXPECT_EQ(json["against"]["openmpi"]["ratio"], 2);
  EXPECT_EQ(RowFromJson(json).bytes, 8);
}

TEST(ExactDataTest, EveryTypeKeepsEveryNumberThatOccurs) {
  for (int type = 0; type < kDataTypes; ++type) {
    char buffer[64] = {};
    for (int value = 0; value < 128; ++value) {
      StoreElement(buffer, 3, static_cast<DataType>(type), value);
      ASSERT_EQ(LoadElement(buffer, 3, static_cast<DataType>(type)), value) << NameOf(static_cast<DataType>(type));
    }
  }
  for (int reduction = 0; reduction < kReductions; ++reduction) {
    for (int64_t index = 0; index < 200; ++index) EXPECT_LT(ReducedAt(index, 32, static_cast<Reduction>(reduction)), 128);
  }
}

TEST(ExactDataTest, OneWrongElementIsCounted) {
  float found[4];
  for (int64_t i = 0; i < 4; ++i) found[i] = static_cast<float>(ReducedAt(i, 3, Reduction::kSum));
  const Call call{.operation = Operation::kAllReduce, .type = DataType::kF32, .count = 4, .receive = found};
  EXPECT_EQ(CountWrong(call, 1, 3), 0);
  found[2] += 1;
  EXPECT_EQ(CountWrong(call, 1, 3), 1);
}

TEST(ProgramsTest, GivesTheLinesAndNamesTheOneToBlame) {
  const RealClock clock;
  const auto shell = [](const char* script) { return Program{{"sh", "-c", script}, {"ANSWER=42"}}; };
  EXPECT_THAT(*RunPrograms({shell("echo $ANSWER; echo two"), shell("true")}, absl::Seconds(30), clock), ElementsAre("42", "two"));
  EXPECT_THAT(RunPrograms({shell("true"), shell("exit 3")}, absl::Seconds(30), clock).status(),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("exit 3 ended with code 3")));
  EXPECT_THAT(RunPrograms({shell("echo first >&2; echo ' out of luck' >&2; echo >&2; exit 3")}, absl::Seconds(30), clock).status(),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("ended with code 3: out of luck")));
  EXPECT_THAT(RunPrograms({shell("exit 1"), shell("kill -9 $$")}, absl::Seconds(30), clock).status(),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("kill -9 $$ ended with signal 9")));
  EXPECT_THAT(RunPrograms({shell("read never < /dev/zero; sleep 60")}, absl::Milliseconds(50), clock).status(),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("50ms")));
  EXPECT_THAT(RunPrograms({{{"no-such-program-anywhere"}, {}}}, absl::Seconds(30), clock).status(),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no-such-program-anywhere")));
}

BenchRow RowAt(int64_t bytes, double us, int64_t errors = 0) {
  BenchRow row;
  row.ranks = 2;
  row.bytes = bytes;
  row.time_us_p50 = row.time_us_p99 = us;
  row.errors = errors;
  return row;
}

TEST(ComparisonTest, RatiosAreOfTheSameRoundAndFiguresMediansOfAll) {
  Comparison comparison;
  for (const double slow : {1.0, 10.0, 2.0}) {  // the machine: the peer takes twice as long in every round
    comparison.AddOwn({RowAt(8, slow), RowAt(64, slow)});
    comparison.AddPeer("openmpi", std::vector<BenchRow>{RowAt(8, 2 * slow)});
  }
  const std::vector<BenchRow> rows = comparison.Rows();
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].time_us_p50, 2);
  EXPECT_EQ(rows[0].against.at("openmpi").time_us_p50, 4);
  EXPECT_EQ(rows[0].against.at("openmpi").ratio_least, 2);
  EXPECT_EQ(rows[0].against.at("openmpi").ratio_greatest, 2);
  EXPECT_TRUE(rows[1].against.empty());
  EXPECT_TRUE(comparison.failures().empty());
}

TEST(ComparisonTest, APeerThatFailsSaysWhyAndTheOthersAreStillCompared) {
  Comparison comparison;
  comparison.AddOwn({RowAt(8, 1)});
  comparison.AddPeer("gloo", std::vector<BenchRow>{RowAt(8, 5)});
  comparison.AddPeer("mpich", std::vector<BenchRow>{RowAt(8, 5, /*errors=*/3)});
  comparison.AddPeer("openmpi", std::vector<BenchRow>{RowAt(8, 4)});
  comparison.AddOwn({RowAt(8, 1)});
  comparison.AddPeer("gloo", absl::InternalError("gloo ended with code 1: timed out"));
  comparison.AddPeer("openmpi", std::vector<BenchRow>{RowAt(8, 4)});
  const std::vector<BenchRow> rows = comparison.Rows();
  EXPECT_THAT(comparison.failures(), ElementsAre(Pair("gloo", "round 2: gloo ended with code 1: timed out"),
                                                 Pair("mpich", "round 1: 3 wrong elements at 8 bytes")));
  ASSERT_EQ(rows[0].against.size(), 1u);
  EXPECT_EQ(rows[0].against.at("openmpi").ratio, 4);
  EXPECT_THAT(TableLine(rows[0], {"gloo", "openmpi"}, comparison.failures()), HasSubstr(" failed "));
}

TEST(PeersTest, AMissingPeerSaysWhatToInstall) {
  BenchOptions options;
  options.against = "mpich";
  options.peers = "/nowhere";
  EXPECT_THAT(MakePeers(options, "me").status(), StatusIs(absl::StatusCode::kNotFound, HasSubstr("libmpich-dev")));
  options.against = "nccl";
  EXPECT_THAT(MakePeers(options, "me").status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("gloo, openmpi, mpich or fastest")));
  options.operation = "broadcast";
  EXPECT_THAT(MakePeers(options, "me").status(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("all_reduce")));
}

TEST(PeersTest, FastestIsThisProgramInTheOtherOrder) {
  BenchOptions options;
  options.against = "fastest";
  options.transport = "tcp";
  const auto peers = MakePeers(options, "me");
  ASSERT_OK(peers);
  ASSERT_EQ(peers->size(), 1u);
  const std::string command = absl::StrJoin(peers->front().program.arguments, " ");
  EXPECT_THAT(command, HasSubstr("me bench collectives"));
  EXPECT_THAT(command, HasSubstr("--order fastest --transport tcp"));
  // Comparisons are in place.
  const auto rows =
      PeerRows({R"({"rows": [{"bytes": 8, "in_place": false}, {"bytes": 16, "in_place": true}]})", "talk", R"({"bytes": 32})"});
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].bytes, 16);
  EXPECT_EQ(rows[1].bytes, 32);
}

}  // namespace
}  // namespace ringmaster::cli
