// An operation asks for no memory: plans, streams and stages of the first of its kind serve all later ones.
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <thread>
#include <vector>

#include "collectives/conformance/communicator_group.h"
#include "collectives/create_communicator.h"
#include "collectives/memory_rendezvous.h"
#include "common/real_clock.h"
#include "common/status_matchers.h"

namespace {

std::atomic<bool> counting = false;
std::atomic<int64_t> allocations = 0;

}  // namespace

[[gnu::noinline]] void* operator new(size_t bytes) {
  if (counting) ++allocations;
  void* const memory = std::malloc(bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace ringmaster {
namespace {

using testing::kLong;

constexpr int kSize = 3;
constexpr int64_t kLargest = 100'000;

absl::Status EveryOperation(Communicator& ranks, std::vector<float>& data) {
  absl::Status status;
  for (const int64_t count : {1, 1000, 30'000}) {
    if (status.ok()) status = ranks.AllReduce(data.data(), data.data(), count, DataType::kF32, Reduction::kSum, kLong);
    float* const slice = data.data() + ranks.rank() * count;
    if (status.ok()) status = ranks.ReduceScatter(data.data(), slice, count, DataType::kF32, Reduction::kMax, kLong);
    if (status.ok()) status = ranks.AllGather(slice, data.data(), count, DataType::kF32, kLong);
    if (status.ok()) status = ranks.Broadcast(data.data(), count, DataType::kF32, 1, kLong);
    if (status.ok()) status = ranks.Barrier(kLong);
  }
  return status;
}

void ExpectNoAllocation(TransportChoice transport, const HostCommunicatorOptions& host) {
  const RealClock clock;
  MemoryRendezvous rendezvous(clock);
  std::vector<absl::Status> results(kSize);
  std::vector<std::thread> threads;
  allocations = 0;
  for (int rank = 0; rank < kSize; ++rank) {
    threads.emplace_back([&, rank] {
      const CommunicatorOptions options{.mesh = {.rank = rank,
                                                 .size = kSize,
                                                 .group = "world",
                                                 .job = "allocations",
                                                 .epoch = 1,
                                                 .host = "here",
                                                 .pid = getpid(),
                                                 .listen_address = "127.0.0.1"},
                                        .transport = transport,
                                        .ranks_on_host = 1000,
                                        .host = host,
                                        .calibrate = false};
      auto ranks = CreateCommunicator(options, rendezvous, kLong, clock);
      absl::Status status = ranks.status();
      std::vector<float> data(kLargest);
      if (status.ok()) status = EveryOperation(**ranks, data);
      // All ranks are between these barriers when rank 0 counts.
      if (status.ok()) status = (*ranks)->Barrier(kLong);
      if (rank == 0) counting = true;
      if (status.ok()) status = (*ranks)->Barrier(kLong);
      for (int round = 0; round < 5 && status.ok(); ++round) status = EveryOperation(**ranks, data);
      if (rank == 0) counting = false;
      if (status.ok()) status = (*ranks)->Barrier(kLong);
      results[rank] = status;
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& result : results) EXPECT_OK(result);
  EXPECT_EQ(allocations, 0);
}

TEST(NoAllocationTest, TheCounterCounts) {
  allocations = 0;
  counting = true;
  auto value = std::make_unique<std::vector<int>>(5000);
  counting = false;
  EXPECT_EQ(allocations, 2);
  EXPECT_EQ(value->size(), 5000u);
}

TEST(NoAllocationTest, NoOperationAllocates) { ExpectNoAllocation(TransportChoice::kTcp, {}); }

TEST(NoAllocationTest, NoOperationInSharedMemoryAllocates) { ExpectNoAllocation(TransportChoice::kShm, {}); }

TEST(NoAllocationTest, NoOperationOfTheRingAllocates) {
  ExpectNoAllocation(TransportChoice::kTcp, {.algorithm = Algorithm::kRing, .chunk_bytes = 8192});
}

TEST(NoAllocationTest, NoOperationThatGathersAllocates) {
  ExpectNoAllocation(TransportChoice::kTcp, {.algorithm = Algorithm::kBruck});
}

}  // namespace
}  // namespace ringmaster
