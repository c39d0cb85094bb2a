#include "collectives/transport/joined_calls.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <cerrno>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "absl/time/time.h"
#include "common/clock.h"
#include "common/file_descriptor.h"

namespace ringmaster {
namespace {

class JoinedCallsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (calls_ == nullptr) GTEST_SKIP() << "this system offers no io_uring";
    int ends[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    ours_ = FileDescriptor(ends[0]);
    theirs_ = FileDescriptor(ends[1]);
  }

  JoinedCalls::Results Exchange(std::string_view out, std::string* in) {
    return calls_->SendAndReceive(ours_.get(), {const_cast<char*>(out.data()), out.size()}, {in->data(), in->size()});
  }

  const std::unique_ptr<JoinedCalls> calls_ = JoinedCalls::Create();
  FileDescriptor ours_, theirs_;
};

TEST_F(JoinedCallsTest, WhatIsSentArrivesAndWhatHasComeIsTaken) {
  std::string in(8, '.');
  for (const std::string_view theirs : {"first", "next"}) {
    ASSERT_EQ(send(theirs_.get(), theirs.data(), theirs.size(), 0), static_cast<ssize_t>(theirs.size()));
    const auto [sent, received] = Exchange("ours", &in);
    EXPECT_EQ(sent, 4);
    EXPECT_EQ(in.substr(0, static_cast<size_t>(received)), theirs);
    char arrived[8];
    ASSERT_EQ(recv(theirs_.get(), arrived, sizeof(arrived), 0), 4);
    EXPECT_EQ(std::string_view(arrived, 4), "ours");
  }
}

TEST_F(JoinedCallsTest, WaitsForNothing) {
  const std::string much(1 << 20, 'x');
  std::string in(1, '.');
  const auto [sent, received] = Exchange(much, &in);
  EXPECT_GT(sent, 0);
  EXPECT_LT(sent, 1 << 20);
  EXPECT_EQ(received, -EAGAIN);
  EXPECT_EQ(Exchange(much, &in).sent, -EAGAIN);
  // What comes afterwards belongs to the next call.
  ASSERT_EQ(send(theirs_.get(), "y", 1, 0), 1);
  EXPECT_EQ(in, ".");
  EXPECT_EQ(Exchange(much, &in).received, 1);
  EXPECT_EQ(in, "y");
}

TEST_F(JoinedCallsTest, ThePeersEndIsNoError) {
  theirs_ = FileDescriptor();
  std::string in(1, '.');
  const auto [sent, received] = Exchange("ours", &in);
  EXPECT_EQ(sent, -EPIPE);
  EXPECT_EQ(received, 0);
}

TEST_F(JoinedCallsTest, MovesToAnotherThread) {
  std::string in(8, '.');
  JoinedCalls::Results results;
  std::thread([&] { results = Exchange("ours", &in); }).join();
  EXPECT_EQ(results.sent, 4);
  EXPECT_EQ(Exchange("ours", &in).sent, 4);
}

// A round of one call for both takes `one`, of two calls `two`; the trial reads the clock before and after each.
class ScriptedClock final : public Clock {
 public:
  ScriptedClock(absl::Duration one, absl::Duration two) : one_(one), two_(two) {}
  absl::Time Now() const override {
    const int reading = readings_++ % 4;
    if (reading == 1) now_ += one_;
    if (reading == 3) now_ += two_;
    return now_;
  }
  absl::Time WallNow() const override { return Now(); }

 private:
  const absl::Duration one_, two_;
  mutable int readings_ = 0;
  mutable absl::Time now_ = absl::UnixEpoch();
};

TEST_F(JoinedCallsTest, IsChosenWhereItIsFasterAndTheTrialLeavesNothingBehind) {
  const ScriptedClock clock(absl::Microseconds(90), absl::Microseconds(100));
  const std::unique_ptr<JoinedCalls> chosen = JoinedCalls::CreateWhereFaster(clock);
  ASSERT_NE(chosen, nullptr);
  char byte = 1, taken = 0;
  const auto [sent, received] = chosen->SendAndReceive(ours_.get(), {&byte, 1}, {&taken, 1});
  EXPECT_EQ(sent, 1);
  EXPECT_EQ(received, -EAGAIN);
}

TEST_F(JoinedCallsTest, IsNotChosenWhereItIsHardlyFaster) {
  const ScriptedClock clock(absl::Microseconds(99), absl::Microseconds(100));
  EXPECT_EQ(JoinedCalls::CreateWhereFaster(clock), nullptr);
}

}  // namespace
}  // namespace ringmaster
