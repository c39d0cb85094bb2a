#include "collectives/transport/mixed_transport.h"

#include <errno.h>
#include <fcntl.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "collectives/shm/file_passing.h"
#include "common/file_descriptor.h"
#include "common/status_macros.h"

namespace ringmaster {
namespace {

struct Greeting {
  uint64_t magic = 0x3130474e52'4d52;  // "RMRNG01"
  uint64_t ring_bytes = 0;
};

// Two rings, the one from the lower rank first; then the bytes of both.
size_t MemoryBytes(size_t ring_bytes) { return 2 * (sizeof(SharedRing) + ring_bytes); }

RingPlace PlaceOf(char* memory, size_t index, size_t ring_bytes) {
  return {.ring = reinterpret_cast<SharedRing*>(memory) + index,
          .data = memory + 2 * sizeof(SharedRing) + index * ring_bytes,
          .capacity = ring_bytes};
}

absl::StatusOr<FileDescriptor> MakeMemory(size_t bytes) {
  RM_ASSIGN_OR_RETURN(FileDescriptor file, shm::CreateMemoryFile("ringmaster-rings", bytes));
  // Missing memory is an error here and not a SIGBUS later.
  if (fallocate(file.get(), 0, 0, static_cast<off_t>(bytes)) != 0) {
    return absl::ResourceExhaustedError(absl::StrCat("no memory for rings of ", bytes, " bytes: ", strerror(errno)));
  }
  return file;
}

}  // namespace

bool MixedTransport::Link::Serves(const Interest& interest) const {
  const bool any = interest.send || interest.receive || interest.end;
  return (any && Gone()) || (interest.send && out.HasRoom()) || (interest.receive && in.HasBytes());
}

absl::StatusOr<std::unique_ptr<MixedTransport::Link>> MixedTransport::Share(int rank, int peer, const TcpPeer& end,
                                                                            size_t ring_bytes, absl::Time deadline,
                                                                            const Clock& clock) {
  const size_t bytes = MemoryBytes(ring_bytes);
  const Greeting greeting{.ring_bytes = ring_bytes};
  const std::span<const char> words(reinterpret_cast<const char*>(&greeting), sizeof(greeting));
  FileDescriptor file;
  if (rank < peer) {
    RM_ASSIGN_OR_RETURN(file, MakeMemory(bytes));
    const int given[] = {file.get()};
    RM_RETURN_IF_ERROR(shm::GiveFiles(end.socket.get(), end.name, words, given));
  } else {
    RM_ASSIGN_OR_RETURN(std::vector<FileDescriptor> files,
                        shm::TakeFiles(end.socket.get(), end.name, words, /*files=*/1, deadline, clock));
    RM_RETURN_IF_ERROR(shm::CheckMemoryFile(files[0], bytes));
    file = std::move(files[0]);
  }
  RM_ASSIGN_OR_RETURN(shm::SharedMapping memory, shm::SharedMapping::Map(file, bytes));
  const RingPlace up = PlaceOf(memory.data(), 0, ring_bytes), down = PlaceOf(memory.data(), 1, ring_bytes);
  return std::make_unique<Link>(
      Link{.memory = std::move(memory), .out = RingWriter(rank < peer ? up : down), .in = RingReader(rank < peer ? down : up)});
}

absl::StatusOr<std::unique_ptr<Transport>> MixedTransport::Create(int rank, std::vector<TcpPeer> peers,
                                                                  const MixedTransportOptions& options, Patience patience,
                                                                  absl::Duration timeout, const Clock& clock) {
  if (!std::has_single_bit(options.ring_bytes)) {
    return absl::InvalidArgumentError(absl::StrCat("rings of ", options.ring_bytes, " bytes: not a power of two"));
  }
  const absl::Time deadline = clock.Now() + timeout;
  const bool shares = std::any_of(peers.begin(), peers.end(), [](const TcpPeer& peer) { return peer.same_host; });
  if (!shares) {
    std::unique_ptr<JoinedCalls> joined;
    if (options.may_join_calls) joined = JoinedCalls::CreateWhereFaster(clock);
    return TcpTransport::Create(rank, std::move(peers), patience, std::move(joined));
  }
  Links links(peers.size());
  // Higher ranks first: giving does not wait, so nobody waits for a rank that itself waits.
  for (int peer = static_cast<int>(peers.size()) - 1; peer >= 0; --peer) {
    const TcpPeer& end = peers[static_cast<size_t>(peer)];
    if (peer == rank || !end.same_host) continue;
    RM_ASSIGN_OR_RETURN(links[static_cast<size_t>(peer)], Share(rank, peer, end, options.ring_bytes, deadline, clock));
  }
  RM_ASSIGN_OR_RETURN(std::unique_ptr<Transport> sockets, TcpTransport::Create(rank, std::move(peers), patience));
  return std::unique_ptr<Transport>(new MixedTransport(std::move(sockets), std::move(links)));
}

MixedTransport::MixedTransport(std::unique_ptr<Transport> sockets, Links links)
    : sockets_(std::move(sockets)), links_(std::move(links)), on_sockets_(links_.size()) {}

MixedTransport::~MixedTransport() {
  for (int peer = 0; peer < size(); ++peer) {
    if (peer != rank()) CloseSending(peer);
  }
}

// Bells are few: one for each time that a peer has said that it waits. The socket has room for them.
void MixedTransport::RingBell(int peer) {
  char bell = 1;
  const iovec part{&bell, 1};
  sockets_->Send(peer, {&part, 1});
}

void MixedTransport::TakeBells(int peer) {
  char bells[64];
  const iovec part{bells, sizeof(bells)};
  while (true) {
    const Transfer taken = sockets_->Receive(peer, {&part, 1});
    if (taken.closed) links_[static_cast<size_t>(peer)]->ended = true;
    if (taken.bytes == 0) return;
  }
}

Transfer MixedTransport::Send(int peer, std::span<const iovec> parts) {
  Link* const link = links_[static_cast<size_t>(peer)].get();
  if (link == nullptr) return sockets_->Send(peer, parts);
  // Who has closed may still read: of one that is gone this is known when nobody empties its ring.
  if (link->reset || (link->Gone() && !link->out.HasRoom())) return {.closed = true};
  return {.bytes = link->out.Write(parts, [&] { RingBell(peer); })};
}

Transfer MixedTransport::Receive(int peer, std::span<const iovec> parts) {
  Link* const link = links_[static_cast<size_t>(peer)].get();
  if (link == nullptr) return sockets_->Receive(peer, parts);
  const bool gone = link->Gone();  // asked first: what came before the end is in the ring by now
  if (link->Lost()) return {.closed = true};
  const size_t bytes = link->in.Read(parts, [&] { RingBell(peer); });
  return {.bytes = bytes, .closed = bytes == 0 && gone && !link->in.HasBytes()};
}

std::optional<std::string> MixedTransport::Remainder(int peer) {
  Link* const link = links_[static_cast<size_t>(peer)].get();
  if (link == nullptr) return sockets_->Remainder(peer);
  if (!link->Gone() && !sockets_->Remainder(peer).has_value()) return std::nullopt;
  link->ended = true;
  return link->Lost() ? std::string() : link->in.Peek();
}

// A rank says in its rings what it waits for, looks once more, and sleeps on the sockets: a peer that moves something after that
// look has seen that it waits, and rings.
void MixedTransport::Wait(std::span<const Interest> interests, absl::Duration timeout) {
  std::copy(interests.begin(), interests.end(), on_sockets_.begin());
  bool served = false;
  for (size_t peer = 0; peer < links_.size(); ++peer) {
    if (links_[peer] == nullptr) continue;
    Link& link = *links_[peer];
    if (interests[peer].receive) link.in.BeginWait();
    if (interests[peer].send) link.out.BeginWait();
    served |= link.Serves(interests[peer]);
    const bool rings = interests[peer].receive || interests[peer].send;
    on_sockets_[peer] = {.send = false, .receive = rings, .end = rings || interests[peer].end};
  }
  if (!served) sockets_->Wait(on_sockets_, timeout);
  for (size_t peer = 0; peer < links_.size(); ++peer) {
    if (links_[peer] == nullptr) continue;
    if (interests[peer].receive) links_[peer]->in.EndWait();
    if (interests[peer].send) links_[peer]->out.EndWait();
    if (!served && on_sockets_[peer].receive) TakeBells(static_cast<int>(peer));
  }
}

// What lies in the ring is in the peer's memory already.
bool MixedTransport::Delivered(int peer) const { return links_[static_cast<size_t>(peer)] != nullptr || sockets_->Delivered(peer); }

void MixedTransport::Reset(int peer) {
  if (Link* const link = links_[static_cast<size_t>(peer)].get(); link != nullptr) {
    link->out.End(RingEnd::kReset);
    link->ended = link->reset = true;
  }
  sockets_->Reset(peer);
}

void MixedTransport::CloseSending(int peer) {
  if (Link* const link = links_[static_cast<size_t>(peer)].get(); link != nullptr) link->out.End(RingEnd::kClosed);
  sockets_->CloseSending(peer);
}

}  // namespace ringmaster
