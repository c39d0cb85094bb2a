// Decides, with all ranks of a job, whether their GPUs talk to each other through NCCL, and connects them: one group for each axis
// of the mesh.
#ifndef RINGMASTER_TRAINER_PARALLEL_CONNECT_DEVICES_H_
#define RINGMASTER_TRAINER_PARALLEL_CONNECT_DEVICES_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "collectives/communicator.h"
#include "collectives/nccl/nccl_api.h"
#include "collectives/rendezvous.h"
#include "common/clock.h"
#include "common/progress_board.h"
#include "trainer/parallel/device_sync.h"
#include "trainer/parallel/mesh.h"
#include "trainer/parallel/nccl_device_sync.h"

namespace ringmaster::trainer {

enum class MeshAxis : uint8_t { kData, kPipeline, kTensor };

struct DeviceConnection {
  int device = 0;
  std::string unique_name;         // of the device, among those of all hosts
  absl::StatusOr<NcclApi*> nccl;   // or why this rank has none; lives as long as the process
  MeshShape mesh;                  // as many ranks as the group of all
  absl::Duration timeout;          // of connecting, and of each wait later
  ProgressBoard* board = nullptr;  // NcclDeviceSyncOptions::board
  // NcclCommunicatorOptions::reachable, of an axis' group; null also when a later one fails. May be empty.
  std::function<void(MeshAxis, Communicator*)> reachable = {};
};

// The groups that this rank's GPU is in; null: it is alone on this axis.
struct DeviceGroups {
  std::unique_ptr<NcclDeviceSync> data = nullptr;
  std::unique_ptr<NcclDeviceSync> pipeline = nullptr;
  std::unique_ptr<NcclDeviceSync> tensor = nullptr;

  DeviceAxes axes() const { return {.data = data.get(), .pipeline = pipeline.get(), .tensor = tensor.get()}; }
  absl::Duration waiting() const;  // of all
  void Abort(std::string_view reason);
  // NcclCommunicator::Close of all; the first error, or DEADLINE_EXCEEDED where one says that.
  absl::Status Close(absl::Duration timeout);
};

struct ConnectedDevices {
  DeviceGroups groups = {};
  std::string shared = {};  // "ranks 0 and 1 share GPU-...": then there are no groups, because NCCL refuses that
};

// Collective over `host`, the group of all ranks.
// FAILED_PRECONDITION, on all ranks: names one that has no NCCL, and why. Others: Communicator, NcclCommunicator::Create.
absl::StatusOr<ConnectedDevices> ConnectDevices(const DeviceConnection& own, Communicator& host, Rendezvous& rendezvous,
                                                const Clock& clock);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_PARALLEL_CONNECT_DEVICES_H_
