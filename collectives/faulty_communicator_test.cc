// A fault at every point of a sequence of operations: nobody hangs, nobody gets wrong data, everybody gets the right error.
#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "collectives/conformance/communicator_group.h"
#include "collectives/host_communicator.h"
#include "collectives/memory_rendezvous.h"
#include "collectives/transport/faulty_transport.h"
#include "collectives/transport/inproc_transport.h"
#include "collectives/transport/mixed_transport.h"
#include "collectives/transport/tcp_mesh.h"
#include "common/real_clock.h"
#include "common/status_matchers.h"

namespace ringmaster {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using testing::Group;
using ::testing::HasSubstr;
using testing::kLong;
using testing::OnAllRanks;
using testing::StatusIs;

constexpr int kMostRounds = 200;

using Transports = std::vector<std::unique_ptr<Transport>>;

const RealClock& TestClock() {
  static const RealClock clock;
  return clock;
}

Transports InprocTransports(int size) { return CreateInprocTransports(size, /*capacity_bytes=*/700); }

// Ranks 0 and 1 share a host when `mixed`.
Transports Connect(int size, bool mixed) {
  MemoryRendezvous rendezvous(TestClock());
  Transports transports(size);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      const TcpMeshOptions options{.rank = rank,
                                   .size = size,
                                   .group = "world",
                                   .job = "faulty",
                                   .epoch = 1,
                                   .host = "here",
                                   .pid = 7,
                                   .listen_address = "127.0.0.1",
                                   .host_identity = mixed ? absl::StrCat("host", rank / 2) : ""};
      auto peers = ConnectTcpMesh(options, rendezvous, kLong, TestClock());
      ASSERT_OK(peers);
      auto transport = MixedTransport::Create(rank, *std::move(peers), {.ring_bytes = 1024}, {}, kLong, TestClock());
      ASSERT_OK(transport);
      transports[rank] = *std::move(transport);
    });
  }
  for (std::thread& thread : threads) thread.join();
  return transports;
}

Transports TcpTransports(int size) { return Connect(size, /*mixed=*/false); }
Transports MixedTransports(int size) { return Connect(size, /*mixed=*/true); }

// Frames are small, so that a few operations are many transfers.
constexpr HostCommunicatorOptions kOptions{.chunk_bytes = 256, .direct_bytes = 64};

Group GroupWithFault(Transports transports, int faulty_rank, Fault fault, std::atomic<bool>* fired) {
  Group group;
  for (int rank = 0; rank < static_cast<int>(transports.size()); ++rank) {
    std::unique_ptr<Transport> transport = std::move(transports[rank]);
    if (rank == faulty_rank) transport = std::make_unique<FaultyTransport>(std::move(transport), fault, fired);
    group.push_back(std::make_unique<HostCommunicator>(std::move(transport), TestClock(), kOptions));
  }
  return group;
}

absl::Status CheckEach(const std::vector<float>& data, float expected, const char* what) {
  for (const float value : data) {
    if (value != expected) return absl::DataLossError(absl::StrCat(what, " gave ", value, ", expected ", expected));
  }
  return absl::OkStatus();
}

// One of each kind of operation; a successful operation with wrong data is DATA_LOSS, which no fault here may cause.
absl::Status Round(Communicator& ranks, int round, absl::Duration timeout) {
  const int size = ranks.size();
  const auto mine = static_cast<float>(ranks.rank() + round);
  const auto sum = static_cast<float>(size * round + size * (size - 1) / 2);
  std::vector<float> small(5, mine), large(400, mine), gathered(static_cast<size_t>(size) * 50, mine), broadcast(300, mine);
  absl::Status status = ranks.AllReduce(small.data(), small.data(), 5, DataType::kF32, Reduction::kSum, timeout);
  if (status.ok()) status = CheckEach(small, sum, "small all_reduce");
  if (status.ok()) status = ranks.AllReduce(large.data(), large.data(), 400, DataType::kF32, Reduction::kSum, timeout);
  if (status.ok()) status = CheckEach(large, sum, "large all_reduce");
  if (status.ok()) {
    status = ranks.AllGather(gathered.data() + 50 * ranks.rank(), gathered.data(), 50, DataType::kF32, timeout);
  }
  for (int rank = 0; rank < size && status.ok(); ++rank) {
    const auto slice = gathered.begin() + 50 * rank;
    status = CheckEach({slice, slice + 50}, static_cast<float>(rank + round), "all_gather");
  }
  if (status.ok()) status = ranks.Broadcast(broadcast.data(), 300, DataType::kF32, round % size, timeout);
  if (status.ok()) status = CheckEach(broadcast, static_cast<float>(round % size + round), "broadcast");
  if (status.ok()) status = ranks.Barrier(timeout);
  return status;
}

struct Way {
  const char* name;
  int size;
  Transports (*make)(int size);
  int64_t points;  // the fault is tried after 0, 1, .. transfers
};

