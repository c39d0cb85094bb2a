// GPUs that talk to each other, without GPUs: NCCL is a fake, device memory the process's own.
#include "trainer/parallel/nccl_device_sync.h"

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "collectives/host_communicator.h"
#include "collectives/memory_rendezvous.h"
#include "collectives/nccl/fake_nccl_api.h"
#include "collectives/transport/inproc_transport.h"
#include "common/real_clock.h"
#include "common/status_macros.h"
#include "common/status_matchers.h"
#include "trainer/parallel/connect_devices.h"
#include "trainer/parallel/device_closer.h"
#include "trainer/parallel/device_sync_conformance.h"

namespace ringmaster::trainer {
namespace {

using ::ringmaster::testing::FakeNcclApi;
using ::ringmaster::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr absl::Duration kLong = absl::Seconds(20);
constexpr absl::Duration kShort = absl::Milliseconds(50);

// Memory of a device that is the process's own.
class HostTensor {
 public:
  explicit HostTensor(std::vector<float> values) : values_(std::move(values)) {}
  float* get() { return values_.data(); }
  const std::vector<float>& ReadFloats() const { return values_; }

 private:
  std::vector<float> values_;
};

class FakeNcclWorld {
 public:
  using Test = ::testing::Test;
  using Tensor = HostTensor;

  // What each rank of a job gives, by rank; its result.
  template <typename Body>
  std::vector<absl::Status> OnHosts(int size, const Body& body) {
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

  DeviceConnection Own(int rank, const MeshShape& mesh, absl::Duration timeout = kLong) {
    return {.device = rank, .unique_name = absl::StrCat("GPU-", rank), .nccl = &api_, .mesh = mesh, .timeout = timeout};
  }

  // All ranks, each with its own device, its groups and a stream.
  template <typename Body>
  void OnMesh(const MeshShape& mesh, absl::Duration timeout, const Body& body) {
    boards_ = std::vector<ProgressBoard>(static_cast<size_t>(mesh.ranks()));
    MemoryRendezvous rendezvous(clock_);
    const auto results = OnHosts(mesh.ranks(), [&](int rank, Communicator& host) -> absl::Status {
      DeviceConnection own = Own(rank, mesh, timeout);
      own.board = &boards_[static_cast<size_t>(rank)];
      RM_ASSIGN_OR_RETURN(ConnectedDevices connected, ConnectDevices(own, host, rendezvous, clock_));
      if (!connected.shared.empty()) return absl::InternalError(connected.shared);
      RM_ASSIGN_OR_RETURN(const CudaStream stream, api_.CreateStream());
      const absl::Cleanup destroy = [&] { EXPECT_OK(api_.DestroyStream(stream)); };
      return body(connected.groups, stream);
    });
    for (const absl::Status& status : results) EXPECT_OK(status);
  }

  template <typename Body>
  void WithSyncs(int size, absl::Duration timeout, const Body& body) {
    OnMesh({.data = size}, timeout, [&](DeviceGroups& groups, CudaStream stream) { return body(*groups.data, stream); });
  }
  template <typename Body>
  void OnAll(int size, const Body& body) {
    WithSyncs(size, kLong, body);
  }

  absl::Status Await(DeviceSync& sync, CudaStream stream, const std::function<absl::Status()>& also = {}) {
    RM_ASSIGN_OR_RETURN(const CudaEvent event, api_.CreateEvent(false));
    const absl::Cleanup destroy = [&] { EXPECT_OK(api_.DestroyEvent(event)); };
    RM_RETURN_IF_ERROR(api_.RecordEvent(event, stream));
    return sync.WaitFor(event, also);
  }

  const RealClock clock_{};
  FakeNcclApi api_;
  MemoryRendezvous rendezvous_{clock_};
  std::vector<ProgressBoard> boards_;
};

INSTANTIATE_TYPED_TEST_SUITE_P(Nccl, DeviceSyncConformance, FakeNcclWorld);

class DeviceSyncTest : public ::testing::Test, public FakeNcclWorld {};

TEST_F(DeviceSyncTest, CountsOnTheBoard) {
  WithSyncs(3, kLong, [&](NcclDeviceSync& sync, CudaStream stream) -> absl::Status {
    float values[] = {1, 2};
    RM_RETURN_IF_ERROR(sync.Sum(values, 2, DataType::kF32, stream));
    return Await(sync, stream);
  });
  EXPECT_EQ(boards_[2].collective_sequence, 1u);
  EXPECT_EQ(boards_[2].collective_bytes, 8u);
}

TEST_F(DeviceSyncTest, AWaitEndsWithTheErrorOfAnotherGroup) {
  WithSyncs(2, kLong, [&](NcclDeviceSync& sync, CudaStream stream) -> absl::Status {
    if (sync.rank() == 1) return absl::OkStatus();
    float value = 1;
    RM_RETURN_IF_ERROR(sync.Sum(&value, 1, DataType::kF32, stream));
    EXPECT_THAT(Await(sync, stream, [] { return absl::UnavailableError("a stage is gone"); }),
                StatusIs(absl::StatusCode::kUnavailable, HasSubstr("stage is gone")));
    EXPECT_THAT(sync.Check(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("stage is gone")));
    return absl::OkStatus();
  });
}

TEST_F(DeviceSyncTest, ARankThatNeverComesEndsTheWait) {
  WithSyncs(2, kShort, [&](NcclDeviceSync& sync, CudaStream stream) -> absl::Status {
    if (sync.rank() == 1) return absl::OkStatus();
    float value = 1;
    RM_RETURN_IF_ERROR(sync.Sum(&value, 1, DataType::kF32, stream));
    EXPECT_THAT(Await(sync, stream), StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("not done")));
    EXPECT_THAT(sync.Sum(&value, 1, DataType::kF32, stream), StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("not done")));
    return absl::OkStatus();
  });
}

TEST_F(DeviceSyncTest, AnAbortFromAnotherThreadEndsTheWait) {
  WithSyncs(2, kLong, [&](NcclDeviceSync& sync, CudaStream stream) -> absl::Status {
    if (sync.rank() == 1) return absl::OkStatus();
    float value = 1;
    RM_RETURN_IF_ERROR(sync.Sum(&value, 1, DataType::kF32, stream));
    std::thread other([&] { sync.communicator().Abort("this epoch is over"); });
    EXPECT_THAT(Await(sync, stream), StatusIs(absl::StatusCode::kAborted, HasSubstr("epoch is over")));
    other.join();
    return sync.communicator().Close(kLong);
  });
}

using ConnectDevicesTest = DeviceSyncTest;

TEST_F(ConnectDevicesTest, RanksThatShareADeviceAreNotConnected) {
  const auto results = OnHosts(3, [&](int rank, Communicator& host) -> absl::Status {
    DeviceConnection own = Own(rank, {.data = host.size()});
    if (rank == 2) own.unique_name = "GPU-0";
    RM_ASSIGN_OR_RETURN(const ConnectedDevices connected, ConnectDevices(own, host, rendezvous_, clock_));
    EXPECT_TRUE(connected.groups.axes().is_alone());
    EXPECT_EQ(connected.shared, "ranks 0 and 2 share GPU-0");
    return absl::OkStatus();
  });
  for (const absl::Status& status : results) EXPECT_OK(status);
}

TEST_F(ConnectDevicesTest, ARankWithoutNcclStopsAllAndSaysWhatIsMissing) {
  const auto results = OnHosts(2, [&](int rank, Communicator& host) -> absl::Status {
    DeviceConnection own = Own(rank, {.data = host.size()});
    if (rank == 1) own.nccl = absl::FailedPreconditionError("cannot load libnccl.so.2");
    return ConnectDevices(own, host, rendezvous_, clock_).status();
  });
  for (const absl::Status& status : results) {
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("rank 1 does not have: cannot load libnccl")));
  }
}

