// Operations in which a rank has the same bytes for all others: all-gather and broadcast, chunk by chunk through staging areas.
#include <algorithm>

#include "collectives/shm/shm_communicator.h"

namespace ringmaster {

bool ShmCommunicator::PublishParts(const Call& call) {
  const bool is_broadcast = call.operation == Operation::kBroadcast;
  const char* const send = static_cast<const char*>(call.send);
  char* const receive = static_cast<char*>(call.receive);
  const size_t chunk_bytes = segment_.sizes().chunk_bytes;
  const auto part = [&](int peer) -> Range {
    if (!is_broadcast) return PartOf(call, peer);
    return {0, peer == call.root ? static_cast<size_t>(call.count) * BytesPerElement(call.type) : 0};
  };
  size_t longest = 0;
  for (int peer = 0; peer < size(); ++peer) longest = std::max(longest, part(peer).bytes);
  const uint64_t chunks = (longest + chunk_bytes - 1) / chunk_bytes;
  const Range own = part(rank());
  if (receive + own.begin != send) CopyInShares(receive + own.begin, send, own.bytes);
  const auto length = [&](const Range& range, uint64_t chunk) {
    const size_t begin = std::min(range.bytes, static_cast<size_t>(chunk) * chunk_bytes);
    return std::min(chunk_bytes, range.bytes - begin);
  };
  shm::RankState& mine = segment_.state(rank());
  const auto stage = [&](uint64_t chunk) {
    const size_t bytes = chunk < chunks ? length(own, chunk) : 0;
    if (bytes == 0) return true;
    const uint64_t number = chunks_done_ + chunk;
    for (int peer = 0; number >= segment_.sizes().chunks && peer < size(); ++peer) {
      if (peer == rank()) continue;
      if (!sync_.Await(segment_.state(peer).consumed, number - segment_.sizes().chunks + 1, peer)) return false;
    }
    CopyInShares(segment_.staging(rank(), number), send + static_cast<size_t>(chunk) * chunk_bytes, bytes);
    sync_.Publish(mine.staged, number + 1);
    return true;
  };
  if (!stage(0)) return false;
  for (uint64_t chunk = 0; chunk < chunks; ++chunk) {
    if (!stage(chunk + 1)) return false;
    const uint64_t number = chunks_done_ + chunk;
    for (int step = 1; step < size(); ++step) {
      const int peer = (rank() + step) % size();
      const Range range = part(peer);
      const size_t bytes = length(range, chunk);
      if (bytes == 0) continue;
      if (!sync_.Await(segment_.state(peer).staged, number + 1, peer)) return false;
      CopyInShares(receive + range.begin + static_cast<size_t>(chunk) * chunk_bytes, segment_.staging(peer, number), bytes);
    }
    sync_.Publish(mine.consumed, number + 1);
  }
  Advance(chunks);
  return true;
}

}  // namespace ringmaster
