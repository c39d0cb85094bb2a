#include "coordinator/core/membership.h"

#include <string>

#include "common/status_matchers.h"

namespace ringmaster::coordinator {
namespace {

using ::ringmaster::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr absl::Duration kMoment = absl::Milliseconds(1);

class MembershipTest : public ::testing::Test {
 protected:
  static WorkerHello Hello(const std::string& name, uint64_t life, uint64_t stream) {
    WorkerHello hello;
    hello.stream = StreamId(stream);
    hello.worker = WorkerId(name);
    hello.incarnation = Incarnation(life);
    hello.address = "10.0.0.1";
    hello.slots = 2;
    hello.master_port = 29500;
    return hello;
  }
  bool IsAlive(const std::string& name, uint64_t life) const { return membership_.IsAlive(WorkerId(name), Incarnation(life)); }

  const absl::Time start_ = absl::FromUnixSeconds(1000);
  Membership membership_{{.lease = absl::Seconds(5), .reattach_grace = absl::Seconds(15)}};
};

TEST_F(MembershipTest, ATwinIsRefusedAlsoWhenNobodyWasListenedToForAWhile) {
  ASSERT_OK(membership_.Attach(Hello("h1", 1, 1), start_));
  membership_.Extend(start_ + absl::Seconds(20));
  EXPECT_THAT(membership_.Attach(Hello("h1", 2, 2), start_ + absl::Seconds(20)),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("alive")));
}

TEST_F(MembershipTest, ARollbackBringsBackWhoWasThereAndForgetsWhoWasNot) {
  ASSERT_OK(membership_.Attach(Hello("h1", 1, 1), start_));
  membership_.Mark();
  ASSERT_OK(membership_.Attach(Hello("h2", 2, 2), start_));
  membership_.Disconnected(StreamId(1), start_);
  membership_.Rollback();
  EXPECT_EQ(membership_.Find(WorkerId("h2")), nullptr);
  EXPECT_EQ(membership_.FindByStream(StreamId(2)), nullptr);
  ASSERT_NE(membership_.FindByStream(StreamId(1)), nullptr);
  EXPECT_EQ(membership_.NextDeadline(), start_ + absl::Seconds(5));
  EXPECT_THAT(membership_.Expire(start_ + absl::Seconds(5)), ElementsAre(StreamId(1)));
}

TEST_F(MembershipTest, ASilentWorkerIsLostWhenItsLeaseEnds) {
  ASSERT_OK(membership_.Attach(Hello("h1", 1, 1), start_));
  EXPECT_EQ(membership_.NextDeadline(), start_ + absl::Seconds(5));
  EXPECT_THAT(membership_.Expire(start_ + absl::Seconds(5) - kMoment), IsEmpty());
  EXPECT_TRUE(IsAlive("h1", 1));
  EXPECT_THAT(membership_.Expire(start_ + absl::Seconds(5)), ElementsAre(StreamId(1)));
  EXPECT_FALSE(IsAlive("h1", 1));
  EXPECT_EQ(membership_.Find(WorkerId("h1"))->gone_reason, "no heartbeat for 5.0 s");
  EXPECT_EQ(membership_.FindByStream(StreamId(1)), nullptr);
  EXPECT_EQ(membership_.NextDeadline(), absl::InfiniteFuture());
}

TEST_F(MembershipTest, AHeartbeatRenewsTheLease) {
  ASSERT_OK(membership_.Attach(Hello("h1", 1, 1), start_));
  membership_.Heard(StreamId(1), 30000, start_ + absl::Seconds(4));
  EXPECT_THAT(membership_.Expire(start_ + absl::Seconds(9) - kMoment), IsEmpty());
  EXPECT_EQ(membership_.Find(WorkerId("h1"))->master_port, 30000);
  membership_.Heard(StreamId(1), 0, start_ + absl::Seconds(5));
  EXPECT_EQ(membership_.Find(WorkerId("h1"))->master_port, 30000) << "0 = no news of the port";
}

TEST_F(MembershipTest, AHeartbeatOfAnOldStreamIsNotHeard) {
  ASSERT_OK(membership_.Attach(Hello("h1", 1, 1), start_));
  ASSERT_OK_AND_ASSIGN(const Membership::Attached attached, membership_.Attach(Hello("h1", 1, 2), start_));
  EXPECT_EQ(attached.superseded, StreamId(1));
  EXPECT_FALSE(attached.new_life);
  membership_.Heard(StreamId(1), 0, start_ + absl::Seconds(4));
  membership_.Disconnected(StreamId(1), start_ + absl::Seconds(4));
  EXPECT_EQ(membership_.NextDeadline(), start_ + absl::Seconds(5));
  ASSERT_NE(membership_.FindByStream(StreamId(2)), nullptr);
}

TEST_F(MembershipTest, ABrokenStreamLeavesFiveSecondsEvenWhenTheLeaseIsLonger) {
  Membership membership({.lease = absl::Seconds(60), .reattach_grace = absl::Seconds(15)});
  ASSERT_OK(membership.Attach(Hello("h1", 1, 1), start_));
  membership.Disconnected(StreamId(1), start_ + absl::Seconds(1));
  EXPECT_EQ(membership.NextDeadline(), start_ + absl::Seconds(6));
  EXPECT_THAT(membership.Expire(start_ + absl::Seconds(6)), IsEmpty()) << "no stream is open";
  EXPECT_FALSE(membership.IsAlive(WorkerId("h1"), Incarnation(1)));
  EXPECT_THAT(membership.Find(WorkerId("h1"))->gone_reason, HasSubstr("its connection broke"));
}

TEST_F(MembershipTest, AShortLeaseAlsoBoundsABrokenStream) {
  Membership membership({.lease = absl::Seconds(2), .reattach_grace = absl::Seconds(15)});
  ASSERT_OK(membership.Attach(Hello("h1", 1, 1), start_));
  membership.Disconnected(StreamId(1), start_);
  EXPECT_EQ(membership.NextDeadline(), start_ + absl::Seconds(2));
}

TEST_F(MembershipTest, AnotherLifeIsRefusedWhileTheFirstIsHeard) {
  ASSERT_OK(membership_.Attach(Hello("h1", 1, 1), start_));
  EXPECT_THAT(membership_.Attach(Hello("h1", 2, 2), start_ + absl::Seconds(3)),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("\"h1\" is attached from 10.0.0.1")));
  EXPECT_TRUE(IsAlive("h1", 1));
  ASSERT_NE(membership_.FindByStream(StreamId(1)), nullptr);
}

