// Transport over sockets: one connected, non-blocking stream per peer; TCP, and Unix sockets between ranks of one host.
#ifndef RINGMASTER_COLLECTIVES_TRANSPORT_TCP_TRANSPORT_H_
#define RINGMASTER_COLLECTIVES_TRANSPORT_TCP_TRANSPORT_H_

#include <poll.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "collectives/transport/joined_calls.h"
#include "collectives/transport/transport.h"
#include "common/file_descriptor.h"

namespace ringmaster {

struct TcpPeer {
  FileDescriptor socket;                          // connected; not used for this rank itself
  std::string name;                               // "rank 3 (host h2, pid 812)"
  bool same_host = false;                         // then the socket is a Unix socket
  std::vector<FileDescriptor> more_sockets = {};  // for further transports between the same ranks (tcp_mesh.h, channels)
};

class TcpTransport final : public Transport {
 public:
  // `peers` by rank; `joined`: for Exchange, or null. Fails only when the system has no descriptor left (RESOURCE_EXHAUSTED).
  static absl::StatusOr<std::unique_ptr<Transport>> Create(int rank, std::vector<TcpPeer> peers, Patience patience,
                                                           std::unique_ptr<JoinedCalls> joined = nullptr);
  ~TcpTransport() override;

  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(peers_.size()); }
  std::string PeerName(int peer) const override { return peers_[peer].name; }
  Patience patience() const override { return patience_; }
  Transfer Send(int peer, std::span<const iovec> parts) override;
  Transfer Receive(int peer, std::span<const iovec> parts) override;
  Exchanged Exchange(int peer, const iovec& out, const iovec& in) override;
  std::optional<std::string> Remainder(int peer) override;
  void Wait(std::span<const Interest> interests, absl::Duration timeout) override;
  void Wake() override;
  bool Delivered(int peer) const override;
  void Reset(int peer) override;
  void CloseSending(int peer) override;

 private:
  TcpTransport(int rank, std::vector<TcpPeer> peers, Patience patience, std::unique_ptr<JoinedCalls> joined, FileDescriptor wake);

  const int rank_;
  const std::vector<TcpPeer> peers_;
  const Patience patience_;
  const std::unique_ptr<JoinedCalls> joined_;
  const FileDescriptor wake_;  // eventfd
  std::vector<pollfd> polled_;
};

}  // namespace ringmaster

#endif  // RINGMASTER_COLLECTIVES_TRANSPORT_TCP_TRANSPORT_H_
