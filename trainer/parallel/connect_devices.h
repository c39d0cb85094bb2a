// Decides, with all ranks of a group, whether their GPUs talk to each other through NCCL, and connects them.
#ifndef RINGMASTER_TRAINER_PARALLEL_CONNECT_DEVICES_H_
#define RINGMASTER_TRAINER_PARALLEL_CONNECT_DEVICES_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "collectives/communicator.h"
#include "collectives/nccl/nccl_api.h"
#include "collectives/nccl/nccl_communicator.h"
#include "collectives/rendezvous.h"
#include "common/clock.h"

namespace ringmaster::trainer {

struct DeviceConnection {
  int device = 0;
  std::string unique_name;        // of the device, among those of all hosts
  absl::StatusOr<NcclApi*> nccl;  // or why this rank has none; lives as long as the process
  absl::Duration timeout;
  std::function<void(Communicator*)> reachable = {};  // NcclCommunicatorOptions::reachable
};

struct ConnectedDevices {
  std::unique_ptr<NcclCommunicator> communicator = nullptr;  // null: ranks share a device, which NCCL refuses
  std::string shared = {};                                   // then: "ranks 0 and 1 share GPU-..."
};

// Collective over `host`, the group of all ranks.
// FAILED_PRECONDITION, on all ranks: names one that has no NCCL, and why. Others: Communicator, NcclCommunicator::Create.
absl::StatusOr<ConnectedDevices> ConnectDevices(const DeviceConnection& own, Communicator& host, Rendezvous& rendezvous,
                                                const Clock& clock);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_PARALLEL_CONNECT_DEVICES_H_
