#include "collectives/transport/tcp_mesh.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <functional>
#include <future>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "collectives/memory_rendezvous.h"
#include "common/cancel_event.h"
#include "common/file_descriptor.h"
#include "common/real_clock.h"
#include "common/status_matchers.h"

namespace ringmaster {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::StatusIs;
using Peers = absl::StatusOr<std::vector<TcpPeer>>;

constexpr absl::Duration kLong = absl::Seconds(60);

TcpMeshOptions Options(int rank, int size) {
  return {.rank = rank,
          .size = size,
          .group = "world",
          .job = "job-1",
          .epoch = 5,
          .host = absl::StrCat("host-", rank),
          .pid = 100 + rank,
          .listen_address = "127.0.0.1"};
}

// What a rank published, as a stranger who got hold of it sees it.
struct Published {
  explicit Published(const std::string& value) {
    const std::vector<std::string> words = absl::StrSplit(value, ' ');
    EXPECT_GE(words.size(), 5u) << value;
    EXPECT_TRUE(absl::SimpleAtoi(words[1], &port));
    EXPECT_TRUE(absl::SimpleAtoi(words[2], &secret));
  }
  int port = 0;
  uint64_t secret = 0;
};

sockaddr_in Loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

FileDescriptor ConnectTo(int port) {
  FileDescriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in address = Loopback(port);
  EXPECT_EQ(connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  const timeval limit{.tv_sec = 60, .tv_usec = 0};
  setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  return socket;
}

void Say(const FileDescriptor& socket, const std::string& bytes) {
  EXPECT_EQ(send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
}

// Blocks until the other side closes; false when it answers instead, or does nothing.
bool IsHungUpOn(const FileDescriptor& socket) {
  char byte = 0;
  const ssize_t received = recv(socket.get(), &byte, 1, 0);
  return received == 0 || (received < 0 && errno == ECONNRESET);
}

// The bytes of a Hello (docs/protocol.md, "Collectives").
std::string HelloBytes(uint64_t magic, uint64_t fingerprint, uint64_t secret, int32_t from, int32_t to, int64_t channel = 0) {
  std::string bytes;
  const auto append = [&](const auto& value) { bytes.append(reinterpret_cast<const char*>(&value), sizeof(value)); };
  append(magic), append(fingerprint), append(secret), append(from), append(to), append(channel);
  return bytes;
}
constexpr uint64_t kMagic = 0x32304c4c4f434d52;

// Holds its user's first Await until the test lets it go: that rank has published its address and calls nobody yet.
class HeldRendezvous final : public Rendezvous {
 public:
  explicit HeldRendezvous(Rendezvous& inner) : inner_(inner), released_(release_.get_future().share()) {}

  absl::Status Publish(const std::string& key, const std::string& value) override { return inner_.Publish(key, value); }
  absl::StatusOr<std::string> Await(const std::string& key, absl::Duration timeout) override {
    released_.wait();
    return inner_.Await(key, timeout);
  }
  void Release() { release_.set_value(); }

 private:
  Rendezvous& inner_;
  std::promise<void> release_;
  std::shared_future<void> released_;
};

class TcpMeshTest : public ::testing::Test {
 protected:
  Peers Connect(const TcpMeshOptions& options, absl::Duration timeout = kLong) {
    return ConnectTcpMesh(options, rendezvous_, timeout, clock_);
  }

  Published PublishedBy(int rank) { return Published(rendezvous_.Await(absl::StrCat("collectives/world/", rank), kLong).value()); }

  // Ranks 0 and 1 form a group; in the middle, when rank 0 listens and waits for rank 1, `disturb` calls rank 0.
  void FormDespite(const std::function<void(const Published& rank0)>& disturb) {
    HeldRendezvous held(rendezvous_);
    Peers zero, one;
    std::thread first([&] { zero = Connect(Options(0, 2)); });
    std::thread second([&] { one = ConnectTcpMesh(Options(1, 2), held, kLong, clock_); });
    disturb(PublishedBy(0));
    held.Release();
    first.join();
    second.join();
    ASSERT_OK(zero);
    ASSERT_OK(one);
    EXPECT_EQ((*zero)[1].name, "rank 1 (host host-1, pid 101)");
    EXPECT_EQ((*one)[0].name, "rank 0 (host host-0, pid 100)");
    // It is rank 1 that rank 0 is connected to.
    Say((*zero)[1].socket, "x");
    char byte = 0;
    const int socket = (*one)[0].socket.get();
    pollfd ready{.fd = socket, .events = POLLIN, .revents = 0};
    ASSERT_EQ(poll(&ready, 1, 60'000), 1);
    ASSERT_EQ(recv(socket, &byte, 1, 0), 1);
    EXPECT_EQ(byte, 'x');
  }

  const RealClock clock_{};
  MemoryRendezvous rendezvous_{clock_};
};

TEST_F(TcpMeshTest, GarbageIsHungUpOnAndTheGroupForms) {
  FormDespite([](const Published& rank0) {
    const FileDescriptor garbage = ConnectTo(rank0.port);
    Say(garbage, "GET / HTTP/1.1\r\nHost: ringmaster\r\nAccept: */*\r\n\r\n");
    EXPECT_TRUE(IsHungUpOn(garbage));
    const FileDescriptor half = ConnectTo(rank0.port);
    Say(half, "half");
    shutdown(half.get(), SHUT_WR);
    EXPECT_TRUE(IsHungUpOn(half));
  });
}

TEST_F(TcpMeshTest, SilentStrangersHoldNobody) {
  std::vector<FileDescriptor> silent;
  FormDespite([&](const Published& rank0) {
    for (int i = 0; i < 20; ++i) silent.push_back(ConnectTo(rank0.port));
    Say(silent.back(), "not a whole hello");
  });
}

TEST_F(TcpMeshTest, OfManySilentStrangersTheOldestAreDropped) {
  std::vector<FileDescriptor> silent;
  FormDespite([&](const Published& rank0) {
    for (int i = 0; i < 400; ++i) silent.push_back(ConnectTo(rank0.port));
    EXPECT_TRUE(IsHungUpOn(silent.front()));
  });
}

TEST_F(TcpMeshTest, AHelloWithTheWrongFingerprintIsHungUpOn) {
  FormDespite([](const Published& rank0) {
    for (const int32_t from : {1, 0, 2, -1}) {
      const FileDescriptor stranger = ConnectTo(rank0.port);
      Say(stranger, HelloBytes(kMagic, /*fingerprint=*/12345, rank0.secret, from, 0));
      EXPECT_TRUE(IsHungUpOn(stranger)) << "from " << from;
    }
  });
}

TEST_F(TcpMeshTest, ARankWithoutTheRightSecretIsHungUpOn) {
  FormDespite([&](const Published& rank0) {
    MemoryRendezvous elsewhere(clock_);
    EXPECT_OK(elsewhere.Publish("collectives/world/0",
                                absl::StrCat("127.0.0.1 ", rank0.port, " ", rank0.secret + 1, " - - 100 1 host-0")));
    EXPECT_THAT(ConnectTcpMesh(Options(1, 2), elsewhere, kLong, clock_),
                StatusIs(absl::StatusCode::kUnavailable, HasSubstr("hung up on this rank, 1")));
  });
}

// A rank of another epoch, job or group that calls the right address with the right secret.
TEST_F(TcpMeshTest, ARankOfAnotherGroupIsHungUpOnAndLearnsIt) {
  FormDespite([&](const Published&) {
    const std::string address = rendezvous_.Await("collectives/world/0", kLong).value();
    TcpMeshOptions epoch = Options(1, 2), job = Options(1, 2), group = Options(1, 2);
    epoch.epoch = 6;
    job.job = "job-2";
    group.group = "tensor";
    for (const TcpMeshOptions& options : {epoch, job, group}) {
      MemoryRendezvous elsewhere(clock_);
      EXPECT_OK(elsewhere.Publish(absl::StrCat("collectives/", options.group, "/0"), address));
      EXPECT_THAT(ConnectTcpMesh(options, elsewhere, kLong, clock_),
                  StatusIs(absl::StatusCode::kUnavailable,
                           AllOf(HasSubstr("rank 0 (host host-0, pid 100) hung up on this rank, 1"), HasSubstr("another epoch"))));
    }
  });
}

class FalseRankZero : public TcpMeshTest {
 protected:
  // Rank 1 calls somebody who is not rank 0.
  Peers CallRankZeroWhere(const std::function<void(FileDescriptor caller)>& answer) {
    const FileDescriptor listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address = Loopback(0);
    socklen_t length = sizeof(address);
    EXPECT_EQ(bind(listener.get(), reinterpret_cast<sockaddr*>(&address), length), 0);
    EXPECT_EQ(listen(listener.get(), 1), 0);
    EXPECT_EQ(getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &length), 0);
    EXPECT_OK(
        rendezvous_.Publish("collectives/world/0", absl::StrCat("127.0.0.1 ", ntohs(address.sin_port), " 42 - - 100 1 host-0")));
    std::thread impostor([&] { answer(FileDescriptor(accept(listener.get(), nullptr, nullptr))); });
    Peers one = Connect(Options(1, 2));
    impostor.join();
    return one;
  }
};

TEST_F(FalseRankZero, IsNotBelievedWithoutOurSecret) {
  const Peers one = CallRankZeroWhere([](const FileDescriptor& caller) {
    char hello[40];
    EXPECT_EQ(recv(caller.get(), hello, sizeof(hello), MSG_WAITALL), 40);
    Say(caller, std::string(hello, sizeof(hello)));  // the best that somebody can do who does not know it
    EXPECT_TRUE(IsHungUpOn(caller));
  });
  EXPECT_THAT(one, StatusIs(absl::StatusCode::kUnavailable, AllOf(HasSubstr("somebody else answers"), HasSubstr("rank 0 (host"))));
}

TEST_F(FalseRankZero, ThatHangsUpIsNamed) {
  EXPECT_THAT(CallRankZeroWhere([](const FileDescriptor&) {}),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("rank 0 (host host-0, pid 100)")));
}

TEST_F(FalseRankZero, ThatDoesNotListenIsNamed) {
  {
    const FileDescriptor closed(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));  // bound and never listening: its port refuses
    sockaddr_in address = Loopback(0);
    socklen_t length = sizeof(address);
    ASSERT_EQ(bind(closed.get(), reinterpret_cast<sockaddr*>(&address), length), 0);
    ASSERT_EQ(getsockname(closed.get(), reinterpret_cast<sockaddr*>(&address), &length), 0);
    ASSERT_OK(
        rendezvous_.Publish("collectives/world/0", absl::StrCat("127.0.0.1 ", ntohs(address.sin_port), " 42 - - 100 1 host-0")));
    EXPECT_THAT(Connect(Options(1, 2)), StatusIs(absl::StatusCode::kUnavailable, AllOf(HasSubstr("rank 0 (host host-0, pid 100)"),
                                                                                       HasSubstr("Connection refused"))));
  }
}

TEST_F(TcpMeshTest, TheDeadlineNamesWhoDidNotPublish) {
  ASSERT_OK(rendezvous_.Publish("collectives/world/1", "127.0.0.1 1 42 - - 101 1 host-1"));
  EXPECT_THAT(Connect(Options(0, 3), absl::Milliseconds(30)),
              StatusIs(absl::StatusCode::kDeadlineExceeded, AllOf(HasSubstr("rank 2 did not come"), Not(HasSubstr("rank 1")))));
}

TEST_F(TcpMeshTest, TheDeadlineNamesWhoDidNotCall) {
  HeldRendezvous held(rendezvous_);
  Peers zero, one;
  std::thread second([&] { one = ConnectTcpMesh(Options(1, 3), held, kLong, clock_); });
  ASSERT_OK(rendezvous_.Publish("collectives/world/2", "127.0.0.1 1 42 - - 102 1 host-2"));
  PublishedBy(1);
  zero = Connect(Options(0, 3), absl::Milliseconds(200));
  EXPECT_THAT(zero, StatusIs(absl::StatusCode::kDeadlineExceeded,
                             AllOf(HasSubstr("rank 1 (host host-1, pid 101)"), HasSubstr("rank 2 (host host-2, pid 102)"))));
  held.Release();  // a rank that comes after the others have given up learns whom it misses
  second.join();
  EXPECT_THAT(one, StatusIs(absl::StatusCode::kUnavailable, HasSubstr("rank 0 (host host-0, pid 100)")));
}

TEST_F(TcpMeshTest, TheEndOfTheEpochEndsTheWait) {
  std::thread ender([&] {
    PublishedBy(0);
    rendezvous_.EndEpoch();
  });
  EXPECT_THAT(Connect(Options(0, 2)), StatusIs(absl::StatusCode::kAborted, HasSubstr("epoch is over")));
  ender.join();
}

TEST_F(TcpMeshTest, CancellingEndsTheWaitForCallersAndNamesThem) {
  CancelEvent cancel;
  TcpMeshOptions options = Options(0, 2);
  options.cancel_fd = cancel.fd();
  ASSERT_OK(rendezvous_.Publish("collectives/world/1", "127.0.0.1 1 42 - - 101 1 host-1"));
  std::thread other([&] {
    PublishedBy(0);
    cancel.Set();
  });
  EXPECT_THAT(
      ConnectTcpMesh(options, rendezvous_, kLong, clock_),
      StatusIs(absl::StatusCode::kAborted, AllOf(HasSubstr("world is given up"), HasSubstr("rank 1 (host host-1, pid 101)"))));
  other.join();
}

TEST_F(TcpMeshTest, GarbageInTheRendezvousIsRefusedWithItsText) {
  for (const char* value : {"", "hello", "127.0.0.1 0 42 - - 1 1 host", "127.0.0.1 99999 42 - - 1 1 host",
                            "127.0.0.1 80 x - - 1 1 host", "nowhere 80 42 - - 1 1 host"}) {
    MemoryRendezvous rendezvous(clock_);
    ASSERT_OK(rendezvous.Publish("collectives/world/1", value));
    EXPECT_THAT(ConnectTcpMesh(Options(0, 2), rendezvous, kLong, clock_),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(std::string(value).substr(0, 7))))
        << value;
  }
}

TEST_F(TcpMeshTest, AnAddressThatIsNotOursIsRefused) {
  TcpMeshOptions elsewhere = Options(0, 2), name = Options(0, 2);
  elsewhere.listen_address = "203.0.113.7";
  name.listen_address = "localhost";
  EXPECT_THAT(Connect(elsewhere), StatusIs(absl::StatusCode::kInvalidArgument,
                                           AllOf(HasSubstr("203.0.113.7"), HasSubstr("Is it an address of this host?"))));
  EXPECT_THAT(Connect(name), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("\"localhost\" is no numeric")));
}

