// GPUs that talk to each other, without GPUs: NCCL is a fake, device memory the process's own.
#include "trainer/parallel/device_sync.h"

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "collectives/host_communicator.h"
#include "collectives/memory_rendezvous.h"
#include "collectives/nccl/fake_nccl_api.h"
#include "collectives/transport/inproc_transport.h"
#include "common/real_clock.h"
#include "common/status_macros.h"
#include "common/status_matchers.h"
#include "trainer/parallel/connect_devices.h"

namespace ringmaster::trainer {
namespace {

using ::ringmaster::testing::FakeNcclApi;
using ::ringmaster::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr absl::Duration kLong = absl::Seconds(20);
constexpr absl::Duration kShort = absl::Milliseconds(50);

class DeviceSyncTest : public ::testing::Test {
 protected:
  // What each rank of a group gives, by rank; its result.
  template <typename Body>
  std::vector<absl::Status> OnAll(int size, const Body& body) {
    std::vector<absl::Status> results(static_cast<size_t>(size));
    std::vector<std::thread> threads;
    int rank = 0;
    for (std::unique_ptr<Transport>& transport : CreateInprocTransports(size)) {
      threads.emplace_back([&, rank, transport = std::move(transport)]() mutable {
        HostCommunicator host(std::move(transport), clock_, HostCommunicatorOptions{});
        results[static_cast<size_t>(rank)] = body(rank, host);
      });
      ++rank;
    }
    for (std::thread& thread : threads) thread.join();
    return results;
  }

  DeviceConnection Own(int rank) {
    return {.device = rank, .unique_name = absl::StrCat("GPU-", rank), .nccl = &api_, .timeout = kLong};
  }

  // All ranks, each with its own device and a stream.
  template <typename Body>
  void WithSyncs(int size, absl::Duration timeout, const Body& body) {
    boards_ = std::vector<ProgressBoard>(static_cast<size_t>(size));
    MemoryRendezvous rendezvous(clock_);
    const auto results = OnAll(size, [&](int rank, Communicator& host) -> absl::Status {
      RM_ASSIGN_OR_RETURN(ConnectedDevices connected, ConnectDevices(Own(rank), host, rendezvous, clock_));
      if (connected.communicator == nullptr) return absl::InternalError(connected.shared);
      DeviceSync sync(std::move(connected.communicator), &boards_[static_cast<size_t>(rank)], timeout);
      RM_ASSIGN_OR_RETURN(const CudaStream stream, api_.CreateStream());
      return body(sync, stream);
    });
    for (const absl::Status& status : results) EXPECT_OK(status);
  }

  absl::Status WaitFor(DeviceSync& sync, CudaStream stream) {
    RM_ASSIGN_OR_RETURN(const CudaEvent event, api_.CreateEvent(false));
    RM_RETURN_IF_ERROR(api_.RecordEvent(event, stream));
    return sync.WaitFor(event);
  }

  const RealClock clock_{};
  FakeNcclApi api_;
  MemoryRendezvous rendezvous_{clock_};
  std::vector<ProgressBoard> boards_;
};

TEST_F(DeviceSyncTest, SumsOverRanksAndCountsOnTheBoard) {
  WithSyncs(3, kLong, [&](DeviceSync& sync, CudaStream stream) -> absl::Status {
    float values[] = {1, static_cast<float>(sync.rank())};
    RM_RETURN_IF_ERROR(sync.Sum(values, 2, DataType::kF32, stream));
    RM_RETURN_IF_ERROR(WaitFor(sync, stream));
    EXPECT_THAT(values, ElementsAre(3, 3));
    return absl::OkStatus();
  });
  EXPECT_EQ(boards_[2].collective_sequence, 1u);
  EXPECT_EQ(boards_[2].collective_bytes, 8u);
}

// Equal parts are NCCL's own collectives, others are built from several.
TEST_F(DeviceSyncTest, SumsAndGathersPartsOfAnySize) {
  for (const std::vector<int64_t>& counts : {std::vector<int64_t>{2, 2, 2}, std::vector<int64_t>{1, 2, 3}}) {
    WithSyncs(3, kLong, [&](DeviceSync& sync, CudaStream stream) -> absl::Status {
      std::vector<float> values;
      for (int i = 0; i < 6; ++i) values.push_back(static_cast<float>(i + 10 * sync.rank()));
      const DeviceSync::Parts parts{.values = values.data(), .counts = counts};
      RM_RETURN_IF_ERROR(sync.SumOwnPart(parts, stream));
      RM_RETURN_IF_ERROR(sync.GatherParts({&parts, 1}, stream));
      RM_RETURN_IF_ERROR(WaitFor(sync, stream));
      EXPECT_THAT(values, ElementsAre(30, 33, 36, 39, 42, 45));
      return absl::OkStatus();
    });
  }
}

TEST_F(DeviceSyncTest, GathersSeveralAtOnce) {
  WithSyncs(2, kLong, [&](DeviceSync& sync, CudaStream stream) -> absl::Status {
    const std::vector<int64_t> counts = {1, 1};
    float first[2] = {}, second[2] = {};
    first[sync.rank()] = static_cast<float>(1 + sync.rank());
    second[sync.rank()] = static_cast<float>(5 + sync.rank());
    const DeviceSync::Parts all[] = {{.values = first, .counts = counts}, {.values = second, .counts = counts}};
    RM_RETURN_IF_ERROR(sync.GatherParts(all, stream));
    RM_RETURN_IF_ERROR(WaitFor(sync, stream));
    EXPECT_THAT(first, ElementsAre(1, 2));
    EXPECT_THAT(second, ElementsAre(5, 6));
    return absl::OkStatus();
  });
}

TEST_F(DeviceSyncTest, ARankThatNeverComesEndsTheWait) {
  WithSyncs(2, kShort, [&](DeviceSync& sync, CudaStream stream) -> absl::Status {
    if (sync.rank() == 1) return absl::OkStatus();
    float value = 1;
    RM_RETURN_IF_ERROR(sync.Sum(&value, 1, DataType::kF32, stream));
    EXPECT_THAT(WaitFor(sync, stream), StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("not done")));
    EXPECT_THAT(sync.Sum(&value, 1, DataType::kF32, stream), StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("not done")));
    return absl::OkStatus();
  });
}

