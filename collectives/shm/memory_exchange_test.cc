#include "collectives/shm/memory_exchange.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>
#include <vector>

#include "collectives/shm/shared_memory.h"
#include "common/file_descriptor.h"
#include "common/real_clock.h"
#include "common/status_matchers.h"

namespace ringmaster::shm {
namespace {

using ::ringmaster::testing::StatusIs;
using ::testing::HasSubstr;

constexpr absl::Duration kLong = absl::Seconds(60);
constexpr size_t kHeap = size_t{8} << 20;

// Sockets between all pairs of `size` ranks: [rank][peer].
class MemoryExchangeTest : public ::testing::Test {
 protected:
  void Connect(size_t size) {
    sockets_.resize(size);
    for (auto& row : sockets_) row.resize(size);
    for (size_t rank = 0; rank < size; ++rank) {
      for (size_t peer = 0; peer < rank; ++peer) {
        int pair[2] = {-1, -1};
        ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
        sockets_[rank][peer] = FileDescriptor(pair[0]);
        sockets_[peer][rank] = FileDescriptor(pair[1]);
      }
    }
  }

  absl::StatusOr<GroupMemory> Exchange(size_t rank, absl::Duration timeout, Segment::Sizes sizes = {}) {
    std::vector<int> numbers;
    for (const FileDescriptor& socket : sockets_[rank]) numbers.push_back(socket.get());
    return ExchangeMemory({.rank = static_cast<int>(rank), .sizes = sizes, .heap_limit = kHeap}, numbers, timeout, clock_);
  }

  RealClock clock_;
  std::vector<std::vector<FileDescriptor>> sockets_;
};

TEST_F(MemoryExchangeTest, AllRanksSeeOneSegmentAndEachOthersHeaps) {
  Connect(3);
  std::vector<absl::StatusOr<GroupMemory>> views(3, absl::UnknownError("not run"));
  std::vector<std::thread> threads;
  for (size_t rank = 0; rank < 3; ++rank) threads.emplace_back([&, rank] { views[rank] = Exchange(rank, kLong); });
  for (std::thread& thread : threads) thread.join();
  for (size_t rank = 0; rank < 3; ++rank) ASSERT_OK(views[rank]);
  views[1]->segment.control().broken.store(77);
  ASSERT_OK(views[2]->grow(size_t{4} << 20));
  views[2]->heaps[2][(size_t{4} << 20) - 1] = 'x';
  for (size_t rank = 0; rank < 3; ++rank) {
    EXPECT_EQ(views[rank]->segment.control().broken.load(), 77u);
    EXPECT_EQ(views[rank]->heaps[2][(size_t{4} << 20) - 1], 'x') << "grown after it was mapped";
    EXPECT_EQ(reinterpret_cast<uintptr_t>(views[rank]->heaps[1]) % (size_t{2} << 20), 0u);
  }
}

TEST_F(MemoryExchangeTest, NamesTheRankThatIsSilent) {
  Connect(3);
  EXPECT_THAT(Exchange(1, absl::Milliseconds(50)).status(), StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("rank 0")));
}

TEST_F(MemoryExchangeTest, NamesTheRankThatWentAway) {
  Connect(2);
  sockets_[0][1].Reset();
  EXPECT_THAT(Exchange(1, kLong).status(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("rank 0")));
}

TEST_F(MemoryExchangeTest, OtherSizesAreRefusedOnBothSides) {
  Connect(2);
  absl::Status other;
  std::thread thread([&] { other = Exchange(1, kLong, {.slot_bytes = 256}).status(); });
  EXPECT_THAT(Exchange(0, kLong).status(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("rank 1")));
  thread.join();
  EXPECT_THAT(other, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("rank 0")));
}

TEST(SharedMemoryTest, AMemoryFileNeverShrinksUnderItsReaders) {
  auto file = CreateMemoryFile("test", 8192);
  ASSERT_OK(file);
  EXPECT_NE(ftruncate(file->get(), 4096), 0);
  EXPECT_OK(CheckMemoryFile(*file, 8192));
  EXPECT_THAT(CheckMemoryFile(*file, 8193), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("8193")));
  const FileDescriptor unsealed(memfd_create("unsealed", MFD_CLOEXEC));
  EXPECT_THAT(CheckMemoryFile(unsealed, 0), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("sealed")));
}

}  // namespace
}  // namespace ringmaster::shm
