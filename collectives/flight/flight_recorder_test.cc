#include "collectives/flight/flight_recorder.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "collectives/flight/read_flight_records.h"
#include "common/fake_clock.h"
#include "common/real_clock.h"
#include "common/status_matchers.h"
#include "gtest/gtest.h"

namespace ringmaster {
namespace {

using ::ringmaster::testing::StatusIs;
using ::testing::HasSubstr;

const Call kSum{.operation = Operation::kAllReduce, .type = DataType::kF32, .reduction = Reduction::kSum, .count = 1000};

FlightRecord OfThisProcess(const Clock& clock) {
  const auto records = ReadFlightRecords(getpid(), clock);
  EXPECT_OK(records.status());
  return records.ok() && records->size() == 1 ? records->front() : FlightRecord{};
}

TEST(FlightRecorder, KeepsWhatEveryOperationWasAndHowItEnded) {
  const RealClock clock;
  ASSERT_OK_AND_ASSIGN(const auto recorder, FlightRecorder::Create("data", 2, 4, clock));
  recorder->End(recorder->Begin(kSum), absl::StatusCode::kOk);
  const std::vector<int64_t> counts{1, 2, 3, 4};
  const Call gather{.operation = Operation::kAllGatherV, .type = DataType::kF64, .send_counts = counts};
  recorder->End(recorder->Begin(gather), absl::StatusCode::kUnavailable);
  recorder->Begin({.operation = Operation::kBroadcast, .type = DataType::kU8, .root = 3, .count = 7});
  std::atomic<int32_t> mirror = -1;
  recorder->MirrorWaits(&mirror);
  recorder->WaitsFor(3);
  EXPECT_EQ(mirror, 3);

  const FlightRecord record = OfThisProcess(clock);
  EXPECT_EQ(record.group, "data");
  EXPECT_EQ(record.rank, 2);
  EXPECT_EQ(record.size, 4);
  ASSERT_EQ(record.operations.size(), 3u);
  EXPECT_EQ(record.operations[0].state, FlightState::kFinished);
  EXPECT_EQ(record.operations[0].bytes, 4000);
  EXPECT_EQ(record.operations[1].state, FlightState::kFailed);
  EXPECT_EQ(record.operations[1].code, absl::StatusCode::kUnavailable);
  EXPECT_EQ(record.operations[1].count, 10);
  EXPECT_EQ(record.operations[1].bytes, 80);
  EXPECT_EQ(record.operations[2].state, FlightState::kStarted);
  EXPECT_EQ(record.operations[2].operation, Operation::kBroadcast);
  EXPECT_EQ(record.operations[2].root, 3);
  EXPECT_EQ(record.operations[2].waits_for, 3);
  EXPECT_EQ(record.operations[0].waits_for, -1);
  EXPECT_LT(absl::AbsDuration(record.operations[2].started - clock.WallNow()), absl::Seconds(30));
}

TEST(FlightRecorder, WrapsAroundAndForgetsTheOldest) {
  const RealClock clock;
  ASSERT_OK_AND_ASSIGN(const auto recorder, FlightRecorder::Create("data", 0, 1, clock));
  const uint64_t first = recorder->Begin(kSum);
  for (int i = 1; i < kFlightEntries + 10; ++i) recorder->End(recorder->Begin(kSum), absl::StatusCode::kOk);
  recorder->End(first, absl::StatusCode::kInternal);  // its entry belongs to another operation by now

  const FlightRecord record = OfThisProcess(clock);
  EXPECT_EQ(record.begun, static_cast<uint64_t>(kFlightEntries) + 10);
  ASSERT_EQ(record.operations.size(), static_cast<size_t>(kFlightEntries));
  for (size_t i = 0; i < record.operations.size(); ++i) {
    EXPECT_EQ(record.operations[i].sequence, i + 11);
    EXPECT_EQ(record.operations[i].state, FlightState::kFinished);
    EXPECT_FALSE(record.operations[i].torn);
  }
}

TEST(FlightRecorder, IsReadFromOutsideAProcessThatIsStopped) {
  const RealClock clock;
  const pid_t child = fork();
  if (child == 0) {
    const auto recorder = FlightRecorder::Create("stopped", 1, 2, clock);
    if (!recorder.ok()) _exit(1);
    (*recorder)->End((*recorder)->Begin({}), absl::StatusCode::kOk);
    (*recorder)->Begin(kSum);
    raise(SIGSTOP);
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, WUNTRACED), child);
  ASSERT_TRUE(WIFSTOPPED(status));

