#include "coordinator/driver.h"

#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/fake_clock.h"
#include "common/status_matchers.h"
#include "coordinator/store/memory_job_store.h"
#include "coordinator/store/record_codec.h"

namespace ringmaster::coordinator {
namespace {

using ::ringmaster::testing::StatusIs;
using ::testing::HasSubstr;

// What is on the disk outlives the driver that owns the store.
class BorrowedStore final : public JobStore {
 public:
  explicit BorrowedStore(MemoryJobStore* store) : store_(store) {}
  absl::Status Append(const std::vector<std::string>& records) override { return store_->Append(records); }
  absl::Status Replay(const std::function<absl::Status(int64_t, const std::string&)>& visit) override {
    return store_->Replay(visit);
  }
  absl::Status Compact(const std::vector<int64_t>& superseded) override { return store_->Compact(superseded); }

 private:
  MemoryJobStore* const store_;
};

class DriverTest : public ::testing::Test {
 protected:
  struct Told {
    int assigns = 0;
    int changes = 0;
  };

  void StartDriver() {
    driver_ = std::make_unique<Driver>(std::make_unique<BorrowedStore>(&disk_), Membership::Options{}, clock_);
    ASSERT_OK(driver_->Load());
    driver_->Start(
        {.to_worker = [this](const Effect& effect) { told_.assigns += std::holds_alternative<SendAssign>(effect) ? 1 : 0; },
         .job_changed = [this](const JobEntry&, bool) { ++told_.changes; }});
  }

  // A call whose answer is waited for; the thread of the driver gives it.
  template <typename CallEvent>
  absl::Status Call(CallEvent event) {
    std::promise<absl::Status> answered;
    driver_->Call(std::move(event), [&](const absl::Status& status, const Answer&) { answered.set_value(status); });
    return answered.get_future().get();
  }
  // The driver is behind everything that was posted before when this returns.
  template <typename T>
  T Read(std::function<T(const Machine&)> look) {
    std::promise<T> seen;
    driver_->Read([&](const Machine& machine, absl::Time) { seen.set_value(look(machine)); }, [&] { seen.set_value(T()); });
    return seen.get_future().get();
  }
  size_t Jobs() {
    return Read<size_t>([](const Machine& machine) { return machine.jobs().order.size(); });
  }
  size_t Records() {
    size_t records = 0;
    EXPECT_OK(disk_.Replay([&](int64_t, const std::string&) {
      ++records;
      return absl::OkStatus();
    }));
    return records;
  }

  static SubmitJob Submit(const std::string& name) {
    SubmitJob submit;
    submit.spec.name = name;
    return submit;
  }
  static WorkerHello Hello() {
    WorkerHello hello;
    hello.stream = StreamId(1);
    hello.worker = WorkerId("h1");
    hello.incarnation = Incarnation(1);
    hello.address = "h1";
    hello.slots = 1;
    return hello;
  }