class FaultSweep : public ::testing::TestWithParam<Way> {
 protected:
  // Operates until the fault has shown on every rank; returns each rank's error.
  static std::vector<absl::Status> RunUntilBroken(int faulty_rank, Fault fault, absl::Duration timeout) {
    std::atomic<bool> fired{false};
    Group group = GroupWithFault(GetParam().make(GetParam().size), faulty_rank, fault, &fired);
    std::vector<absl::Status> results = OnAllRanks(group, [&](Communicator& ranks) {
      absl::Status status;
      for (int round = 0; round < kMostRounds && status.ok(); ++round) status = Round(ranks, round, timeout);
      return status;
    });
    EXPECT_TRUE(fired);
    return results;
  }

  static void SweepFatal(Fault::Kind kind) {
    for (int faulty_rank = 0; faulty_rank < GetParam().size; ++faulty_rank) {
      for (int64_t after = 0; after < GetParam().points; ++after) {
        SCOPED_TRACE(absl::StrCat("rank ", faulty_rank, ", after ", after, " transfers"));
        const auto results = RunUntilBroken(faulty_rank, {kind, after}, kLong);
        for (int rank = 0; rank < GetParam().size; ++rank) {
          if (rank == faulty_rank) {  // all it knows is that a connection has ended
            EXPECT_THAT(results[rank], StatusIs(absl::StatusCode::kUnavailable, HasSubstr("closed its connection"))) << rank;
          } else if (kind == Fault::Kind::kCutLink) {  // both ends of a cut link blame the other one
            EXPECT_THAT(results[rank], StatusIs(absl::StatusCode::kUnavailable, HasSubstr("closed its connection"))) << rank;
          } else {
            EXPECT_THAT(results[rank],
                        StatusIs(absl::StatusCode::kUnavailable,
                                 AllOf(HasSubstr(absl::StrCat("rank ", faulty_rank, " (")), HasSubstr("closed its connection"))))
                << rank;
          }
        }
        if (HasFailure()) return;
      }
    }
  }

  static void SweepHarmless(Fault::Kind kind) {
    for (int faulty_rank = 0; faulty_rank < GetParam().size; ++faulty_rank) {
      for (int64_t after = 0; after < GetParam().points; ++after) {
        SCOPED_TRACE(absl::StrCat("rank ", faulty_rank, ", after ", after, " transfers"));
        std::atomic<bool> fired{false};
        Group group = GroupWithFault(GetParam().make(GetParam().size), faulty_rank, {kind, after}, &fired);
        const auto results = OnAllRanks(group, [&](Communicator& ranks) {
          absl::Status status;
          for (int round = 0; round < kMostRounds && status.ok(); ++round) {
            status = Round(ranks, round, kLong);
            uint8_t go_on = !fired;  // as rank 0 sees it: all must stop in the same round
            if (status.ok()) status = ranks.Broadcast(&go_on, 1, DataType::kU8, 0, kLong);
            if (go_on == 0) break;
          }
          return status;
        });
        for (const absl::Status& result : results) EXPECT_OK(result);
        EXPECT_TRUE(fired);
        if (HasFailure()) return;
      }
    }
  }
};

TEST_P(FaultSweep, ARankThatClosesIsNamedByAll) { SweepFatal(Fault::Kind::kClose); }
TEST_P(FaultSweep, ARankThatDiesInTheMiddleOfASendIsNamedByAll) { SweepFatal(Fault::Kind::kCutSend); }
TEST_P(FaultSweep, ACutLinkBreaksTheGroupOnAllRanks) { SweepFatal(Fault::Kind::kCutLink); }
TEST_P(FaultSweep, TransfersOfSingleBytesChangeNothing) { SweepHarmless(Fault::Kind::kShort); }
TEST_P(FaultSweep, ADelayChangesNothing) { SweepHarmless(Fault::Kind::kDelay); }

TEST_P(FaultSweep, ASilentRankEndsAtTheDeadlineOnAllRanks) {
  for (int64_t after = 0; after < GetParam().points; after += 5) {
    SCOPED_TRACE(absl::StrCat("after ", after, " transfers"));
    const int silent = static_cast<int>(after % GetParam().size);
    const auto results = RunUntilBroken(silent, {Fault::Kind::kSilence, after}, absl::Milliseconds(300));
    for (int rank = 0; rank < GetParam().size; ++rank) {
      // Whose deadline passes first tells the others, and closes: a rank that cannot be told any more sees that alone.
      EXPECT_THAT(results[rank], AnyOf(StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("waited for")),
                                       StatusIs(absl::StatusCode::kUnavailable, HasSubstr("closed its connection"))))
          << rank;
    }
    EXPECT_THAT(results[silent], StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("waited for")));
    if (HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(All, FaultSweep,
                         ::testing::Values(Way{"Inproc", 3, &InprocTransports, 60}, Way{"InprocPair", 2, &InprocTransports, 30},
                                           Way{"Tcp", 3, &TcpTransports, 40}, Way{"TcpPair", 2, &TcpTransports, 20},
                                           Way{"Mixed", 3, &MixedTransports, 12}),
                         [](const ::testing::TestParamInfo<Way>& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace ringmaster
