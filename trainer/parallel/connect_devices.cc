#include "trainer/parallel/connect_devices.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace ringmaster::trainer {
namespace {

// What ranks tell each other. Texts end with a zero and are cut where they are too long.
struct Introduction {
  char device[64] = {};
  char missing[448] = {};  // why there is no NCCL; empty: there is
};

template <size_t kRoom>
void Write(absl::string_view text, char (&to)[kRoom]) {
  std::memcpy(to, text.data(), std::min(text.size(), kRoom - 1));
}

class Connector {
 public:
  Connector(const DeviceConnection& own, int rank, Rendezvous& rendezvous, absl::Time deadline, const Clock& clock)
      : own_(own), place_(PlaceOf(rank, own.mesh)), rendezvous_(rendezvous), deadline_(deadline), clock_(clock) {}

  // One axis behind the other, in the same order on all ranks: who waits for a group waits for ranks that come to it next.
  absl::StatusOr<DeviceGroups> ConnectAll() {
    DeviceGroups groups;
    const MeshShape& mesh = own_.mesh;
    absl::Status status =
        Connect({MeshAxis::kTensor, "tensor", ColourOnTensor(place_, mesh), place_.tensor, mesh.tensor}, groups.tensor);
    if (status.ok()) {
      status = Connect({MeshAxis::kPipeline, "pipeline", ColourOnPipeline(place_, mesh), place_.pipeline, mesh.pipeline},
                       groups.pipeline);
    }
    if (status.ok()) {
      status = Connect({MeshAxis::kData, "data", ColourOnData(place_, mesh), place_.data, mesh.data}, groups.data);
    }
    if (status.ok()) return groups;
    // The end of a group whose ranks are all well is collective; theirs may not come to it.
    groups.Abort(std::string(status.message()));
    for (const auto& [axis, sync] :
         {std::pair(MeshAxis::kTensor, groups.tensor.get()), std::pair(MeshAxis::kPipeline, groups.pipeline.get())}) {
      if (sync != nullptr && own_.reachable) own_.reachable(axis, nullptr);
    }
    return status;
  }

 private:
  struct Axis {
    MeshAxis axis;
    const char* name;
    int colour;
    int rank;
    int size;
  };

  absl::Status Connect(const Axis& axis, std::unique_ptr<NcclDeviceSync>& sync) {
    if (axis.size == 1) return absl::OkStatus();
    NcclCommunicatorOptions options = {
        .rank = axis.rank, .size = axis.size, .device = own_.device, .group = absl::StrCat(axis.name, ".", axis.colour)};
    if (own_.reachable) options.reachable = [tell = own_.reachable, of = axis.axis](Communicator* group) { tell(of, group); };
    RM_ASSIGN_OR_RETURN(std::unique_ptr<NcclCommunicator> communicator,
                        NcclCommunicator::Create(options, **own_.nccl, rendezvous_, deadline_ - clock_.Now(), clock_));
    // Stages of a pipeline exchange different things.
    const bool is_of_all_ranks = axis.size == own_.mesh.ranks() && axis.axis != MeshAxis::kPipeline;
    sync = std::make_unique<NcclDeviceSync>(std::move(communicator),
                                            NcclDeviceSyncOptions{.timeout = own_.timeout,
                                                                  .board = own_.board,
                                                                  .is_of_all_ranks = is_of_all_ranks,
                                                                  .shows_waits = own_.mesh.ranks_per_replica() > 1});
    return absl::OkStatus();
  }

  const DeviceConnection& own_;
  const MeshPlace place_;
  Rendezvous& rendezvous_;
  const absl::Time deadline_;
  const Clock& clock_;
};

}  // namespace

absl::Duration DeviceGroups::waiting() const {
  absl::Duration sum;
  for (const DeviceSync* const sync : {axes().data, axes().pipeline, axes().tensor}) {
    if (sync != nullptr) sum += sync->waiting();
  }
  return sum;
}

void DeviceGroups::Abort(std::string_view reason) {
  for (NcclDeviceSync* const sync : {data.get(), pipeline.get(), tensor.get()}) {
    if (sync != nullptr) sync->communicator().Abort(reason);
  }
}

absl::Status DeviceGroups::Close(absl::Duration timeout) {
  absl::Status first;
  for (NcclDeviceSync* const sync : {data.get(), pipeline.get(), tensor.get()}) {
    if (sync == nullptr) continue;
    absl::Status status = sync->communicator().Close(timeout);
    if (absl::IsDeadlineExceeded(status)) return status;
    first.Update(std::move(status));
  }
  return first;
}

absl::StatusOr<ConnectedDevices> ConnectDevices(const DeviceConnection& own, Communicator& host, Rendezvous& rendezvous,
                                                const Clock& clock) {
  const absl::Time deadline = clock.Now() + own.timeout;
  Introduction mine;
  Write(own.unique_name, mine.device);
  if (!own.nccl.ok()) Write(own.nccl.status().message(), mine.missing);
  std::vector<Introduction> all(static_cast<size_t>(host.size()));
  RM_RETURN_IF_ERROR(host.AllGather(&mine, all.data(), sizeof(Introduction), DataType::kU8, own.timeout));
  std::map<std::string, size_t> ranks;  // by device
  for (size_t rank = 0; rank < all.size(); ++rank) {
    all[rank].device[sizeof(mine.device) - 1] = all[rank].missing[sizeof(mine.missing) - 1] = '\0';
    const auto [other, is_new] = ranks.emplace(all[rank].device, rank);
    if (!is_new) {
      return ConnectedDevices{.shared = absl::StrCat("ranks ", other->second, " and ", rank, " share ", all[rank].device)};
    }
  }
  for (size_t rank = 0; rank < all.size(); ++rank) {
    if (all[rank].missing[0] == '\0') continue;
    return absl::FailedPreconditionError(
        absl::StrCat("GPUs exchange gradients through NCCL, which rank ", rank, " does not have: ", all[rank].missing));
  }
  Connector connector(own, host.rank(), rendezvous, deadline, clock);
  RM_ASSIGN_OR_RETURN(DeviceGroups groups, connector.ConnectAll());
  return ConnectedDevices{.groups = std::move(groups)};
}

}  // namespace ringmaster::trainer
