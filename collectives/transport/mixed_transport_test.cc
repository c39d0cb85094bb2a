#include "collectives/transport/mixed_transport.h"

#include <netinet/in.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "collectives/transport/byte_ring.h"
#include "common/file_descriptor.h"
#include "common/real_clock.h"
#include "common/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ringmaster {
namespace {

using ::testing::HasSubstr;
using testing::StatusIs;

constexpr absl::Duration kLong = absl::Seconds(60);  // never passes in a test that passes
constexpr size_t kRing = 4096;

const RealClock& TestClock() {
  static const RealClock clock;
  return clock;
}

std::pair<FileDescriptor, FileDescriptor> TcpPair() {
  FileDescriptor listener(socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  EXPECT_EQ(bind(listener.get(), reinterpret_cast<sockaddr*>(&address), length), 0);
  EXPECT_EQ(listen(listener.get(), 1), 0);
  getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &length);
  FileDescriptor caller(socket(AF_INET, SOCK_STREAM, 0));
  EXPECT_EQ(connect(caller.get(), reinterpret_cast<sockaddr*>(&address), length), 0);
  return {std::move(caller), FileDescriptor(accept(listener.get(), nullptr, nullptr))};
}

std::pair<FileDescriptor, FileDescriptor> LocalPair() {
  int ends[2] = {-1, -1};
  EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  return {FileDescriptor(ends[0]), FileDescriptor(ends[1])};
}

// Connections of a group, by rank and peer; ranks with the same number in `hosts` share a host.
std::vector<std::vector<TcpPeer>> Connect(const std::vector<int>& hosts) {
  std::vector<std::vector<TcpPeer>> peers(hosts.size());
  for (auto& row : peers) row.resize(hosts.size());
  for (size_t a = 0; a < hosts.size(); ++a) {
    for (size_t b = 0; b < a; ++b) {
      const bool same_host = hosts[a] == hosts[b];
      auto [upper, lower] = same_host ? LocalPair() : TcpPair();
      peers[a][b] = {.socket = std::move(upper), .name = absl::StrCat("rank ", b), .same_host = same_host};
      peers[b][a] = {.socket = std::move(lower), .name = absl::StrCat("rank ", a), .same_host = same_host};
    }
  }
  return peers;
}

std::vector<std::unique_ptr<Transport>> MakeTransports(const std::vector<int>& hosts) {
  std::vector<std::vector<TcpPeer>> peers = Connect(hosts);
  std::vector<std::unique_ptr<Transport>> transports;
  for (size_t rank = 0; rank < hosts.size(); ++rank) {
    auto made =
        MixedTransport::Create(static_cast<int>(rank), std::move(peers[rank]), {.ring_bytes = kRing}, {}, kLong, TestClock());
    EXPECT_OK(made);
    transports.push_back(*std::move(made));
  }
  return transports;
}

Transfer SendText(Transport& transport, int peer, std::string text) {
  const iovec part{text.data(), text.size()};
  return transport.Send(peer, {&part, 1});
}

std::string ReceiveText(Transport& transport, int peer, size_t most = 2 * kRing) {
  std::string text(most, 0);
  const iovec part{text.data(), text.size()};
  text.resize(transport.Receive(peer, {&part, 1}).bytes);
  return text;
}

bool IsClosed(Transport& transport, int peer) {
  char byte;
  const iovec part{&byte, 1};
  return transport.Receive(peer, {&part, 1}).closed;
}

void AwaitPeer(Transport& transport, int peer, Interest interest) {
  std::vector<Interest> interests(static_cast<size_t>(transport.size()));
  interests[static_cast<size_t>(peer)] = interest;
  transport.Wait(interests, kLong);
}

void SendAll(Transport& transport, int peer, const std::string& data) {
  size_t sent = 0;
  while (sent < data.size()) {
    const iovec parts[] = {
        {const_cast<char*>(data.data()) + sent, std::min<size_t>(5, data.size() - sent)},
        {const_cast<char*>(data.data()) + std::min(sent + 5, data.size()), data.size() - std::min(sent + 5, data.size())}};
    const Transfer transfer = transport.Send(peer, parts);
    ASSERT_FALSE(transfer.closed);
    sent += transfer.bytes;
    if (transfer.bytes == 0) AwaitPeer(transport, peer, {.send = true});
  }
}

// Until so many bytes have come or the peer has closed.
std::string ReceiveAll(Transport& transport, int peer, size_t bytes) {
  std::string data(bytes, 0);
  size_t received = 0;
  while (received < bytes) {
    const iovec part{data.data() + received, std::min(bytes - received, 777 + received % 3000)};
    const Transfer transfer = transport.Receive(peer, {&part, 1});
    if (transfer.closed) break;
    received += transfer.bytes;
    if (transfer.bytes == 0) AwaitPeer(transport, peer, {.receive = true});
  }
  data.resize(received);
  return data;
}

std::string Pattern(size_t bytes, unsigned seed) {
  std::string data(bytes, 0);
  for (char& byte : data) byte = static_cast<char>((seed = seed * 1664525 + 1013904223) >> 24);
  return data;
}

// Both sides sleep whenever a ring is full or empty, thousands of times: one lost wake-up and this does not end within its minute.
TEST(MixedTransportTest, StreamsLongerThanARingArriveUnchangedInBothDirectionsOverBothKindsOfLink) {
  for (const std::vector<int>& hosts : {std::vector<int>{0, 0}, std::vector<int>{0, 1}}) {
    auto ranks = MakeTransports(hosts);
    const std::string up = Pattern(2'000'000, 1), down = Pattern(2'000'000, 2);
    const absl::Time begin = TestClock().Now();
    std::string got_up, got_down;
    std::thread other([&] {
      got_up = ReceiveAll(*ranks[1], 0, up.size());
      SendAll(*ranks[1], 0, down);
    });
    SendAll(*ranks[0], 1, up);
    got_down = ReceiveAll(*ranks[0], 1, down.size());
    other.join();
    EXPECT_TRUE(got_up == up);
    EXPECT_TRUE(got_down == down);
    EXPECT_LT(TestClock().Now() - begin, kLong);
  }
}

TEST(MixedTransportTest, OneWaitSleepsOnRingsAndOnTcp) {
  auto ranks = MakeTransports({0, 0, 1});
  const std::vector<Interest> both{{}, {.receive = true}, {.receive = true}};
  for (const int sender : {1, 2}) {
    std::thread other([&] { SendText(*ranks[static_cast<size_t>(sender)], 0, "late"); });
    std::string text;
    const absl::Time begin = TestClock().Now();
    while ((text = ReceiveText(*ranks[0], sender)).empty()) ranks[0]->Wait(both, kLong);
    EXPECT_LT(TestClock().Now() - begin, kLong);
    other.join();
    EXPECT_EQ(text, "late");
  }
  std::thread other([&] { ranks[0]->Wake(); });
  ranks[0]->Wait(std::vector<Interest>(3), kLong);
  other.join();
}

TEST(MixedTransportTest, WaitEndsAtItsTimeoutWhenNothingComes) {
  auto ranks = MakeTransports({0, 0});
  SendText(*ranks[0], 1, "rings a bell that nobody waits for");
  ASSERT_NE(ReceiveText(*ranks[1], 0), "");
  const absl::Time begin = TestClock().Now();
  const std::vector<Interest> interests{{.receive = true, .end = true}, {}};
  ranks[1]->Wait(interests, absl::Milliseconds(20));
  EXPECT_GE(TestClock().Now() - begin, absl::Milliseconds(19));
}

TEST(MixedTransportTest, APeerThatClosesIsReadToItsEnd) {
  auto ranks = MakeTransports({0, 0});
  SendText(*ranks[0], 1, "last words");
  EXPECT_EQ(ranks[1]->Remainder(0), std::nullopt);
  std::thread other([&] { ranks[0].reset(); });
  AwaitPeer(*ranks[1], 0, {.end = true});
  other.join();
  EXPECT_EQ(ranks[1]->Remainder(0), "last words");
  EXPECT_FALSE(IsClosed(*ranks[1], 0));  // takes a byte
  EXPECT_EQ(ReceiveText(*ranks[1], 0), "ast words");
  EXPECT_TRUE(IsClosed(*ranks[1], 0));
}

TEST(MixedTransportTest, WhoClosesToOnePeerIsOpenToTheOthers) {
  for (const std::vector<int>& hosts : {std::vector<int>{0, 0, 0}, std::vector<int>{0, 1, 2}}) {
    auto ranks = MakeTransports(hosts);
    SendText(*ranks[0], 1, "last words");
    ranks[0]->CloseSending(1);
    EXPECT_EQ(ReceiveAll(*ranks[1], 0, 100), "last words");
    EXPECT_TRUE(IsClosed(*ranks[1], 0));
    SendText(*ranks[1], 0, "an answer");
    EXPECT_EQ(ReceiveAll(*ranks[0], 1, 9), "an answer");
    SendText(*ranks[0], 2, "more");
    EXPECT_EQ(ReceiveAll(*ranks[2], 0, 4), "more");
    EXPECT_EQ(ranks[2]->Remainder(0), std::nullopt);
  }
}

TEST(MixedTransportTest, AResetIsSeenAtOnceByBothEnds) {
  auto ranks = MakeTransports({0, 0, 0});
  SendText(*ranks[0], 1, "of no use");
  ranks[0]->Reset(1);
  AwaitPeer(*ranks[1], 0, {.end = true});
  EXPECT_EQ(ranks[1]->Remainder(0), "");
  EXPECT_TRUE(IsClosed(*ranks[1], 0));
  EXPECT_TRUE(IsClosed(*ranks[0], 1));
  EXPECT_TRUE(SendText(*ranks[0], 1, "x").closed);
  EXPECT_EQ(SendText(*ranks[2], 1, "x").bytes, 1u);  // other links live on
  EXPECT_EQ(ReceiveText(*ranks[1], 2), "x");
}

// A process that is killed says nothing: its socket does.
TEST(MixedTransportTest, WhatAKilledProcessHadSentArrivesThenItsEnd) {
  std::vector<std::vector<TcpPeer>> peers = Connect({0, 0});
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    peers[0].clear();
    auto made = MixedTransport::Create(1, std::move(peers[1]), {.ring_bytes = kRing}, {}, kLong, TestClock());
    if (made.ok()) SendText(**made, 0, "I was here");
    kill(getpid(), SIGKILL);
  }
  peers[1].clear();
  auto made = MixedTransport::Create(0, std::move(peers[0]), {.ring_bytes = kRing}, {}, kLong, TestClock());
  ASSERT_OK(made);
  const absl::Time begin = TestClock().Now();
  EXPECT_EQ(ReceiveAll(**made, 1, 100), "I was here");
  EXPECT_TRUE(IsClosed(**made, 1));
  EXPECT_LT(TestClock().Now() - begin, kLong);
  EXPECT_EQ(waitpid(child, nullptr, 0), child);
}

