#include "collectives/transport/joined_calls.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <cerrno>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "common/file_descriptor.h"
#include "common/real_clock.h"

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

// Whichever is faster here: it must not fail, and what it gives must work.
TEST_F(JoinedCallsTest, TheTrialLeavesNothingBehind) {
  const RealClock clock;
  const std::unique_ptr<JoinedCalls> chosen = JoinedCalls::CreateWhereFaster(clock);
  if (chosen == nullptr) GTEST_SKIP() << "two calls are as fast here";
  char byte = 1, taken = 0;
  const auto [sent, received] = chosen->SendAndReceive(ours_.get(), {&byte, 1}, {&taken, 1});
  EXPECT_EQ(sent, 1);
  EXPECT_EQ(received, -EAGAIN);
}

}  // namespace
}  // namespace ringmaster