TEST_F(MembershipTest, AnotherLifeReplacesOneThatMissedTwoHeartbeats) {
  ASSERT_OK(membership_.Attach(Hello("h1", 1, 1), start_));
  ASSERT_OK_AND_ASSIGN(const Membership::Attached attached, membership_.Attach(Hello("h1", 2, 2), start_ + absl::Seconds(4)));
  EXPECT_TRUE(attached.new_life);
  EXPECT_EQ(attached.superseded, StreamId(1));
  EXPECT_FALSE(IsAlive("h1", 1));
  EXPECT_TRUE(IsAlive("h1", 2));
}

TEST_F(MembershipTest, AnotherLifeMayComeAtOnceAfterTheConnectionBroke) {
  ASSERT_OK(membership_.Attach(Hello("h1", 1, 1), start_));
  membership_.Disconnected(StreamId(1), start_);
  EXPECT_OK(membership_.Attach(Hello("h1", 2, 2), start_));
  EXPECT_FALSE(IsAlive("h1", 1));
}

TEST_F(MembershipTest, AWorkerThatLeavesIsGoneAtOnce) {
  ASSERT_OK(membership_.Attach(Hello("h1", 1, 1), start_));
  membership_.Left(StreamId(1), "SIGTERM");
  EXPECT_FALSE(IsAlive("h1", 1));
  EXPECT_EQ(membership_.Find(WorkerId("h1"))->gone_reason, "it was stopped: SIGTERM");
  EXPECT_EQ(membership_.NextDeadline(), absl::InfiniteFuture());
}

TEST_F(MembershipTest, AfterARestartAWorkerIsExpectedForTheGrace) {
  membership_.Expect(WorkerId("h1"), Incarnation(1), "10.0.0.1", start_);
  EXPECT_TRUE(IsAlive("h1", 1));
  EXPECT_THAT(membership_.Expire(start_ + absl::Seconds(15) - kMoment), IsEmpty());
  EXPECT_TRUE(IsAlive("h1", 1));
  membership_.Expire(start_ + absl::Seconds(15));
  EXPECT_FALSE(IsAlive("h1", 1));
  EXPECT_EQ(membership_.Find(WorkerId("h1"))->gone_reason, "did not come back within 15.0 s of the coordinator's restart");
}

TEST_F(MembershipTest, AnExpectedWorkerMayComeBackInAnotherLife) {
  membership_.Expect(WorkerId("h1"), Incarnation(1), "10.0.0.1", start_);
  ASSERT_OK_AND_ASSIGN(const Membership::Attached attached, membership_.Attach(Hello("h1", 2, 1), start_));
  EXPECT_TRUE(attached.new_life);
  EXPECT_FALSE(IsAlive("h1", 1));
}

TEST_F(MembershipTest, AWorkerThatIsGoneMayComeBack) {
  ASSERT_OK(membership_.Attach(Hello("h1", 1, 1), start_));
  membership_.Expire(start_ + absl::Seconds(5));
  EXPECT_OK(membership_.Attach(Hello("h1", 1, 2), start_ + absl::Seconds(6)));
  EXPECT_TRUE(IsAlive("h1", 1));
  EXPECT_EQ(membership_.Find(WorkerId("h1"))->gone_reason, "");
}

TEST_F(MembershipTest, ManyGoneWorkersAreForgottenOldestFirstButNeverALiveOne) {
  ASSERT_OK(membership_.Attach(Hello("keeps", 1, 1), start_));
  for (int i = 0; i < 5000; ++i) {
    const absl::Time when = start_ + absl::Seconds(1) + absl::Microseconds(i);
    ASSERT_OK(membership_.Attach(Hello("w" + std::to_string(i), 1, 10 + i), when));
    membership_.Left(StreamId(10 + i), "");
  }
  EXPECT_LE(membership_.workers().size(), 4097u);
  EXPECT_TRUE(IsAlive("keeps", 1));
  EXPECT_EQ(membership_.Find(WorkerId("w0")), nullptr);
  EXPECT_NE(membership_.Find(WorkerId("w4999")), nullptr);
}

}  // namespace
}  // namespace ringmaster::coordinator