TEST(MixedTransportTest, PeersThatDisagreeOrAreSilentAreNamed) {
  std::vector<std::vector<TcpPeer>> peers = Connect({0, 0, 0});
  const auto create = [&](int rank, size_t ring_bytes, absl::Duration timeout) {
    return MixedTransport::Create(rank, std::move(peers[static_cast<size_t>(rank)]), {.ring_bytes = ring_bytes}, {}, timeout,
                                  TestClock());
  };
  EXPECT_THAT(create(2, kRing, absl::Milliseconds(20)).status(),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("rank 1")));
  auto first = create(0, 2 * kRing, kLong);
  EXPECT_THAT(create(1, kRing, kLong).status(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("rank 2")));
  peers = Connect({0, 0});
  first = create(0, 2 * kRing, kLong);
  EXPECT_THAT(create(1, kRing, kLong).status(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("rank 0")));
  EXPECT_THAT(create(0, 1000, kLong).status(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("power of two")));
}

TEST(ByteRingTest, NonsenseOfAPeerReachesNothingOutsideTheRing) {
  const auto shared = std::make_unique<SharedRing>();  // aligned, as on no instrumented stack
  char data[3 * 64] = {};
  const RingPlace place{.ring = shared.get(), .data = data + 64, .capacity = 64};
  RingWriter writer(place);
  RingReader reader(place);
  const auto nobody = [] { FAIL() << "nobody waits"; };
  shared->head = uint64_t{1} << 40;
  char taken[1000] = {};
  const iovec in{taken, sizeof(taken)};
  EXPECT_LE(reader.Peek().size(), 64u);
  shared->head = 1000;
  EXPECT_LE(reader.Read({&in, 1}, nobody), 1000u);
  shared->tail = uint64_t{1} << 50;
  std::string text(1000, 'x');
  const iovec out{text.data(), text.size()};
  EXPECT_LE(writer.Write({&out, 1}, nobody), 64u);
  for (int i = 0; i < 64; ++i) {
    EXPECT_EQ(data[i], 0);
    EXPECT_EQ(data[128 + i], 0);
  }
}

