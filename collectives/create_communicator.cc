#include "collectives/create_communicator.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "collectives/channels/channels_communicator.h"
#include "collectives/selection/calibrate.h"
#include "collectives/shm/memory_exchange.h"
#include "collectives/transport/mixed_transport.h"
#include "common/status_macros.h"
#include "common/usable_cores.h"

namespace ringmaster {
namespace {

// What this rank may use of its host.
class Cores {
 public:
  explicit Cores(const CommunicatorOptions& options) : options_(options), usable_(ringmaster::UsableCores()) {}

  double ranks_per_core(int ranks) const { return static_cast<double>(ranks) / usable_; }
  bool AreShared(int ranks) const { return ranks > usable_; }

  // How many shares a rank cuts large vectors into.
  int Shares(int ranks) const {
    constexpr int kMostByThemselves = 8;
    if (options_.channels != 0) return options_.channels;
    if (options_.sleeps_at_once || !options_.calibrate) return 1;
    return std::clamp(usable_ / std::max(1, ranks * options_.threads_per_rank), 1, kMostByThemselves);
  }

 private:
  const CommunicatorOptions& options_;
  const int usable_;
};

// The connections of a group that chooses for itself take a quarter of the descriptors that this process may have.
int ChannelsWithinDescriptors(int ranks) {
  rlimit descriptors{};
  if (getrlimit(RLIMIT_NOFILE, &descriptors) != 0) return 1;
  const auto channels = descriptors.rlim_cur / 4 / static_cast<rlim_t>(std::max(1, ranks));
  return static_cast<int>(std::clamp<rlim_t>(channels, 1, kMostChannels));
}

// Waking a sleeping core costs about 36 us, so a core of our own is worth a longer wait than any transfer inside a step takes. With
// more threads than cores a spinning one would keep the one it waits for from running.
Patience PatienceOverSockets(const CommunicatorOptions& options, const Cores& cores, int channels) {
  if (options.sleeps_at_once) return {.time = absl::ZeroDuration(), .yield = false};
  if (!cores.AreShared(options.ranks_on_host * channels)) return {.time = absl::Milliseconds(1), .yield = false};
  return {.time = absl::Microseconds(200), .yield = true};
}

absl::StatusOr<std::unique_ptr<Communicator>> OverSharedMemory(const CommunicatorOptions& options, const Cores& cores,
                                                               std::vector<TcpPeer> peers, absl::Duration timeout,
                                                               const Clock& clock) {
  std::vector<int> numbers;
  std::vector<FileDescriptor> sockets;
  ShmCommunicatorOptions shm;
  shm.sync.rank = options.mesh.rank;
  shm.tuning = options.shm;
  for (TcpPeer& peer : peers) {
    numbers.push_back(peer.socket.get());
    shm.sync.names.push_back(peer.name);
    sockets.push_back(std::move(peer.socket));
  }
  const int ranks = std::max(options.ranks_on_host, options.mesh.size);
  shm.sync.share_cores = cores.AreShared(ranks);
  shm.helpers = cores.Shares(ranks) - 1;
  if (shm.sync.share_cores) shm.sync.patience = absl::Microseconds(30);
  RM_ASSIGN_OR_RETURN(shm::GroupMemory memory, shm::ExchangeMemory({.rank = options.mesh.rank}, numbers, timeout, clock));
  return ShmCommunicator::Create(std::move(memory), std::move(sockets), clock, std::move(shm), timeout);
}

// What has arrived is added while it lies in the second-level cache, of which a rank with a core of its own can use more.
uint32_t StageBytes(bool shares_cores) {
  constexpr long kLeast = 256 << 10, kMost = 1 << 20;
  const long cache = sysconf(_SC_LEVEL2_CACHE_SIZE);
  return std::bit_floor(static_cast<uint32_t>(shares_cores ? kLeast : std::clamp(cache / 4, kLeast, kMost)));
}

// The ends of one channel: a socket of each peer.
std::vector<TcpPeer> TakeChannel(std::vector<TcpPeer>& peers, size_t channel) {
  std::vector<TcpPeer> taken;
  for (TcpPeer& peer : peers) {
    FileDescriptor none;
    FileDescriptor& socket = channel == 0                          ? peer.socket
                             : channel <= peer.more_sockets.size() ? peer.more_sockets[channel - 1]
                                                                   : none;
    taken.push_back({.socket = std::move(socket), .name = peer.name, .same_host = peer.same_host});
  }
  return taken;
}

absl::StatusOr<std::unique_ptr<Communicator>> OverStreams(const CommunicatorOptions& options, const Cores& cores,
                                                          std::vector<TcpPeer> peers, absl::Duration timeout, const Clock& clock) {
  const absl::Time deadline = clock.Now() + timeout;
  const int rank = options.mesh.rank;
  const auto neighbour = std::find_if(peers.begin(), peers.end(), [](const TcpPeer& peer) { return peer.same_host; });
  const int host = std::min(rank, static_cast<int>(neighbour - peers.begin()));             // the lowest rank of this host
  const size_t channels = 1 + peers[rank == 0 ? peers.size() - 1 : 0].more_sockets.size();  // any peer's
  const Patience patience = PatienceOverSockets(options, cores, static_cast<int>(channels));
  HostCommunicatorOptions host_options = options.host;
  host_options.stage_bytes = StageBytes(cores.AreShared(options.ranks_on_host));
  ChannelsCommunicator::Channels made;
  for (size_t channel = 0; channel < channels; ++channel) {
    // Only small vectors of two ranks are exchanged at once, and small vectors use the first channel.
    const MixedTransportOptions transport_options{.may_join_calls = peers.size() == 2 && channel == 0};
    RM_ASSIGN_OR_RETURN(
        std::unique_ptr<Transport> transport,
        MixedTransport::Create(rank, TakeChannel(peers, channel), transport_options, patience, deadline - clock.Now(), clock));
    made.push_back(std::make_unique<HostCommunicator>(std::move(transport), clock, host_options));
  }
  std::optional<selection::Calibration> calibration;
  if (options.calibrate && peers.size() > 1) {
    RM_ASSIGN_OR_RETURN(calibration, selection::Calibrate(*made[0],
                                                          {.host = host,
                                                           .ranks_per_core = cores.ranks_per_core(options.ranks_on_host),
                                                           .cache_directory = options.constants_directory,
                                                           .machine = absl::StrCat(HostIdentity(), " ", options.mesh.listen_address,
                                                                                   " ", cores.AreShared(options.ranks_on_host))},
                                                          deadline - clock.Now(), clock));
  }
  if (channels == 1) {
    if (calibration.has_value()) made[0]->Tune(*std::move(calibration));
    return std::move(made[0]);
  }
  auto together = std::make_unique<ChannelsCommunicator>(std::move(made), options.channel_share_bytes, patience.time, clock);
  together->Start();
  if (options.channels == 0) RM_RETURN_IF_ERROR(together->KeepFastest(deadline - clock.Now()));
  if (calibration.has_value()) together->Tune(*calibration);
  return together;
}

// A new group of some of this one's ranks: the same options, other numbers.
Communicator::Regroup RegroupWith(const CommunicatorOptions& parent, Rendezvous& rendezvous, const Clock& clock) {
  return [parent, &rendezvous, &clock](std::span<const int> members, const std::string& name, absl::Duration timeout) {
    CommunicatorOptions child = parent;
    child.mesh.group = absl::StrCat(parent.mesh.group, "/", name);
    child.mesh.size = static_cast<int>(members.size());
    child.mesh.members.clear();
    for (size_t index = 0; index < members.size(); ++index) {
      if (members[index] == parent.mesh.rank) child.mesh.rank = static_cast<int>(index);
      child.mesh.members.push_back(parent.mesh.members.empty() ? members[index]
                                                               : parent.mesh.members[static_cast<size_t>(members[index])]);
    }
    return CreateCommunicator(child, rendezvous, timeout, clock);
  };
}

}  // namespace

absl::StatusOr<std::unique_ptr<Communicator>> CreateCommunicator(const CommunicatorOptions& options, Rendezvous& rendezvous,
                                                                 absl::Duration timeout, const Clock& clock) {
  const absl::Time deadline = clock.Now() + timeout;
  TcpMeshOptions mesh = options.mesh;
  const Cores cores(options);
  mesh.channels = cores.Shares(options.ranks_on_host);
  if (options.channels == 0) mesh.channels = std::min(mesh.channels, ChannelsWithinDescriptors(mesh.size));
  if (options.transport == TransportChoice::kTcp) {
    mesh.host_identity.clear();
  } else if (mesh.host_identity.empty()) {
    mesh.host_identity = HostIdentity();
  }
  std::vector<TcpPeer> peers(1);
  if (mesh.size != 1) {
    RM_ASSIGN_OR_RETURN(peers, ConnectTcpMesh(mesh, rendezvous, timeout, clock));
  }
  const auto elsewhere = [&](const TcpPeer& peer) { return &peer != &peers[static_cast<size_t>(mesh.rank)] && !peer.same_host; };
  const auto remote = std::find_if(peers.begin(), peers.end(), elsewhere);
  std::unique_ptr<Communicator> made;
  const bool fits = mesh.size <= shm::kMaxRanks;
  if (mesh.size > 1 && remote == peers.end() && fits) {
    RM_ASSIGN_OR_RETURN(made, OverSharedMemory(options, cores, std::move(peers), deadline - clock.Now(), clock));
  } else if (mesh.size > 1 && options.transport == TransportChoice::kShm) {
    return absl::FailedPreconditionError(absl::StrCat(
        "shared memory was asked for, and ",
        fits ? absl::StrCat(remote->name, " does not share this host's network namespace")
             : absl::StrCat(mesh.size, " ranks are more than the ", shm::kMaxRanks, " that one host's group can have")));
  } else {
    RM_ASSIGN_OR_RETURN(made, OverStreams(options, cores, std::move(peers), deadline - clock.Now(), clock));
  }
  made->set_regroup(RegroupWith(options, rendezvous, clock));
  return made;
}

}  // namespace ringmaster
