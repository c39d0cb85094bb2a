#include "trainer/parallel/connect_devices.h"

#include <algorithm>
#include <cstring>
#include <map>
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

}  // namespace

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
  RM_ASSIGN_OR_RETURN(
      std::unique_ptr<NcclCommunicator> communicator,
      NcclCommunicator::Create({.rank = host.rank(), .size = host.size(), .device = own.device, .reachable = own.reachable},
                               **own.nccl, rendezvous, deadline - clock.Now(), clock));
  return ConnectedDevices{.communicator = std::move(communicator)};
}

}  // namespace ringmaster::trainer
