// A process that kills itself at every point of every way in which an operation can run: in shared memory before each counter that
// it writes, over TCP behind each transfer. More deaths: --gtest_repeat.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "collectives/channels/channels_communicator.h"
#include "collectives/host_communicator.h"
#include "collectives/shm/memory_exchange.h"
#include "collectives/shm/shm_communicator.h"
#include "collectives/transport/forwarding_transport.h"
#include "collectives/transport/tcp_transport.h"
#include "common/file_descriptor.h"
#include "common/real_clock.h"
#include "common/status_macros.h"
#include "common/status_matchers.h"

namespace ringmaster {
namespace {

using ::testing::HasSubstr;
using testing::StatusIs;

constexpr int kPoints = 14;
constexpr absl::Duration kLong = absl::Seconds(60);

const RealClock& TestClock() {
  static const RealClock clock;
  return clock;
}

// What the processes of a trial see together.
struct Board {
  struct Survivor {
    int64_t took;  // from the death until it knew
    int code;      // its status
    std::array<char, 512> message;
  };
  std::atomic<int64_t> died;  // the victim, in nanoseconds of the clock
  std::array<Survivor, 8> survivors;
};

// The victim's. All of its threads pass points.
struct Fate {
  Board* board = nullptr;
  std::atomic<int> points{0};  // still to be passed; 0 and below: it lives

  void Pass() {
    if (points.load() <= 0 || points.fetch_sub(1) != 1) return;
    board->died.store(absl::ToUnixNanos(TestClock().Now()));
    kill(getpid(), SIGKILL);
  }
};

class MortalTransport final : public testing::ForwardingTransport {
 public:
  MortalTransport(std::unique_ptr<Transport> inner, Fate& fate) : ForwardingTransport(std::move(inner)), fate_(fate) {}

  Transfer Send(int peer, std::span<const iovec> parts) override { return Passed(ForwardingTransport::Send(peer, parts)); }
  Transfer Receive(int peer, std::span<const iovec> parts) override { return Passed(ForwardingTransport::Receive(peer, parts)); }

 private:
  Transfer Passed(Transfer transfer) {
    if (transfer.bytes > 0) fate_.Pass();
    return transfer;
  }

  Fate& fate_;
};

struct Way {
  const char* name;
  bool shared_memory;
  int64_t count;  // elements of a vector, or of a part
  Operation operation = Operation::kAllReduce;
  bool registered = false;
  ShmTuning shm = {};
  HostCommunicatorOptions host = {};
  int size = 3;
  int channels = 1;  // over TCP