  FakeClock clock_;
  MemoryJobStore disk_;
  Told told_;  // the driver's thread writes, tests read after Read() or Stop()
  std::unique_ptr<Driver> driver_;
};

TEST_F(DriverTest, SubmitDuringAFullDiskGetsTheErrorAndNothingOfItStays) {
  StartDriver();
  disk_.FailWith(absl::ResourceExhaustedError("job store: disk full"));
  EXPECT_THAT(Call(Submit("a")), StatusIs(absl::StatusCode::kResourceExhausted, "job store: disk full"));
  EXPECT_EQ(Jobs(), 0u) << "reads work and show nothing of it";
  EXPECT_EQ(Records(), 0u);
  disk_.FailWith(absl::OkStatus());
  EXPECT_OK(Call(Submit("a"))) << "its name is free";
  EXPECT_EQ(Jobs(), 1u);
  EXPECT_EQ(Records(), 1u);
}

TEST_F(DriverTest, WhatAWorkerSaidDuringAFullDiskIsDoneWhenThereIsRoomAgain) {
  StartDriver();
  ASSERT_OK(Call(Submit("a")));
  disk_.FailWith(absl::ResourceExhaustedError("job store: disk full"));
  driver_->Post(Hello());
  EXPECT_EQ(Read<int>([](const Machine& machine) { return static_cast<int>(machine.membership().workers().size()); }), 0);
  EXPECT_EQ(Read<int>([this](const Machine&) { return told_.assigns; }), 0) << "nothing is sent before it is stored";
  EXPECT_THAT(Call(Submit("b")), StatusIs(absl::StatusCode::kResourceExhausted, "job store: disk full"));
  disk_.FailWith(absl::OkStatus());
  clock_.Advance(absl::Seconds(1));
  Jobs();  // wakes it
  EXPECT_EQ(Read<int>([this](const Machine&) { return told_.assigns; }), 1);
  EXPECT_OK(Call(Submit("b")));
}

TEST_F(DriverTest, AFullDiskLosesNoWorkerWhoseHeartbeatsWaited) {
  StartDriver();
  driver_->Post(Hello());
  ASSERT_OK(Call(Submit("a")));
  disk_.FailWith(absl::ResourceExhaustedError("job store: disk full"));
  const JobId job = Read<JobId>([](const Machine& machine) { return machine.jobs().order.front(); });
  driver_->Post(RankExited{.stream = StreamId(1),
                           .rank = Read<HostedRank>([&](const Machine& machine) {
                             const RankPlace& place = machine.jobs().Find(job)->job.ranks[0];
                             return HostedRank{job, Epoch(1), Rank(0), place.incarnation, 1};
                           }),
                           .exit_code = 1,
                           .stderr_tail = {},
                           .last_progress = {},
                           .error = ""});
  driver_->Post(WorkerHeartbeat{StreamId(1), 0, {}});
  clock_.Advance(absl::Seconds(20));  // four leases
  Jobs();
  disk_.FailWith(absl::OkStatus());
  clock_.Advance(absl::Seconds(1));
  Jobs();
  EXPECT_TRUE(Read<bool>([](const Machine& machine) { return machine.membership().workers().begin()->second.alive; }));
}

TEST_F(DriverTest, ARestartKeepsJobsAndRequestIds) {
  StartDriver();
  SubmitJob submit = Submit("a");
  submit.request_id = "r1";
  ASSERT_OK(Call(submit));
  driver_->Stop();
  StartDriver();
  EXPECT_EQ(Jobs(), 1u);
  EXPECT_OK(Call(submit)) << "the same request: the same job";
  EXPECT_THAT(Call(Submit("a")), StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("named \"a\" is live")));
  EXPECT_EQ(Jobs(), 1u);
}

TEST_F(DriverTest, StopAnswersWhoWaitsAndRefusesWhoComesLater) {
  StartDriver();
  ASSERT_OK(Call(Submit("a")));
  driver_->Post(Hello());
  const RankIdentity identity = Read<RankIdentity>([](const Machine& machine) {
    const Job& job = machine.jobs().by_id.begin()->second->job;
    return RankIdentity{job.id, job.epoch, Rank(0), job.ranks.at(0).incarnation};
  });
  std::promise<absl::Status> waited;
  driver_->Call(AwaitKey{{}, identity, "key", absl::Minutes(1)},
                [&](const absl::Status& status, const Answer&) { waited.set_value(status); });
  Jobs();
  driver_->Stop();
  EXPECT_THAT(waited.get_future().get(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("stopping")));
  EXPECT_THAT(Call(Submit("b")), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("stopping")));
  EXPECT_EQ(Jobs(), 0u) << "a read is refused, not lost";
  driver_->Stop();
}

TEST_F(DriverTest, ADeadlineThatComesIsActedOn) {
  StartDriver();
  ASSERT_OK(Call(Submit("a")));
  driver_->Post(Hello());
  Jobs();
  clock_.Advance(absl::Seconds(6));
  Jobs();  // wakes it: in production the clock does
  const auto is_recovering = [](const Machine& machine) {
    const JobState state = machine.jobs().by_id.begin()->second->job.state;
    return state == JobState::kRecovering || IsFinished(state);
  };
  EXPECT_TRUE(Read<bool>(is_recovering)) << "the lease of h1 is over";
}

TEST_F(DriverTest, ARecordThatDoesNotReadBackIsNamed) {
  ASSERT_OK(
      disk_.Append({EncodeRecord(JobAccepted{.job = JobId("a-1"), .spec = {}, .request_id = "", .time = {}}), "not a record"}));
  Driver driver(std::make_unique<BorrowedStore>(&disk_), Membership::Options{}, clock_);
  EXPECT_THAT(driver.Load(), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("record 2")));
}

TEST_F(DriverTest, LoadRemovesWhatIsSupersededAndKeepsTheJobs) {
  const JobId id("a-1");
  JobSpec spec;
  spec.name = "a";
  EpochOpened opened{
      .job = id, .epoch = Epoch(1), .reason = "", .time = {}, .ranks = {RankPlace()}, .master_address = "", .master_port = 0};
  std::vector<std::string> records = {EncodeRecord(JobAccepted{id, spec, "", {}}), EncodeRecord(opened)};
  for (int i = 0; i < 300; ++i) records.push_back(EncodeRecord(KeyPublished{id, Epoch(1), absl::StrCat("key", i), "value"}));
  opened.epoch = Epoch(2);
  records.push_back(EncodeRecord(opened));
  ASSERT_OK(disk_.Append(records));
  StartDriver();
  EXPECT_EQ(Read<int64_t>([](const Machine& machine) { return machine.jobs().by_id.begin()->second->job.epoch.value(); }), 2);
  driver_->Stop();
  EXPECT_EQ(Records(), 3u);
  StartDriver();
  EXPECT_EQ(Read<int64_t>([](const Machine& machine) { return machine.jobs().by_id.begin()->second->job.epoch.value(); }), 2);
}

}  // namespace
}  // namespace ringmaster::coordinator
