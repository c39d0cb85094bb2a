// What every JobStore does. A store's test makes the suite run on it:
//   INSTANTIATE_TEST_SUITE_P(Memory, JobStoreConformance, ::testing::Values([] { return std::make_unique<MemoryJobStore>(); }));
#ifndef RINGMASTER_COORDINATOR_STORE_JOB_STORE_CONFORMANCE_H_
#define RINGMASTER_COORDINATOR_STORE_JOB_STORE_CONFORMANCE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/status_matchers.h"
#include "coordinator/store/job_store.h"

namespace ringmaster::coordinator {

using MakeJobStore = std::function<std::unique_ptr<JobStore>()>;
using NumberedRecord = std::pair<int64_t, std::string>;

// All that is in the store; fails the test when it cannot be read.
inline std::vector<NumberedRecord> Records(JobStore& store) {
  std::vector<NumberedRecord> records;
  EXPECT_OK(store.Replay([&](int64_t number, const std::string& bytes) {
    records.emplace_back(number, bytes);
    return absl::OkStatus();
  }));
  return records;
}

class JobStoreConformance : public ::testing::TestWithParam<MakeJobStore> {
 protected:
  void SetUp() override {
    store_ = GetParam()();
    ASSERT_NE(store_, nullptr);
  }
  std::unique_ptr<JobStore> store_;
};

TEST_P(JobStoreConformance, ANewStoreIsEmpty) { EXPECT_THAT(Records(*store_), ::testing::IsEmpty()); }

TEST_P(JobStoreConformance, RecordsComeBackInOrderWithNumbersFromOne) {
  ASSERT_OK(store_->Append({"a", "b"}));
  ASSERT_OK(store_->Append({}));
  ASSERT_OK(store_->Append({"c"}));
  EXPECT_THAT(Records(*store_), ::testing::ElementsAre(NumberedRecord(1, "a"), NumberedRecord(2, "b"), NumberedRecord(3, "c")));
  EXPECT_EQ(Records(*store_).size(), 3u) << "reading changes nothing";
}

TEST_P(JobStoreConformance, AnyBytesAreKept) {
  std::string all;
  for (int i = 0; i < 256; ++i) all.push_back(static_cast<char>(i));
  const std::string big(1 << 20, 'x');
  ASSERT_OK(store_->Append({all, "", big}));
  EXPECT_THAT(Records(*store_), ::testing::ElementsAre(NumberedRecord(1, all), NumberedRecord(2, ""), NumberedRecord(3, big)));
}

TEST_P(JobStoreConformance, ReplayStopsAtTheFirstErrorOfTheVisitorAndReturnsIt) {
  ASSERT_OK(store_->Append({"a", "b", "c"}));
  int visited = 0;
  const absl::Status status = store_->Replay([&](int64_t number, const std::string&) {
    ++visited;
    return number == 2 ? absl::DataLossError("not a record") : absl::OkStatus();
  });
  EXPECT_THAT(status, ::ringmaster::testing::StatusIs(absl::StatusCode::kDataLoss, "not a record"));
  EXPECT_EQ(visited, 2);
  EXPECT_OK(store_->Append({"d"})) << "an error of a visitor leaves the store usable";
}

TEST_P(JobStoreConformance, CompactRemovesTheNamedAndKeepsTheNumbersOfTheOthers) {
  ASSERT_OK(store_->Append({"a", "b", "c", "d"}));
  ASSERT_OK(store_->Compact({1, 3}));
  EXPECT_THAT(Records(*store_), ::testing::ElementsAre(NumberedRecord(2, "b"), NumberedRecord(4, "d")));
  ASSERT_OK(store_->Append({"e"}));
  EXPECT_THAT(Records(*store_), ::testing::ElementsAre(NumberedRecord(2, "b"), NumberedRecord(4, "d"), NumberedRecord(5, "e")));
}

TEST_P(JobStoreConformance, CompactOfNothingOrOfWhatIsGoneIsFine) {
  ASSERT_OK(store_->Append({"a", "b"}));
  ASSERT_OK(store_->Compact({}));
  ASSERT_OK(store_->Compact({1}));
  ASSERT_OK(store_->Compact({1, 77}));
  EXPECT_THAT(Records(*store_), ::testing::ElementsAre(NumberedRecord(2, "b")));
}

}  // namespace ringmaster::coordinator

#endif  // RINGMASTER_COORDINATOR_STORE_JOB_STORE_CONFORMANCE_H_
