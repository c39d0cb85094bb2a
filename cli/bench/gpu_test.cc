// NCCL and our kernels on real GPUs: one rank, a thread, for each of them. Without a GPU every test is skipped and says so.
#include <cstdlib>
#include <iostream>
#include <memory>
#include <thread>
#include <vector>

#include "cli/bench/gpu_sweep.h"
#include "collectives/host_communicator.h"
#include "collectives/memory_rendezvous.h"
#include "collectives/nccl/nccl_api_loaded.h"
#include "collectives/nccl/pattern.h"
#include "collectives/transport/inproc_transport.h"
#include "common/real_clock.h"
#include "common/status_macros.h"
#include "common/status_matchers.h"

namespace ringmaster::cli {
namespace {

using testing::StatusIs;

constexpr absl::Duration kLong = absl::Seconds(120);

class Gpu : public ::testing::Test {
 protected:
  // Once for all tests; lives as long as the process, as aborts may.
  static absl::StatusOr<std::unique_ptr<NcclApi>>& Api() {
    static absl::StatusOr<std::unique_ptr<NcclApi>> api = LoadNcclApi({.nvls_enable = std::getenv("NCCL_NVLS_ENABLE")});
    return api;
  }

  void SetUp() override {
    if (Api().ok()) {
      gpus_ = *(*Api())->DeviceCount();
      return;
    }
    ASSERT_TRUE(absl::IsFailedPrecondition(Api().status()) || absl::IsUnimplemented(Api().status())) << Api().status();
    std::cout << "SKIPPED: no GPU: " << Api().status().message() << std::endl;
    GTEST_SKIP() << "no GPU";
  }

  // Runs `body` on a rank for each GPU.
  void OnAllGpus(const std::string& group, const std::function<absl::Status(Communicator& host, NcclCommunicator& ranks)>& body) {
    MemoryRendezvous rendezvous(clock_);
    std::vector<std::unique_ptr<Transport>> transports = CreateInprocTransports(gpus_, 1 << 20);
    std::vector<std::thread> threads;
    for (int rank = 0; rank < gpus_; ++rank) {
      threads.emplace_back([&, rank] {
        HostCommunicator host(std::move(transports[static_cast<size_t>(rank)]), clock_, {});
        const absl::Time began = clock_.Now();
        auto ranks = NcclCommunicator::Create({.rank = rank, .size = gpus_, .device = rank, .group = group}, **Api(), rendezvous,
                                              kLong, clock_);
        EXPECT_OK(ranks);
        if (!ranks.ok()) return;
        const absl::Time made = clock_.Now();
        EXPECT_OK(body(host, **ranks)) << "on rank " << rank;
        const absl::Time closing = clock_.Now();
        EXPECT_OK((*ranks)->Close(kLong));
        if (rank > 0) return;
        std::cout << "group " << group << ": created in " << made - began << ", closed in " << clock_.Now() - closing << std::endl;
      });
    }
    for (std::thread& thread : threads) thread.join();
  }

