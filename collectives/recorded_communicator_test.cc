// What Communicator::Run and RunGroup write into the flight record.
#include "collectives/conformance/communicator_group.h"
#include "collectives/flight/read_flight_records.h"
#include "collectives/host_communicator.h"
#include "collectives/transport/inproc_transport.h"
#include "common/real_clock.h"
#include "common/status_matchers.h"
#include "gtest/gtest.h"

namespace ringmaster {
namespace {

using ::ringmaster::testing::kLong;

// The record of rank 0, the only rank that keeps one.
class RecordedCommunicator : public ::testing::Test {
 protected:
  void SetUp() override {
    for (auto& transport : CreateInprocTransports(2)) {
      group_.push_back(std::make_unique<HostCommunicator>(std::move(transport), clock_, HostCommunicatorOptions{}));
    }
    ASSERT_OK_AND_ASSIGN(std::unique_ptr<FlightRecorder> recorder, FlightRecorder::Create("world", 0, 2, clock_));
    group_[0]->set_recorder(std::move(recorder));
  }
  std::vector<FlightOperation> Read() {
    const auto records = ReadFlightRecords(getpid(), clock_);
    EXPECT_OK(records.status());
    return records.ok() ? records->at(0).operations : std::vector<FlightOperation>();
  }

  RealClock clock_;
  testing::Group group_;
};

TEST_F(RecordedCommunicator, EveryOperationLeavesOneEntryAndARefusedOneNone) {
  for (const absl::Status& status : testing::OnAllRanks(group_, [](Communicator& communicator) -> absl::Status {
         float values[4] = {};
         EXPECT_FALSE(communicator.Broadcast(values, 4, DataType::kF32, 7, kLong).ok()) << "no such root";
         absl::Status status = communicator.AllReduce(values, values, 4, DataType::kF32, Reduction::kSum, kLong);
         const int peer = 1 - communicator.rank();
         const Call pair[] = {
             {.operation = Operation::kSend, .type = DataType::kF32, .root = peer, .count = 1, .send = values},
             {.operation = Operation::kReceive, .type = DataType::kF32, .root = peer, .count = 1, .receive = values + 1}};
         status.Update(communicator.RunGroup(pair, kLong));
         status.Update(communicator.Barrier(kLong));
         return status;
       })) {
    EXPECT_OK(status);
  }
  const std::vector<FlightOperation> operations = Read();
  ASSERT_EQ(operations.size(), 4u);
  const Operation expected[] = {Operation::kAllReduce, Operation::kSend, Operation::kReceive, Operation::kBarrier};
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(operations[i].operation, expected[i]);
    EXPECT_EQ(operations[i].state, FlightState::kFinished);
  }
}

TEST_F(RecordedCommunicator, AFailureKeepsItsCode) {
  group_.pop_back();
  EXPECT_FALSE(group_[0]->Barrier(kLong).ok());
  const std::vector<FlightOperation> operations = Read();
  ASSERT_EQ(operations.size(), 1u);
  EXPECT_EQ(operations[0].state, FlightState::kFailed);
  EXPECT_EQ(operations[0].code, absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace ringmaster
