// All-reduce of private buffers between two ranks: each stages its vector, chunk by chunk, and adds the other's to its own from
// there. The lines that move from core to core are those of two shot, in one step instead of two (recursive doubling for two ranks:
// Thakur, Rabenseifner and Gropp 2005, "Optimization of collective communication operations in MPICH").
#include <algorithm>
#include <array>

#include "collectives/shm/shm_communicator.h"

namespace ringmaster {

bool ShmCommunicator::PairExchange(const Call& call) {
  const char* const send = static_cast<const char*>(call.send);
  char* const receive = static_cast<char*>(call.receive);
  const size_t total = static_cast<size_t>(call.count) * BytesPerElement(call.type);
  const size_t chunk_bytes = segment_.sizes().chunk_bytes;
  const uint64_t chunks = (total + chunk_bytes - 1) / chunk_bytes, slots = segment_.sizes().chunks;
  const int peer = 1 - rank();
  shm::RankState& mine = segment_.state(rank());
  const shm::RankState& theirs = segment_.state(peer);
  const auto range = [&](uint64_t chunk) {
    const size_t begin = static_cast<size_t>(chunk) * chunk_bytes;
    return Range{begin, std::min(chunk_bytes, total - begin)};
  };
  const auto stage = [&](uint64_t chunk) {
    const uint64_t number = chunks_done_ + chunk;
    if (number >= slots && !sync_.Await(theirs.consumed, number - slots + 1, peer)) return false;
    const Range own = range(chunk);
    CopyInShares(segment_.staging(rank(), number), send + own.begin, own.bytes);
    sync_.Publish(mine.staged, number + 1);
    return true;
  };
  if (chunks > 0 && !stage(0)) return false;
  for (uint64_t chunk = 0; chunk < chunks; ++chunk) {
    if (chunk + 1 < chunks && !stage(chunk + 1)) return false;
    const uint64_t number = chunks_done_ + chunk;
    if (!sync_.Await(theirs.staged, number + 1, peer)) return false;
    const Range part = range(chunk);
    std::array<const void*, 2> operands{};
    operands[static_cast<size_t>(rank())] = send + part.begin;
    operands[static_cast<size_t>(peer)] = segment_.staging(peer, number);
    void* const result = receive + part.begin;
    ReduceInShares(operands, {&result, 1}, part.bytes, call);
    sync_.Publish(mine.consumed, number + 1);
  }
  Advance(chunks);
  return true;
}

}  // namespace ringmaster
