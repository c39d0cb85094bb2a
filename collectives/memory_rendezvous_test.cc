#include "collectives/memory_rendezvous.h"

#include <thread>

#include "common/fake_clock.h"
#include "common/mutex.h"
#include "common/real_clock.h"
#include "common/status_matchers.h"

namespace ringmaster {
namespace {

using testing::StatusIs;

// Tells the test how often it was read, so that the test knows how far a waiting thread is.
class WatchedClock final : public Clock {
 public:
  absl::Time Now() const override {
    MutexLock lock(&mu_);
    ++reads_;
    read_.SignalAll();
    return time_.Now();
  }
  absl::Time WallNow() const override { return Now(); }

  void Advance(absl::Duration by) { time_.Advance(by); }
  void AwaitReads(int reads) const {
    MutexLock lock(&mu_);
    while (reads_ < reads) read_.WaitFor(&mu_, absl::Seconds(60));
  }

 private:
  FakeClock time_;
  mutable Mutex mu_;
  mutable CondVar read_;
  mutable int reads_ ABSL_GUARDED_BY(mu_) = 0;
};

TEST(MemoryRendezvousTest, AwaitReturnsWhatIsOrWillBePublished) {
  const RealClock clock;
  MemoryRendezvous rendezvous(clock);
  EXPECT_OK(rendezvous.Publish("a", "1"));
  std::thread publisher([&] { EXPECT_OK(rendezvous.Publish("b", "2")); });
  EXPECT_EQ(rendezvous.Await("a", absl::ZeroDuration()).value(), "1");
  EXPECT_EQ(rendezvous.Await("b", absl::Seconds(60)).value(), "2");
  publisher.join();
}

TEST(MemoryRendezvousTest, AnotherValueOfAKeyIsRefused) {
  const RealClock clock;
  MemoryRendezvous rendezvous(clock);
  EXPECT_OK(rendezvous.Publish("a", "1"));
  EXPECT_OK(rendezvous.Publish("a", "1"));
  EXPECT_THAT(rendezvous.Publish("a", "2"), StatusIs(absl::StatusCode::kAlreadyExists, ::testing::HasSubstr("key a")));
}

TEST(MemoryRendezvousTest, OtherKeysDoNotProlongTheWait) {
  WatchedClock clock;
  MemoryRendezvous rendezvous(clock);
  absl::StatusOr<std::string> result;
  std::thread waiting([&] { result = rendezvous.Await("late", absl::Seconds(100)); });
  clock.AwaitReads(2);  // the deadline, and how long to wait: Publish gets the lock when the thread waits
  clock.Advance(absl::Seconds(60));
  EXPECT_OK(rendezvous.Publish("other", "1"));
  clock.AwaitReads(3);
  clock.Advance(absl::Seconds(60));
  EXPECT_OK(rendezvous.Publish("another", "1"));
  clock.AwaitReads(4);
  EXPECT_OK(rendezvous.Publish("late", "1"));  // after its deadline
  waiting.join();
  EXPECT_THAT(result, StatusIs(absl::StatusCode::kDeadlineExceeded, ::testing::HasSubstr("nobody published key late")));
}

TEST(MemoryRendezvousTest, TheEndOfTheEpochWakesAndRefuses) {
  const RealClock clock;
  MemoryRendezvous rendezvous(clock);
  std::thread ender([&] { rendezvous.EndEpoch(); });
  EXPECT_THAT(rendezvous.Await("a", absl::Seconds(60)), StatusIs(absl::StatusCode::kAborted, "the epoch is over"));
  ender.join();
  EXPECT_THAT(rendezvous.Publish("a", "1"), StatusIs(absl::StatusCode::kAborted, "the epoch is over"));
}

}  // namespace
}  // namespace ringmaster