// Ranks as in mesh.h: rank = (data * 2 + stage) * 2 + share.
TEST_F(ConnectDevicesTest, EachAxisIsAGroupOfItsOwn) {
  OnMesh({.data = 2, .pipeline = 2, .tensor = 2}, kLong, [&](DeviceGroups& groups, CudaStream stream) -> absl::Status {
    const DeviceAxes axes = groups.axes();
    const int rank = (axes.data->rank() * 2 + axes.pipeline->rank()) * 2 + axes.tensor->rank();
    float values[] = {static_cast<float>(1 << rank), static_cast<float>(1 << rank), static_cast<float>(1 << rank)};
    RM_RETURN_IF_ERROR(axes.data->Sum(&values[0], 1, DataType::kF32, stream));
    RM_RETURN_IF_ERROR(axes.pipeline->Sum(&values[1], 1, DataType::kF32, stream));
    RM_RETURN_IF_ERROR(axes.tensor->Sum(&values[2], 1, DataType::kF32, stream));
    RM_RETURN_IF_ERROR(Await(*axes.data, stream, [axes] { return axes.tensor->Check(); }));
    EXPECT_THAT(values,
                ElementsAre((1 << rank) + (1 << (rank ^ 4)), (1 << rank) + (1 << (rank ^ 2)), (1 << rank) + (1 << (rank ^ 1))));
    return groups.Close(kLong);
  });
  EXPECT_EQ(boards_[3].collective_sequence, 0u) << "not all ranks enter what one axis does";
  EXPECT_EQ(boards_[3].collective_bytes, 12u);
}

