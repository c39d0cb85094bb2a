// What every DeviceSync delivers. A World has the ranks of a group as threads:
//   void OnAll(int size, body)       runs body(DeviceSync&, CudaStream) on each rank, and expects OK of all
//   Tensor(std::vector<float>)       memory of the device: get(), ReadFloats()
//   absl::Status Await(DeviceSync&, CudaStream)   until what is on the stream is done
#ifndef RINGMASTER_TRAINER_PARALLEL_DEVICE_SYNC_CONFORMANCE_H_
#define RINGMASTER_TRAINER_PARALLEL_DEVICE_SYNC_CONFORMANCE_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "common/status_macros.h"
#include "common/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "trainer/parallel/device_sync.h"

namespace ringmaster::trainer {

template <typename World>
class DeviceSyncConformance : public World::Test {
 protected:
  World world_;
};

TYPED_TEST_SUITE_P(DeviceSyncConformance);

TYPED_TEST_P(DeviceSyncConformance, SumsOverRanks) {
  this->world_.OnAll(3, [&](DeviceSync& sync, CudaStream stream) -> absl::Status {
    typename TypeParam::Tensor values(std::vector<float>{1, static_cast<float>(sync.rank())});
    RM_RETURN_IF_ERROR(sync.Sum(values.get(), 2, DataType::kF32, stream));
    RM_RETURN_IF_ERROR(this->world_.Await(sync, stream));
    EXPECT_THAT(values.ReadFloats(), ::testing::ElementsAre(3, 3));
    return absl::OkStatus();
  });
}

TYPED_TEST_P(DeviceSyncConformance, FindsTheGreatest) {
  this->world_.OnAll(3, [&](DeviceSync& sync, CudaStream stream) -> absl::Status {
    typename TypeParam::Tensor values(std::vector<float>{static_cast<float>(sync.rank()), -static_cast<float>(sync.rank())});
    RM_RETURN_IF_ERROR(sync.Max(values.get(), 2, DataType::kF32, stream));
    RM_RETURN_IF_ERROR(this->world_.Await(sync, stream));
    EXPECT_THAT(values.ReadFloats(), ::testing::ElementsAre(2, 0));
    return absl::OkStatus();
  });
}

TYPED_TEST_P(DeviceSyncConformance, GivesAllWhatTheRootHas) {
  this->world_.OnAll(3, [&](DeviceSync& sync, CudaStream stream) -> absl::Status {
    typename TypeParam::Tensor values(std::vector<float>{static_cast<float>(5 + sync.rank())});
    RM_RETURN_IF_ERROR(sync.Broadcast(values.get(), 1, DataType::kF32, /*root=*/1, stream));
    RM_RETURN_IF_ERROR(this->world_.Await(sync, stream));
    EXPECT_THAT(values.ReadFloats(), ::testing::ElementsAre(6));
    return absl::OkStatus();
  });
}

TYPED_TEST_P(DeviceSyncConformance, SumsAndGathersPartsOfAnySize) {
  for (const std::vector<int64_t>& counts : {std::vector<int64_t>{2, 2, 2}, std::vector<int64_t>{1, 2, 3}}) {
    this->world_.OnAll(3, [&](DeviceSync& sync, CudaStream stream) -> absl::Status {
      std::vector<float> own;
      for (int i = 0; i < 6; ++i) own.push_back(static_cast<float>(i + 10 * sync.rank()));
      typename TypeParam::Tensor values(own);
      const DeviceSync::Parts parts{.values = values.get(), .counts = counts};
      RM_RETURN_IF_ERROR(sync.SumOwnPart(parts, stream));
      RM_RETURN_IF_ERROR(sync.GatherParts({&parts, 1}, stream));
      RM_RETURN_IF_ERROR(this->world_.Await(sync, stream));
      EXPECT_THAT(values.ReadFloats(), ::testing::ElementsAre(30, 33, 36, 39, 42, 45));
      return absl::OkStatus();
    });
  }
}

TYPED_TEST_P(DeviceSyncConformance, GathersSeveralAtOnce) {
  this->world_.OnAll(2, [&](DeviceSync& sync, CudaStream stream) -> absl::Status {
    const std::vector<int64_t> counts = {1, 1};
    std::vector<float> own(2);
    own[static_cast<size_t>(sync.rank())] = static_cast<float>(1 + sync.rank());
    typename TypeParam::Tensor first(own);
    own[static_cast<size_t>(sync.rank())] += 4;
    typename TypeParam::Tensor second(own);
    const DeviceSync::Parts all[] = {{.values = first.get(), .counts = counts}, {.values = second.get(), .counts = counts}};
    RM_RETURN_IF_ERROR(sync.GatherParts(all, stream));
    RM_RETURN_IF_ERROR(this->world_.Await(sync, stream));
    EXPECT_THAT(first.ReadFloats(), ::testing::ElementsAre(1, 2));
    EXPECT_THAT(second.ReadFloats(), ::testing::ElementsAre(5, 6));
    return absl::OkStatus();
  });
}

// As stages do that send to both neighbours and receive from both.
TYPED_TEST_P(DeviceSyncConformance, ExchangesWithBothNeighboursAtOnce) {
  this->world_.OnAll(3, [&](DeviceSync& sync, CudaStream stream) -> absl::Status {
    typename TypeParam::Tensor own(std::vector<float>{static_cast<float>(10 * sync.rank())});
    typename TypeParam::Tensor before(std::vector<float>{-1});
    typename TypeParam::Tensor behind(std::vector<float>{-1});
    std::vector<DeviceSync::Transfer> transfers;
    for (const int peer : {sync.rank() - 1, sync.rank() + 1}) {
      if (peer < 0 || peer == sync.size()) continue;
      transfers.push_back({.is_send = true, .values = own.get(), .count = 1, .peer = peer});
      transfers.push_back({.values = peer < sync.rank() ? before.get() : behind.get(), .count = 1, .peer = peer});
    }
    RM_RETURN_IF_ERROR(sync.Exchange(transfers, stream));
    RM_RETURN_IF_ERROR(this->world_.Await(sync, stream));
    const auto rank = static_cast<float>(sync.rank());
    EXPECT_EQ(before.ReadFloats()[0], sync.rank() == 0 ? -1 : 10 * (rank - 1));
    EXPECT_EQ(behind.ReadFloats()[0], sync.rank() == 2 ? -1 : 10 * (rank + 1));
    return absl::OkStatus();
  });
}

REGISTER_TYPED_TEST_SUITE_P(DeviceSyncConformance, SumsOverRanks, FindsTheGreatest, GivesAllWhatTheRootHas,
                            SumsAndGathersPartsOfAnySize, GathersSeveralAtOnce, ExchangesWithBothNeighboursAtOnce);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_PARALLEL_DEVICE_SYNC_CONFORMANCE_H_