  const auto records = ReadFlightRecords(child, clock);
  kill(child, SIGKILL);
  waitpid(child, &status, 0);
  ASSERT_OK(records.status());
  ASSERT_EQ(records->size(), 1u);
  const FlightRecord& record = records->front();
  EXPECT_EQ(record.group, "stopped");
  EXPECT_EQ(record.rank, 1);
  ASSERT_EQ(record.operations.size(), 2u);
  EXPECT_EQ(record.operations[1].state, FlightState::kStarted);
  EXPECT_EQ(record.operations[1].operation, Operation::kAllReduce);
  EXPECT_GT(record.operations[1].duration, absl::ZeroDuration());
  EXPECT_LT(record.operations[1].duration, absl::Seconds(60));
  EXPECT_THAT(ReadFlightRecords(child, clock), StatusIs(absl::StatusCode::kNotFound, HasSubstr("no process")));
}

// The bytes of a record as they would lie in memory.
class FlightFile {
 public:
  FlightFile() : path_(absl::StrCat(::testing::TempDir(), "/flight")), bytes_(kFlightRecordBytes, '\0') {
    Put<uint64_t>(0, FlightHead::kMagic);
    Put<uint32_t>(8, 1);
    Put<uint32_t>(12, sizeof(FlightHead));
    Put<uint32_t>(16, sizeof(FlightEntry));
    Put<uint32_t>(20, kFlightEntries);
    Put<uint64_t>(56, 1);   // begun
    Put<uint32_t>(128, 2);  // version of the first entry
    Put<uint64_t>(136, 1);  // its sequence
  }
  template <typename T>
  void Put(size_t offset, T value) {
    std::memcpy(&bytes_[offset], &value, sizeof(value));
  }
  void Cut(size_t bytes) { bytes_.resize(bytes); }
  absl::StatusOr<FlightRecord> Read() {
    std::ofstream(path_, std::ios::binary).write(bytes_.data(), static_cast<std::streamsize>(bytes_.size()));
    return ReadFlightRecord(path_, clock_);
  }

 private:
  FakeClock clock_;
  std::string path_;
  std::string bytes_;
};

TEST(ReadFlightRecord, AnEntryInTheWritersHandsIsTorn) {
  FlightFile file;
  ASSERT_OK_AND_ASSIGN(const FlightRecord whole, file.Read());
  EXPECT_FALSE(whole.operations.at(0).torn);
  file.Put<uint32_t>(128, 3);
  ASSERT_OK_AND_ASSIGN(const FlightRecord torn, file.Read());
  EXPECT_TRUE(torn.operations.at(0).torn);
}

TEST(ReadFlightRecord, RefusesWhatItDoesNotKnow) {
  FlightFile newer;
  newer.Put<uint32_t>(8, 2);
  EXPECT_THAT(newer.Read(), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("version 2")));
  FlightFile other;
  other.Put<uint64_t>(0, 1);
  EXPECT_THAT(other.Read(), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("no flight record")));
  FlightFile impossible;
  impossible.Put<uint8_t>(132, 200);  // operation
  ASSERT_OK_AND_ASSIGN(const FlightRecord record, impossible.Read());
  EXPECT_TRUE(record.operations.at(0).torn);
  FlightFile cut;
  cut.Cut(150);
  ASSERT_OK_AND_ASSIGN(const FlightRecord short_one, cut.Read());
  EXPECT_TRUE(short_one.operations.at(0).torn);
}

TEST(ReadFlightRecords, AProcessWithoutOneIsNotFound) {
  const RealClock clock;
  EXPECT_THAT(ReadFlightRecords(getpid(), clock), StatusIs(absl::StatusCode::kNotFound, HasSubstr("keeps no flight record")));
}

// A writer that never rests: whatever a reader gets is one operation's fields, not two's.
TEST(ReadFlightRecord, NeverMixesTwoOperations) {
  const RealClock clock;
  ASSERT_OK_AND_ASSIGN(const auto recorder, FlightRecorder::Create("busy", 0, 1, clock));
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    for (int64_t count = 1; !stop.load(); ++count) {
      recorder->End(recorder->Begin({.operation = Operation::kAllReduce, .type = DataType::kF64, .count = count}),
                    absl::StatusCode::kOk);
    }
  });
  for (int round = 0; round < 50; ++round) {
    for (const FlightOperation& operation : OfThisProcess(clock).operations) {
      if (operation.torn) continue;
      EXPECT_EQ(operation.count, static_cast<int64_t>(operation.sequence));
      EXPECT_EQ(operation.bytes, 8 * operation.count);
    }
  }
  stop = true;
  writer.join();
}

}  // namespace
}  // namespace ringmaster
