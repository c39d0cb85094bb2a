// One canonical order of reduction: whatever carries the data, however it is cut, every rank gets the same bits.
#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/hash/hash.h"
#include "absl/status/statusor.h"
#include "collectives/conformance/communicator_group.h"
#include "collectives/conformance/communicator_trial.h"
#include "collectives/conformance/created_group.h"
#include "collectives/memory_rendezvous.h"
#include "collectives/shm/in_process_group.h"
#include "collectives/transport/inproc_transport.h"
#include "common/real_clock.h"
#include "common/status_matchers.h"
#include "gtest/gtest.h"

namespace ringmaster {
namespace {

using testing::Group;
using testing::MakeCreatedGroup;

const RealClock& TestClock() {
  static const RealClock clock;
  return clock;
}

Group InprocGroup(int size, const HostCommunicatorOptions& options) {
  Group group;
  for (std::unique_ptr<Transport>& transport : CreateInprocTransports(size, 64 * 1024)) {
    group.push_back(std::make_unique<HostCommunicator>(std::move(transport), TestClock(), options));
  }
  return group;
}

struct Shape {
  Operation operation = Operation::kAllReduce;
  DataType type = DataType::kF32;
  Reduction reduction = Reduction::kSum;
  int root = 0;
  int64_t count = 0;
  uint32_t seed = 0;
};

// Small ones, and ones of several chunks.
Shape RandomShape(std::mt19937& random, int size) {
  constexpr Operation kOperations[] = {Operation::kAllReduce, Operation::kAllReduce, Operation::kReduceScatter, Operation::kReduce};
  const auto below = [&random](uint32_t limit) { return static_cast<uint32_t>(random() % limit); };
  return {.operation = kOperations[below(4)],
          .type = static_cast<DataType>(below(kDataTypes)),
          .reduction = static_cast<Reduction>(below(kReductions)),
          .root = static_cast<int>(below(static_cast<uint32_t>(size))),
          .count = 1 + below(below(4) == 0 ? 40'000 : 600),
          .seed = static_cast<uint32_t>(random())};
}

// Of what this rank received.
absl::StatusOr<size_t> HashOfResult(Communicator& ranks, const Shape& shape) {
  const size_t element = BytesPerElement(shape.type);
  const int64_t given = shape.operation == Operation::kReduceScatter ? shape.count * ranks.size() : shape.count;
  std::vector<char> send(static_cast<size_t>(given) * element), receive(static_cast<size_t>(shape.count) * element);
  std::mt19937_64 random(shape.seed + static_cast<uint32_t>(ranks.rank()));
  for (size_t at = 0; at < send.size(); at += element) testing::WriteElement(shape.type, random(), &send[at]);
  const absl::Status status = ranks.Run({.operation = shape.operation,
                                         .type = shape.type,
                                         .reduction = shape.reduction,
                                         .root = shape.root,
                                         .count = shape.count,
                                         .send = send.data(),
                                         .receive = receive.data()},
                                        testing::kLong);
  if (!status.ok()) return status;
  return absl::HashOf(std::string_view(receive.data(), receive.size()));
}

// By shape, then by rank.
std::vector<std::vector<size_t>> Hashes(Group& group, const std::vector<Shape>& shapes) {
  std::vector<std::vector<size_t>> hashes(shapes.size(), std::vector<size_t>(group.size()));
  const auto results = testing::OnAllRanks(group, [&](Communicator& ranks) {
    for (size_t index = 0; index < shapes.size(); ++index) {
      const auto hash = HashOfResult(ranks, shapes[index]);
      if (!hash.ok()) return hash.status();
      hashes[index][static_cast<size_t>(ranks.rank())] = *hash;
    }
    return absl::OkStatus();
  });
  for (const absl::Status& result : results) EXPECT_OK(result);
  return hashes;
}

class SameBitsTest : public ::testing::TestWithParam<int> {};

TEST_P(SameBitsTest, OnEveryTransportWithEveryAlgorithmAndChunkSize) {
  constexpr int kShapes = 1000;
  const int size = GetParam();
  std::mt19937 random(static_cast<uint32_t>(size));
  std::vector<Shape> shapes;
  for (int index = 0; index < kShapes; ++index) shapes.push_back(RandomShape(random, size));

  MemoryRendezvous rendezvous[] = {MemoryRendezvous(TestClock()), MemoryRendezvous(TestClock()), MemoryRendezvous(TestClock()),
                                   MemoryRendezvous(TestClock())};
  std::vector<std::pair<std::string, Group>> groups;
  groups.emplace_back("in process", InprocGroup(size, {}));
  groups.emplace_back("in process, ring", InprocGroup(size, {.algorithm = Algorithm::kRing, .chunk_bytes = 4096}));
  groups.emplace_back("in process, two steps", InprocGroup(size, {.algorithm = Algorithm::kTwoStep, .chunk_bytes = 1024}));
  groups.emplace_back("in process, Bruck", InprocGroup(size, {.algorithm = Algorithm::kBruck}));
  groups.emplace_back("in process, star", InprocGroup(size, {.algorithm = Algorithm::kStar, .chunk_bytes = 2048}));
  groups.emplace_back("in process, whole vectors", InprocGroup(size, {.algorithm = Algorithm::kDirect, .chunk_bytes = 2048}));
  groups.emplace_back("TCP", MakeCreatedGroup(size, {.transport = TransportChoice::kTcp, .calibrate = false}, rendezvous[0]));
  groups.emplace_back("TCP, ring", MakeCreatedGroup(size,
                                                    {.transport = TransportChoice::kTcp,
                                                     .host = {.algorithm = Algorithm::kRing, .chunk_bytes = 8192},
                                                     .calibrate = false},
                                                    rendezvous[1]));
  groups.emplace_back(
      "TCP, channels",
      MakeCreatedGroup(size, {.transport = TransportChoice::kTcp, .channels = 3, .calibrate = false}, rendezvous[3]));
  groups.emplace_back("two ranks on a host", MakeCreatedGroup(size, {.ranks_on_host = 2, .calibrate = false}, rendezvous[2]));
  groups.emplace_back("shared memory", testing::MakeInProcessShmGroup(size, {}));
  groups.emplace_back("shared memory, small chunks",
                      testing::MakeInProcessShmGroup(size, {.sizes = {.slot_bytes = 128, .chunk_bytes = 1024, .ring_bytes = 256},
                                                            .tuning = {.one_shot_bytes = 8, .cross_memory_bytes = INT64_MAX}}));
  groups.emplace_back(
      "shared memory, cross memory",
      testing::MakeInProcessShmGroup(
          size, {.tuning = {.one_shot_bytes = 8, .cross_memory_bytes = 16, .cross_memory_piece = 4096}, .share_cores = false}));

  const auto expected = Hashes(groups.front().second, shapes);
  for (auto& [name, group] : groups) {
    if (HasFailure()) return;
    EXPECT_EQ(Hashes(group, shapes), expected) << name;
  }
  for (int index = 0; index < kShapes; ++index) {
    const auto& by_rank = expected[static_cast<size_t>(index)];
    if (shapes[static_cast<size_t>(index)].operation != Operation::kAllReduce) continue;
    EXPECT_EQ(std::ranges::count(by_rank, by_rank.front()), size) << "shape " << index << " differs between ranks";
  }
}

INSTANTIATE_TEST_SUITE_P(Ranks, SameBitsTest, ::testing::Values(2, 3, 5));

}  // namespace
}  // namespace ringmaster