TEST_F(ConnectDevicesTest, AnAxisWithOneRankHasNoGroup) {
  OnMesh({.tensor = 2}, kLong, [&](DeviceGroups& groups, CudaStream stream) -> absl::Status {
    EXPECT_EQ(groups.data, nullptr);
    EXPECT_EQ(groups.pipeline, nullptr);
    float value = 1;
    RM_RETURN_IF_ERROR(groups.tensor->Sum(&value, 1, DataType::kF32, stream));
    return Await(*groups.tensor, stream);
  });
  EXPECT_EQ(boards_[1].collective_sequence, 1u) << "all ranks are in this group";
}

// Who is stuck is found among those that do not say that they wait.
TEST_F(ConnectDevicesTest, AWaitWithinTheModelShowsOnTheBoard) {
  for (const MeshShape& mesh : {MeshShape{.tensor = 2}, MeshShape{.data = 2}}) {
    OnMesh(mesh, kLong, [&](DeviceGroups& groups, CudaStream stream) -> absl::Status {
      DeviceSync& sync = groups.tensor != nullptr ? *groups.tensor : *groups.data;
      ProgressBoard& board = boards_[static_cast<size_t>(sync.rank())];
      board.phase = TrainerPhase::kForward;
      TrainerPhase seen = TrainerPhase::kForward;
      RM_RETURN_IF_ERROR(Await(sync, stream, [&]() -> absl::Status {
        seen = board.phase;
        return absl::OkStatus();
      }));
      EXPECT_EQ(seen, mesh.tensor > 1 ? TrainerPhase::kCommunication : TrainerPhase::kForward);
      EXPECT_EQ(board.phase, TrainerPhase::kForward);
      return absl::OkStatus();
    });
  }
}

// An axis that cannot be connected takes those with it that are.
TEST_F(ConnectDevicesTest, AGroupThatFailsEndsTheOthers) {
  const auto results = OnHosts(4, [&](int rank, Communicator& host) -> absl::Status {
    DeviceConnection own = Own(rank, {.data = 2, .tensor = 2});
    std::vector<std::string> seen;
    own.reachable = [&](MeshAxis axis, Communicator* communicator) {
      seen.push_back(absl::StrCat(axis == MeshAxis::kTensor ? "tensor " : "data ", communicator == nullptr ? "gone" : "here"));
      if (axis == MeshAxis::kData && communicator != nullptr) communicator->Abort("this epoch is over");
    };
    const absl::Status status = ConnectDevices(own, host, rendezvous_, clock_).status();
    EXPECT_THAT(seen, ElementsAre("tensor here", "data here", "data gone", "tensor gone"));
    return status;
  });
  for (const absl::Status& status : results) EXPECT_THAT(status, StatusIs(absl::StatusCode::kAborted, HasSubstr("epoch is over")));
  EXPECT_GE(api_.aborts(), 4);
}

// An epoch may end while NCCL waits for a rank that has died.
TEST_F(ConnectDevicesTest, AnAbortEndsTheConnecting) {
  api_.FailInit(1, absl::UnavailableError("rank 1 dies"));
  const auto results = OnHosts(2, [&](int rank, Communicator& host) -> absl::Status {
    DeviceConnection own = Own(rank, {.data = host.size()});
    std::vector<bool> seen;
    own.reachable = [&](MeshAxis, Communicator* communicator) {
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

// The next epoch is connected while the last one's groups are closed.
TEST_F(ConnectDevicesTest, GroupsAreClosedBehindTheCallersBack) {
  api_.HangAborts();
  std::atomic<int> have_begun = 0;
  OnMesh({.data = 2}, kLong, [&](DeviceGroups& groups, CudaStream) -> absl::Status {
    groups.Abort("this epoch is over");
    DeviceCloser closer;
    EXPECT_OK(closer.Begin(std::move(groups), kLong));
    if (++have_begun == 2) api_.ReleaseAborts();
    return closer.Finish();
  });
}

TEST_F(ConnectDevicesTest, ACloserSaysThatNcclHangs) {
  api_.HangAborts();
  std::atomic<int> have_said = 0;
  OnMesh({.data = 2}, kLong, [&](DeviceGroups& groups, CudaStream) -> absl::Status {
    groups.Abort("this epoch is over");
    DeviceCloser closer;
    EXPECT_OK(closer.Begin(std::move(groups), kShort));
    EXPECT_THAT(closer.Begin({}, kShort), StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("must end")));
    if (++have_said == 2) api_.ReleaseAborts();
    return closer.Finish();
  });
}

}  // namespace
}  // namespace ringmaster::trainer