  int victim() const { return size - 1; }
};

std::string NameOf(const Way& way, int rank) {
  return absl::StrCat("rank ", rank, rank == way.victim() ? " (the victim)" : " (a survivor)");
}

// By rank, then by channel: connected to each peer.
using Ends = std::vector<std::vector<FileDescriptor>>;
using Mesh = std::vector<Ends>;

std::pair<FileDescriptor, FileDescriptor> ConnectedPair(bool unix_sockets) {
  if (unix_sockets) {
    int ends[2] = {-1, -1};
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
    return {FileDescriptor(ends[0]), FileDescriptor(ends[1])};
  }
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  const FileDescriptor listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  FileDescriptor caller(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(bind(listener.get(), reinterpret_cast<sockaddr*>(&address), length), 0);
  EXPECT_EQ(listen(listener.get(), 1), 0);
  EXPECT_EQ(getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &length), 0);
  EXPECT_EQ(connect(caller.get(), reinterpret_cast<sockaddr*>(&address), length), 0);
  FileDescriptor callee(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  // As TcpMesh does.
  for (const int end : {caller.get(), callee.get()}) {
    const int on = 1;
    EXPECT_EQ(setsockopt(end, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)), 0);
  }
  return {std::move(caller), std::move(callee)};
}

Mesh MakeMesh(const Way& way) {
  const auto size = static_cast<size_t>(way.size);
  const auto channels = static_cast<size_t>(way.channels);
  Mesh mesh(size);
  for (Ends& ends : mesh) {
    ends.resize(channels);
    for (auto& sockets : ends) sockets.resize(size);
  }
  for (size_t channel = 0; channel < channels; ++channel) {
    for (size_t rank = 0; rank < size; ++rank) {
      for (size_t peer = 0; peer < rank; ++peer) {
        std::tie(mesh[rank][channel][peer], mesh[peer][channel][rank]) = ConnectedPair(way.shared_memory);
      }
    }
  }
  return mesh;
}

absl::StatusOr<std::unique_ptr<Communicator>> OverSharedMemory(const Way& way, int rank, std::vector<FileDescriptor> sockets,
                                                               Fate& fate) {
  std::vector<int> numbers;
  ShmCommunicatorOptions options{.sync = {.rank = rank, .names = {}, .share_cores = true}, .tuning = way.shm};
  for (int peer = 0; peer < way.size; ++peer) {
    options.sync.names.push_back(NameOf(way, peer));
    numbers.push_back(sockets[static_cast<size_t>(peer)].get());
  }
  if (rank == way.victim()) options.sync.before_publish = [&fate] { fate.Pass(); };
  RM_ASSIGN_OR_RETURN(shm::GroupMemory memory, shm::ExchangeMemory({.rank = rank}, numbers, kLong, TestClock()));
  return ShmCommunicator::Create(std::move(memory), std::move(sockets), TestClock(), std::move(options), kLong);
}

absl::StatusOr<std::unique_ptr<HostCommunicator>> OverTcp(const Way& way, int rank, std::vector<FileDescriptor> sockets,
                                                          Fate& fate) {
  std::vector<TcpPeer> peers;
  for (int peer = 0; peer < way.size; ++peer) {
    peers.push_back({.socket = std::move(sockets[static_cast<size_t>(peer)]), .name = NameOf(way, peer)});
  }
  RM_ASSIGN_OR_RETURN(std::unique_ptr<Transport> transport,
                      TcpTransport::Create(rank, std::move(peers), {.time = absl::Microseconds(200), .yield = true}));
  if (rank == way.victim()) transport = std::make_unique<MortalTransport>(std::move(transport), fate);
  return std::make_unique<HostCommunicator>(std::move(transport), TestClock(), way.host);
}

absl::StatusOr<std::unique_ptr<Communicator>> Make(const Way& way, int rank, Ends ends, Fate& fate) {
  if (way.shared_memory) return OverSharedMemory(way, rank, std::move(ends[0]), fate);
  ChannelsCommunicator::Channels channels;
  for (std::vector<FileDescriptor>& sockets : ends) {
    RM_ASSIGN_OR_RETURN(channels.emplace_back(), OverTcp(way, rank, std::move(sockets), fate));
  }
  if (channels.size() == 1) return std::move(channels[0]);
  auto together =
      std::make_unique<ChannelsCommunicator>(std::move(channels), /*share_bytes=*/8192, absl::Microseconds(200), TestClock());
  together->Start();
  return together;
}

// Operates until the group is broken. The victim's fate begins to count when all have operated once.
absl::Status RunUntilBroken(const Way& way, int rank, Ends ends, Board& board, int point) {
  Fate fate{.board = &board};
  RM_ASSIGN_OR_RETURN(const std::unique_ptr<Communicator> ranks, Make(way, rank, std::move(ends), fate));
  std::vector<float> memory(static_cast<size_t>(way.count) * static_cast<size_t>(way.size));
  std::vector<float> other(way.operation == Operation::kAllToAll ? memory.size() : 0);
  RegisteredBuffer registered;
  if (way.registered) {
    RM_ASSIGN_OR_RETURN(registered, ranks->Register(way.count * static_cast<int64_t>(sizeof(float)), kLong));
  }
  void* const data = way.registered ? registered.data() : memory.data();
  const Call call{.operation = way.operation,
                  .type = DataType::kF32,
                  .count = way.count,
                  .send = data,
                  .receive = other.empty() ? data : other.data()};
  absl::Status status = ranks->Run(call, kLong);
  if (rank == way.victim()) fate.points = point;
  while (status.ok()) status = ranks->Run(call, kLong);
  return status;
}

class KillPointsTest : public ::testing::TestWithParam<Way> {
 protected:
  void SetUp() override {
    void* const memory = mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(memory, MAP_FAILED);
    board_ = new (memory) Board();
  }
  void TearDown() override { munmap(board_, sizeof(Board)); }

  absl::Duration SinceDeath() const { return absl::Nanoseconds(absl::ToUnixNanos(TestClock().Now()) - board_->died.load()); }