// Every pair has as many connections as the rank that can use the fewest, and both ends count them alike.
TEST_F(TcpMeshTest, AGroupHasTheChannelsOfItsLeastRank) {
  constexpr int kRanks = 3;
  std::vector<Peers> meshes(kRanks);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < kRanks; ++rank) {
    threads.emplace_back([&, rank] {
      TcpMeshOptions options = Options(rank, kRanks);
      options.channels = rank == 1 ? 3 : 16;
      meshes[static_cast<size_t>(rank)] = Connect(options);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t rank = 0; rank < kRanks; ++rank) {
    ASSERT_OK(meshes[rank]);
    for (size_t peer = 0; peer < rank; ++peer) {
      const TcpPeer& here = (*meshes[rank])[peer];
      const TcpPeer& there = (*meshes[peer])[rank];
      ASSERT_EQ(here.more_sockets.size(), 2u);
      ASSERT_EQ(there.more_sockets.size(), 2u);
      for (size_t channel = 0; channel < 2; ++channel) {
        Say(here.more_sockets[channel], std::string(1, static_cast<char>('a' + channel)));
        pollfd ready{.fd = there.more_sockets[channel].get(), .events = POLLIN, .revents = 0};
        ASSERT_EQ(poll(&ready, 1, 60'000), 1);
        char byte = 0;
        ASSERT_EQ(recv(there.more_sockets[channel].get(), &byte, 1, 0), 1);
        EXPECT_EQ(byte, 'a' + static_cast<char>(channel));
      }
    }
  }
}

TEST_F(TcpMeshTest, RanksOfOneHostHaveOneChannel) {
  TcpMeshOptions zero = Options(0, 2), one = Options(1, 2);
  zero.channels = one.channels = 4;
  zero.host_identity = one.host_identity = "one-host";
  Peers first;
  std::thread other([&] { first = Connect(zero); });
  const Peers second = Connect(one);
  other.join();
  ASSERT_OK(first);
  ASSERT_OK(second);
  EXPECT_TRUE((*first)[1].same_host);
  EXPECT_TRUE((*first)[1].more_sockets.empty());
  EXPECT_TRUE((*second)[0].more_sockets.empty());
}

TEST_F(TcpMeshTest, AsManyChannelsAsNobodyHasAreRefused) {
  TcpMeshOptions none = Options(0, 2), many = Options(0, 2);
  none.channels = 0;
  many.channels = 17;
  EXPECT_THAT(Connect(none), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("channels is 0; 1 to 16")));
  EXPECT_THAT(Connect(many), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("channels is 17")));
}

TEST_F(TcpMeshTest, ARankOutsideItsGroupIsRefused) {
  EXPECT_THAT(Connect(Options(2, 2)), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("rank is 2, group size 2")));
  EXPECT_THAT(Connect(Options(-1, 2)), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("rank is -1")));
}

}  // namespace
}  // namespace ringmaster