  RealClock clock_;
  int gpus_ = 0;
};

// All bytes of all operations, types and reductions, in place and not.
TEST_F(Gpu, EveryOperationIsExact) {
  for (const Operation operation : {Operation::kAllReduce, Operation::kReduceScatter, Operation::kAllGather, Operation::kBroadcast,
                                    Operation::kReduce, Operation::kGather, Operation::kScatter, Operation::kAllToAll,
                                    Operation::kReduceScatterV, Operation::kAllGatherV, Operation::kAllToAllV}) {
    OnAllGpus(NameOf(operation), [&](Communicator& host, NcclCommunicator& ranks) -> absl::Status {
      for (int type = 0; type < kDataTypes; ++type) {
        for (int reduction = 0; reduction < (IsReduction(operation) ? kReductions : 1); ++reduction) {
          BenchOptions options;
          options.operation = NameOf(operation);
          options.type = NameOf(static_cast<DataType>(type));
          options.reduction = NameOf(static_cast<Reduction>(reduction));
          options.sizes = "64,4K,1M";
          options.seconds = 0;
          const absl::Status status = RunGpuSweep(options, host, ranks, **Api(), [&](const BenchRow& row) {
            EXPECT_EQ(row.errors, 0) << row.op << " " << row.dtype << " " << row.reduction << " " << row.bytes << " bytes"
                                     << (row.in_place ? ", in place" : "");
          });
          if (!status.ok()) return status;
        }
      }
      return absl::OkStatus();
    });
  }
}

TEST_F(Gpu, TheCheckFindsEveryWrongElement) {
  OnAllGpus("check", [&](Communicator&, NcclCommunicator& ranks) -> absl::Status {
    NcclApi& api = **Api();
    RM_ASSIGN_OR_RETURN(const RegisteredBuffer buffer, ranks.Register(1 << 20, kLong));
    RM_ASSIGN_OR_RETURN(const RegisteredBuffer table, ranks.Register(12, kLong));
    RM_ASSIGN_OR_RETURN(const RegisteredBuffer wrong, ranks.Register(8, kLong));
    RM_ASSIGN_OR_RETURN(const CudaStream stream, api.CreateStream());
    RM_ASSIGN_OR_RETURN(const CudaEvent done, api.CreateEvent(false));
    const int32_t values[] = {5, 6, 7};
    RM_RETURN_IF_ERROR(api.Copy(table.data(), values, sizeof(values), stream));
    const Pattern pattern{.table = table.data(), .period = 3, .begin = 1, .element_bytes = 4};
    EXPECT_EQ(FillWithPattern(buffer.data(), 1000, pattern, stream), 0);
    const int32_t planted = 99;
    RM_RETURN_IF_ERROR(api.Copy(static_cast<int32_t*>(buffer.data()) + 998, &planted, 4, stream));
    int64_t found = 0;
    EXPECT_EQ(CountDifferent(buffer.data(), 1000, pattern, static_cast<unsigned long long*>(wrong.data()), stream), 0);
    RM_RETURN_IF_ERROR(api.Copy(&found, wrong.data(), 8, stream));
    RM_RETURN_IF_ERROR(api.RecordEvent(done, stream));
    RM_RETURN_IF_ERROR(ranks.WaitFor(done, kLong));
    EXPECT_EQ(found, 1);
    return absl::OkStatus();
  });
}

TEST_F(Gpu, APeerThatDoesNotCallEndsAtTheDeadlineAndTheAbortReturns) {
  if (gpus_ < 2) GTEST_SKIP() << "needs 2 GPUs";
  OnAllGpus("deadline", [&](Communicator& host, NcclCommunicator& ranks) -> absl::Status {
    if (absl::Status status = ranks.Barrier(kLong); !status.ok()) return status;
    if (ranks.rank() == 0) {
      EXPECT_THAT(ranks.Barrier(absl::Seconds(1)), StatusIs(absl::StatusCode::kDeadlineExceeded, ::testing::HasSubstr("barrier")));
    }
    if (absl::Status status = host.Barrier(kLong); !status.ok()) return status;
    ranks.Abort("a peer gave up");
    return absl::OkStatus();
  });
}

// Ranks connect at their first operation, within the call of whoever comes first.
TEST_F(Gpu, APeerThatNeverConnectsHoldsUpTheFirstOperationNoLongerThanItsDeadline) {
  if (gpus_ < 2) GTEST_SKIP() << "needs 2 GPUs";
  OnAllGpus("connect", [&](Communicator& host, NcclCommunicator& ranks) -> absl::Status {
    if (ranks.rank() == 0) {
      EXPECT_THAT(ranks.Barrier(absl::Seconds(1)), StatusIs(absl::StatusCode::kDeadlineExceeded, ::testing::_));
    }
    if (absl::Status status = host.Barrier(kLong); !status.ok()) return status;
    ranks.Abort("a peer gave up");
    return absl::OkStatus();
  });
}

// A device that waits for a peer takes some operations more, then it makes the caller wait.
TEST_F(Gpu, ADeviceWhoseQueueIsFullHoldsUpItsCallerNoLongerThanTheDeadline) {
  if (gpus_ < 2) GTEST_SKIP() << "needs 2 GPUs";
  OnAllGpus("queue", [&](Communicator& host, NcclCommunicator& ranks) -> absl::Status {
    RM_ASSIGN_OR_RETURN(const RegisteredBuffer buffer, ranks.Register(4, kLong));
    RM_ASSIGN_OR_RETURN(const CudaStream stream, (*Api())->CreateStream());
    const Call call{
        .operation = Operation::kAllReduce, .type = DataType::kF32, .count = 1, .send = buffer.data(), .receive = buffer.data()};
    if (ranks.rank() == 0) {
      absl::Status status;
      for (int i = 0; status.ok() && i < 100'000; ++i) status = ranks.Enqueue(call, stream, absl::Seconds(1));
      EXPECT_THAT(status, StatusIs(absl::StatusCode::kDeadlineExceeded, ::testing::HasSubstr("did not return")));
    }
    if (absl::Status status = host.Barrier(kLong); !status.ok()) return status;
    ranks.Abort("a peer gave up");
    return absl::OkStatus();
  });
}

TEST_F(Gpu, HalvesOfASplitWorkAlone) {
  OnAllGpus("split", [&](Communicator&, NcclCommunicator& ranks) -> absl::Status {
    auto half = ranks.Split(ranks.rank() % 2, 0, kLong);
    if (!half.ok()) return half.status();
    EXPECT_EQ((*half)->rank(), ranks.rank() / 2);
    return (*half)->Barrier(kLong);
  });
}

}  // namespace
}  // namespace ringmaster::cli
