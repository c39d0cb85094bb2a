#include "worker/rpc/convert.h"

#include <functional>

#include "common/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ringmaster {
namespace {

using ::ringmaster::testing::StatusIs;
using ::testing::HasSubstr;

v1::Assign GoodAssign() {
  v1::Assign assign;
  assign.set_job_id("char-gpt-7f3k2");
  assign.set_epoch(2);
  assign.set_world_size(4);
  for (const int local : {0, 1}) {
    v1::AssignedRank& rank = *assign.add_ranks();
    rank.set_rank(2 + local);
    rank.set_local_rank(local);
    rank.set_slot(local);
    rank.set_incarnation(70 + static_cast<uint64_t>(local));
  }
  return assign;
}

TEST(ToAssignment, GoodOne) {
  v1::Assign assign = GoodAssign();
  assign.mutable_spec()->mutable_stop_grace()->set_nanos(500'000'000);

  ASSERT_OK_AND_ASSIGN(const Assignment assignment, ToAssignment(assign, 2));

  EXPECT_EQ(assignment.job, JobId("char-gpt-7f3k2"));
  EXPECT_EQ(assignment.epoch, Epoch(2));
  EXPECT_EQ(assignment.grace, absl::Milliseconds(500));
  ASSERT_EQ(assignment.ranks.size(), 2u);
  EXPECT_EQ(assignment.ranks[1].rank, Rank(3));
  EXPECT_EQ(assignment.ranks[1].incarnation, Incarnation(71));
}

TEST(ToAssignment, WithoutGrace_IsTenSeconds) {
  ASSERT_OK_AND_ASSIGN(const Assignment assignment, ToAssignment(GoodAssign(), 2));
  EXPECT_EQ(assignment.grace, absl::Seconds(10));
}

TEST(ToAssignment, WhatMakesNoSense_IsRefusedByName) {
  const struct {
    std::function<void(v1::Assign*)> spoil;
    const char* message;
  } table[] = {
      {[](v1::Assign* a) { a->set_job_id("../../etc"); }, "job id \"../../etc\""},
      {[](v1::Assign* a) { a->set_job_id(""); }, "job id \"\""},
      {[](v1::Assign* a) { a->set_job_id(".."); }, "job id"},
      {[](v1::Assign* a) { a->set_job_id(std::string(300, 'x')); }, "1-200"},
      {[](v1::Assign* a) { a->set_epoch(0); }, "epochs start at 1"},
      {[](v1::Assign* a) { a->clear_ranks(); }, "no ranks"},
      {[](v1::Assign* a) { a->mutable_ranks(0)->set_rank(4); }, "rank 4 is outside a world of 4"},
      {[](v1::Assign* a) { a->mutable_ranks(0)->set_rank(-1); }, "rank -1"},
      {[](v1::Assign* a) { a->mutable_ranks(0)->set_rank(3); }, "comes twice"},
      {[](v1::Assign* a) { a->mutable_ranks(1)->set_local_rank(0); }, "local rank 0"},
      {[](v1::Assign* a) { a->mutable_ranks(1)->set_local_rank(2); }, "local rank 2 is outside 0..1"},
      {[](v1::Assign* a) { a->mutable_ranks(1)->set_slot(2); }, "slot 2, but this worker has 2"},
      {[](v1::Assign* a) { a->mutable_ranks(1)->set_slot(-1); }, "slot -1"},
  };
  for (const auto& row : table) {
    v1::Assign assign = GoodAssign();
    row.spoil(&assign);
    EXPECT_THAT(ToAssignment(assign, 2), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(row.message)));
  }
}

TEST(ToStopRequested, NegativeGraceIsNone_UnsetIsTheDefault_NoIncarnationIsAll) {
  v1::StopRanks stop;
  stop.set_job_id("j");
  stop.set_epoch(3);
  ASSERT_OK_AND_ASSIGN(const worker_event::StopRequested unset, ToStopRequested(stop));
  EXPECT_EQ(unset.grace, kDefaultStopGrace);
  stop.mutable_grace()->set_seconds(-5);
  ASSERT_OK_AND_ASSIGN(const worker_event::StopRequested negative, ToStopRequested(stop));
  EXPECT_EQ(negative.grace, absl::ZeroDuration());
  EXPECT_EQ(negative.only, std::nullopt);
  stop.set_incarnation(7);
  ASSERT_OK_AND_ASSIGN(const worker_event::StopRequested one, ToStopRequested(stop));
  EXPECT_EQ(one.only, Incarnation(7));
}

TEST(HostedRank, RoundTrip) {
  const RunningRank rank{{JobId("j"), Epoch(3), Rank(1)}, Incarnation(99)};
  const v1::HostedRank message = ToHostedRank(rank, 4711);
  EXPECT_EQ(message.pid(), 4711);
  EXPECT_EQ(ToRunningRank(message).key, rank.key);
  EXPECT_EQ(ToRunningRank(message).incarnation, rank.incarnation);
}

}  // namespace
}  // namespace ringmaster