TEST_F(DeviceSyncTest, AnAbortFromAnotherThreadEndsTheWait) {
  WithSyncs(2, kLong, [&](DeviceSync& sync, CudaStream stream) -> absl::Status {
    if (sync.rank() == 1) return absl::OkStatus();
    float value = 1;
    RM_RETURN_IF_ERROR(sync.Sum(&value, 1, DataType::kF32, stream));
    std::thread other([&] { sync.communicator().Abort("this epoch is over"); });
    EXPECT_THAT(WaitFor(sync, stream), StatusIs(absl::StatusCode::kAborted, HasSubstr("epoch is over")));
    other.join();
    return sync.Close(kLong);
  });
}

using ConnectDevicesTest = DeviceSyncTest;

TEST_F(ConnectDevicesTest, RanksThatShareADeviceAreNotConnected) {
  const auto results = OnAll(3, [&](int rank, Communicator& host) -> absl::Status {
    DeviceConnection own = Own(rank);
    if (rank == 2) own.unique_name = "GPU-0";
    RM_ASSIGN_OR_RETURN(const ConnectedDevices connected, ConnectDevices(own, host, rendezvous_, clock_));
    EXPECT_EQ(connected.communicator, nullptr);
    EXPECT_EQ(connected.shared, "ranks 0 and 2 share GPU-0");
    return absl::OkStatus();
  });
  for (const absl::Status& status : results) EXPECT_OK(status);
}

TEST_F(ConnectDevicesTest, ARankWithoutNcclStopsAllAndSaysWhatIsMissing) {
  const auto results = OnAll(2, [&](int rank, Communicator& host) -> absl::Status {
    DeviceConnection own = Own(rank);
    if (rank == 1) own.nccl = absl::FailedPreconditionError("cannot load libnccl.so.2");
    return ConnectDevices(own, host, rendezvous_, clock_).status();
  });
  for (const absl::Status& status : results) {
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("rank 1 does not have: cannot load libnccl")));
  }
}

// An epoch may end while NCCL waits for a rank that has died.
TEST_F(ConnectDevicesTest, AnAbortEndsTheConnecting) {
  api_.FailInit(1, absl::UnavailableError("rank 1 dies"));
  const auto results = OnAll(2, [&](int rank, Communicator& host) -> absl::Status {
    DeviceConnection own = Own(rank);
    std::vector<bool> seen;
    own.reachable = [&](Communicator* communicator) {
      seen.push_back(communicator != nullptr);
      if (communicator != nullptr && rank == 0) communicator->Abort("this epoch is over");
    };
    const absl::Status status = ConnectDevices(own, host, rendezvous_, clock_).status();
    EXPECT_THAT(seen, ElementsAre(true, false));
    return status;
  });
  EXPECT_THAT(results[0], StatusIs(absl::StatusCode::kAborted, HasSubstr("epoch is over")));
  EXPECT_THAT(results[1], StatusIs(absl::StatusCode::kUnavailable, HasSubstr("rank 1 dies")));
}

}  // namespace
}  // namespace ringmaster::trainer