TEST(ByteRingTest, WhoWaitsIsWokenOnce) {
  const auto shared = std::make_unique<SharedRing>();  // aligned, as on no instrumented stack
  char data[64] = {};
  const RingPlace place{.ring = shared.get(), .data = data, .capacity = 64};
  RingWriter writer(place);
  RingReader reader(place);
  int bells = 0;
  const auto wake = [&] { ++bells; };
  char bytes[64] = {};
  const iovec full{bytes, 64}, third{bytes, 20};
  reader.BeginWait();
  EXPECT_EQ(writer.Write({&third, 1}, wake), 20u);
  EXPECT_EQ(writer.Write({&full, 1}, wake), 44u);
  EXPECT_EQ(bells, 1);
  EXPECT_FALSE(writer.HasRoom());
  writer.BeginWait();
  EXPECT_EQ(reader.Read({&third, 1}, wake), 20u);
  EXPECT_EQ(bells, 1) << "room for less than half a ring is not worth a wake-up";
  EXPECT_EQ(reader.Read({&third, 1}, wake), 20u);
  EXPECT_EQ(bells, 2);
  EXPECT_EQ(reader.Read({&full, 1}, wake), 24u);
  EXPECT_EQ(bells, 2);
}

}  // namespace
}  // namespace ringmaster
