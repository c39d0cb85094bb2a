// Operations with a part for each peer, and sends and receives: a byte stream through shared memory for every ordered pair of
// ranks. Messages begin at multiples of 64 bytes. A message of a send, and of an all-to-all with counts of its own for each pair,
// has a header of 64 bytes: its sender's call.
#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "collectives/reduce.h"
#include "collectives/shm/shm_communicator.h"

namespace ringmaster {
namespace {

constexpr size_t kUnit = 64;
constexpr size_t kStep = 32 << 10;  // bytes after which the other side hears of them

size_t Padded(size_t bytes) { return (bytes + kUnit - 1) / kUnit * kUnit; }

struct Header {
  shm::PostedCall call;
  char padding[kUnit - sizeof(shm::PostedCall)] = {};
};
static_assert(sizeof(Header) == kUnit);

size_t Filled(const shm::Ring& ring) {
  return static_cast<size_t>(ring.head.load(std::memory_order_acquire) - ring.tail.load(std::memory_order_acquire));
}

}  // namespace

void ShmCommunicator::ClearStreams() {
  for (auto* streams : {&writes_, &reads_}) {
    for (Stream& stream : *streams) {
      stream.pieces.clear();
      stream.next = stream.done = 0;
    }
  }
}

void ShmCommunicator::Announce(Stream& stream, const Call& call) {
  stream.pieces.push_back({.bytes = sizeof(Header), .announces = &call});
}

// True when a byte moved.
bool ShmCommunicator::WriteRing(int peer) {
  Stream& stream = writes_[static_cast<size_t>(peer)];
  shm::Ring& ring = segment_.ring(rank(), peer);
  char* const data = segment_.ring_data(rank(), peer);
  const size_t capacity = segment_.sizes().ring_bytes;
  bool moved = false;
  while (!stream.complete()) {
    const size_t room = capacity - Filled(ring);
    if (room == 0) break;
    const Piece& piece = stream.pieces[stream.next];
    const uint64_t head = ring.head.load(std::memory_order_relaxed);
    const size_t at = static_cast<size_t>(head % capacity);
    const size_t bytes = std::min({room, capacity - at, kStep, piece.bytes - stream.done});
    if (piece.announces != nullptr) {
      const Header header{.call = {.what = shm::PackWhat(*piece.announces), .count = piece.announces->count}};
      std::memcpy(data + at, &header, sizeof(header));
      if (piece.announces->operation == Operation::kSend) {
        ++sent_[static_cast<size_t>(peer)];
        sent_since_post_ = true;
      }
    } else if (bytes > 0) {
      std::memcpy(data + at, piece.data + stream.done, bytes);
    }
    stream.done += bytes;
    moved = true;
    if (stream.done == piece.bytes) {
      ++stream.next;
      stream.done = 0;
    }
    sync_.Publish(ring.head, head + Padded(bytes));
  }
  return moved;
}

bool ShmCommunicator::ReadRing(int peer) {
  Stream& stream = reads_[static_cast<size_t>(peer)];
  shm::Ring& ring = segment_.ring(peer, rank());
  const char* const data = segment_.ring_data(peer, rank());
  const size_t capacity = segment_.sizes().ring_bytes;
  bool moved = false;
  while (!stream.complete()) {
    const size_t filled = Filled(ring);
    if (filled == 0) break;
    const Piece& piece = stream.pieces[stream.next];
    const uint64_t tail = ring.tail.load(std::memory_order_relaxed);
    const size_t at = static_cast<size_t>(tail % capacity);
    const size_t bytes = std::min({filled, capacity - at, kStep, piece.bytes - stream.done});
    if (piece.announces != nullptr) {
      if (!AcceptHeader(peer, *piece.announces, data + at)) return false;
    } else if (bytes > 0) {
      std::memcpy(piece.data + stream.done, data + at, bytes);
    }
    stream.done += bytes;
    moved = true;
    if (stream.done == piece.bytes) {
      ++stream.next;
      stream.done = 0;
    }
    sync_.Publish(ring.tail, tail + Padded(bytes));
  }
  return moved;
}

bool ShmCommunicator::AcceptHeader(int peer, const Call& call, const char* header) {
  Header theirs;
  std::memcpy(&theirs, header, sizeof(theirs));
  const uint64_t type_mask = 0xff00;
  if (((theirs.call.what ^ shm::PackWhat(call)) & type_mask) == 0 && theirs.call.count == call.count) {
    if (call.operation == Operation::kReceive) ++received_[static_cast<size_t>(peer)];
    return true;
  }
  header_refused_ = true;
  return sync_.Break(
      shm::Cause::kMismatch, peer,
      absl::StrCat("rank ", rank(), " called ", Describe(call), ", ", sync_.NameOf(peer), " called ", Describe(theirs.call),
                   ": it gives ", theirs.call.count, " elements where rank ", rank(), " takes ", call.count));
}

// The call whose message lies first in a ring.
shm::PostedCall ShmCommunicator::OldestMessage(int from, int to) const {
  const uint64_t tail = segment_.ring(from, to).tail.load(std::memory_order_acquire);
  Header header;
  std::memcpy(&header, segment_.ring_data(from, to) + tail % segment_.sizes().ring_bytes, sizeof(header));
  return header.call;
}

bool ShmCommunicator::PumpStreams(bool with_receives) {
  bool moved = false;
  for (int step = 1; step < size(); ++step) {
    const int peer = (rank() + step) % size();
    moved = WriteRing(peer) || moved;
    if (with_receives) moved = ReadRing(peer) || moved;
  }
  return moved;
}

// Until a ring has moved that this rank waits for; `all_at_once`: what arrives is of use only when all peers have sent some.
bool ShmCommunicator::AwaitStreams(bool all_at_once) {
  uint64_t receiving = 0, sending = 0;
  for (int peer = 0; peer < size(); ++peer) {
    if (!reads_[static_cast<size_t>(peer)].complete()) receiving |= uint64_t{1} << peer;
    if (!writes_[static_cast<size_t>(peer)].complete()) sending |= uint64_t{1} << peer;
  }
  const auto movable = [&] {
    uint64_t filled = 0;
    for (int peer = 0; peer < size(); ++peer) {
      const uint64_t bit = uint64_t{1} << peer;
      if ((sending & bit) != 0 && Filled(segment_.ring(rank(), peer)) < segment_.sizes().ring_bytes) return true;
      if ((receiving & bit) != 0 && Filled(segment_.ring(peer, rank())) > 0) filled |= bit;
    }
    return all_at_once ? receiving != 0 && filled == receiving : filled != 0;
  };
  return sync_.AwaitRings(movable, receiving, sending);
}

bool ShmCommunicator::FinishStreams() {
  const auto complete = [](const std::vector<Stream>& streams) {
    return std::all_of(streams.begin(), streams.end(), [](const Stream& stream) { return stream.complete(); });
  };
  while (true) {
    const bool moved = PumpStreams(/*with_receives=*/true);
    if (complete(writes_) && complete(reads_)) return true;
    if (header_refused_) [[unlikely]]
      return false;
    if (!moved && !AwaitStreams(/*all_at_once=*/false)) return false;
  }
}

// Gather, scatter and all-to-all: all ranks have posted.
bool ShmCommunicator::ExchangeParts(const Call& call) {
  const size_t element = BytesPerElement(call.type);
  const size_t part = static_cast<size_t>(call.count) * element;
  char* const send = static_cast<char*>(const_cast<void*>(call.send));
  char* const receive = static_cast<char*>(call.receive);
  const bool is_root = rank() == call.root;
  const bool is_v = call.operation == Operation::kAllToAllV;
  std::vector<Call> announced(is_v ? 2 * static_cast<size_t>(size()) : 0, call);
  ClearStreams();
  size_t send_begin = 0, receive_begin = 0;
  for (int peer = 0; peer < size(); ++peer) {
    const auto index = static_cast<size_t>(peer);
    Piece out, in;
    switch (call.operation) {
      case Operation::kGather:
        if (peer == call.root) out = {send, part};
        if (is_root) in = {receive + part * index, part};
        break;
      case Operation::kScatter:
        if (is_root) out = {send + part * index, part};
        if (peer == call.root) in = {receive, part};
        break;
      case Operation::kAllToAll:
        out = {send + part * index, part};
        in = {receive + part * index, part};
        break;
      default:  // kAllToAllV
        out = {send + send_begin, static_cast<size_t>(call.send_counts[index]) * element};
        in = {receive + receive_begin, static_cast<size_t>(call.receive_counts[index]) * element};
        send_begin += out.bytes;
        receive_begin += in.bytes;
    }
    if (peer == rank()) {
      if (is_v && out.bytes != in.bytes) {
        return sync_.Break(shm::Cause::kMismatch, rank(),
                           absl::StrCat("rank ", rank(), " called ", Describe(call), " with ", call.send_counts[index],
                                        " elements for itself and ", call.receive_counts[index], " from itself"));
      }
      if (out.bytes > 0 && in.bytes > 0 && out.data != in.data) std::memcpy(in.data, out.data, in.bytes);
      continue;
    }
    if (is_v) {
      Call& sent = announced[2 * index] = {.operation = call.operation, .type = call.type, .count = call.send_counts[index]};
      Call& expected =
          announced[2 * index + 1] = {.operation = call.operation, .type = call.type, .count = call.receive_counts[index]};
      Announce(writes_[index], sent);
      Announce(reads_[index], expected);
    }
    if (out.bytes > 0) writes_[index].pieces.push_back(out);
    if (in.bytes > 0) reads_[index].pieces.push_back(in);
  }
  return FinishStreams();
}

// Reduce-scatter: every rank sends each other its part, and adds what arrives in rank order, as far as all have come.
bool ShmCommunicator::ReduceParts(const Call& call) {
  const size_t element = BytesPerElement(call.type);
  const size_t capacity = segment_.sizes().ring_bytes;
  char* const send = static_cast<char*>(const_cast<void*>(call.send));
  ClearStreams();
  const Range mine = PartOf(call, rank());
  for (int peer = 0; peer < size(); ++peer) {
    const Range part = PartOf(call, peer);
    const auto index = static_cast<size_t>(peer);
    if (peer == rank()) continue;
    if (part.bytes > 0) writes_[index].pieces.push_back({send + part.begin, part.bytes});
    if (mine.bytes > 0) reads_[index].pieces.push_back({nullptr, mine.bytes});  // counted below, read in the ring
  }
  const auto all_written = [&] {
    return std::all_of(writes_.begin(), writes_.end(), [](const Stream& stream) { return stream.complete(); });
  };
  size_t reduced = 0;
  while (reduced < mine.bytes || !all_written()) {
    bool moved = PumpStreams(/*with_receives=*/false);
    size_t ready = mine.bytes - reduced;
    for (int peer = 0; peer < size() && ready > 0; ++peer) {
      if (peer == rank()) continue;
      const shm::Ring& ring = segment_.ring(peer, rank());
      const size_t at = static_cast<size_t>(ring.tail.load(std::memory_order_relaxed) % capacity);
      ready = std::min({ready, Filled(ring), capacity - at, kStep});
    }
    if (ready > 0) {
      operands_.clear();
      for (int peer = 0; peer < size(); ++peer) {
        const shm::Ring& ring = segment_.ring(peer, rank());
        const size_t at = static_cast<size_t>(ring.tail.load(std::memory_order_relaxed) % capacity);
        operands_.push_back(peer == rank() ? send + mine.begin + reduced : segment_.ring_data(peer, rank()) + at);
      }
      void* const result = static_cast<char*>(call.receive) + reduced;
      ReduceInOrder(operands_, {&result, 1}, static_cast<int64_t>(ready / element), call.type, call.reduction);
      for (int peer = 0; peer < size(); ++peer) {
        if (peer == rank()) continue;
        shm::Ring& ring = segment_.ring(peer, rank());
        sync_.Publish(ring.tail, ring.tail.load(std::memory_order_relaxed) + Padded(ready));
      }
      reduced += ready;
      moved = true;
      if (reduced == mine.bytes) {
        for (Stream& stream : reads_) stream.next = stream.pieces.size();
      }
    }
    if (!moved && !AwaitStreams(/*all_at_once=*/true)) return false;
  }
  return true;
}

absl::Status ShmCommunicator::ExchangePointToPoint(std::span<const Call> calls, absl::Duration timeout) {
  if (!sync_.whole()) return sync_.status();
  sync_.Begin(calls.front(), /*collective=*/false, timeout, recorder());
  ClearStreams();
  for (const Call& call : calls) {
    const size_t bytes = static_cast<size_t>(call.count) * BytesPerElement(call.type);
    const bool sends = call.operation == Operation::kSend;
    Stream& stream = (sends ? writes_ : reads_)[static_cast<size_t>(call.root)];
    Announce(stream, call);
    char* const data = sends ? static_cast<char*>(const_cast<void*>(call.send)) : static_cast<char*>(call.receive);
    if (bytes > 0) stream.pieces.push_back({data, bytes});
  }
  if (!FinishStreams()) return sync_.status();
  sync_.Finish();
  return absl::OkStatus();
}

}  // namespace ringmaster