  // Rank 0 is this process.
  void Die(int point) {
    const Way& way = GetParam();
    Mesh mesh = MakeMesh(way);
    std::vector<pid_t> children(mesh.size());
    for (size_t rank = 1; rank < children.size(); ++rank) {
      children[rank] = fork();
      ASSERT_GE(children[rank], 0);
      if (children[rank] == 0) {
        Ends mine = std::move(mesh[rank]);
        mesh.clear();  // an end that another process still holds is not closed by a death
        const absl::Status status = RunUntilBroken(way, static_cast<int>(rank), std::move(mine), *board_, point);
        if (static_cast<int>(rank) == way.victim()) _exit(1);
        Board::Survivor& survivor = board_->survivors[rank];
        survivor.took = absl::ToInt64Nanoseconds(SinceDeath());
        survivor.code = static_cast<int>(status.code());
        std::strncpy(survivor.message.data(), std::string(status.message()).c_str(), survivor.message.size() - 1);
        _exit(0);
      }
    }
    Ends mine = std::move(mesh[0]);
    mesh.clear();
    const absl::Status here = RunUntilBroken(way, 0, std::move(mine), *board_, point);
    const absl::Duration took = SinceDeath();
    for (size_t rank = 1; rank < children.size(); ++rank) {
      int status = 0;
      waitpid(children[rank], &status, 0);
      if (static_cast<int>(rank) == way.victim()) {
        EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << "the victim ended with " << status;
      }
    }
    const auto names_it = StatusIs(absl::StatusCode::kUnavailable, HasSubstr(absl::StrCat(NameOf(way, way.victim()), " closed")));
    EXPECT_THAT(here, names_it);
    longest_ = std::max(longest_, took);
    for (int rank = 1; rank < way.victim(); ++rank) {
      const Board::Survivor& there = board_->survivors[static_cast<size_t>(rank)];
      EXPECT_THAT(absl::Status(static_cast<absl::StatusCode>(there.code), there.message.data()), names_it) << "rank " << rank;
      longest_ = std::max(longest_, absl::Nanoseconds(there.took));
    }
  }

  absl::Duration longest_;

 private:
  Board* board_ = nullptr;
};

// Mappings and descriptors of a group's memory in this process. Nothing else holds it: it has no name.
int MemoryHeld() {
  int held = 0;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) held += line.find("memfd:ringmaster") != std::string::npos ? 1 : 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    held += std::filesystem::read_symlink(entry, gone).string().find("memfd:ringmaster") != std::string::npos ? 1 : 0;
  }
  return held;
}

TEST_P(KillPointsTest, SurvivorsNameWhoDiedAndKeepNothing) {
  for (int point = 1; point <= kPoints; ++point) {
    SCOPED_TRACE(absl::StrCat("at point ", point));
    Die(point);
    EXPECT_EQ(MemoryHeld(), 0);
    if (HasFailure()) return;
  }
  RecordProperty("longest", absl::FormatDuration(longest_));  // for people: it is the machine's as much as ours
}

constexpr ShmTuning kAlwaysCross{.cross_memory_bytes = 16};

INSTANTIATE_TEST_SUITE_P(
    Ways, KillPointsTest,
    ::testing::Values(Way{"ShmOneShot", true, 10}, Way{"ShmTwoShot", true, 300'000},
                      Way{"ShmPairExchange", true, 300'000, Operation::kAllReduce, false, {}, {}, 2},
                      Way{"ShmSmallRegistered", true, 1000, Operation::kAllReduce, true},
                      Way{"ShmCrossMemory", true, 300'000, Operation::kAllReduce, false, kAlwaysCross},
                      Way{"ShmRegistered", true, 300'000, Operation::kAllReduce, true},
                      Way{"ShmPublish", true, 200'000, Operation::kBroadcast}, Way{"ShmRings", true, 100'000, Operation::kAllToAll},
                      Way{"ShmReduceRings", true, 100'000, Operation::kReduceScatter}, Way{"TcpDirect", false, 10},
                      Way{"TcpTwoStep", false, 300'000},
                      Way{"TcpStar", false, 300'000, Operation::kAllReduce, false, {}, {.algorithm = Algorithm::kStar}},
                      Way{"TcpBruck", false, 1000, Operation::kAllReduce, false, {}, {.algorithm = Algorithm::kBruck}, 6},
                      Way{"TcpChain", false, 300'000, Operation::kAllReduce, false, {}, {.algorithm = Algorithm::kRing}},
                      Way{"TcpBroadcastChain", false, 300'000, Operation::kBroadcast},
                      Way{"TcpAllToAll", false, 100'000, Operation::kAllToAll},
                      Way{"TcpChannels", false, 300'000, Operation::kAllReduce, false, {}, {}, 3, 3},
                      Way{"TcpPairOfChannels", false, 300'000, Operation::kAllReduce, false, {}, {}, 2, 4}),
    [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace ringmaster
