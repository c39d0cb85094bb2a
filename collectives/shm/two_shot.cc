// All-reduce (and reduce) of private buffers through staging areas: chunk by chunk, every rank stages what the others reduce,
// reduces its own slice of the chunk from all staging areas into its own one, and takes the other slices from there. Direct
// reduce-scatter, then direct all-gather (Patarasuk and Yuan 2009), with the steps of neighbouring chunks overlapping.
#include <algorithm>

#include "collectives/shm/shm_communicator.h"

namespace ringmaster {

// Slices begin at multiples of 64 bytes of the chunk: no two ranks write one cache line, no element is cut. Rank 0's is
// a longest one.
ShmCommunicator::Range ShmCommunicator::SliceOf(Range range, int rank) const {
  const size_t ranks = static_cast<size_t>(size());
  const size_t each = ((range.bytes + ranks - 1) / ranks + 63) / 64 * 64;
  const size_t begin = std::min(range.bytes, each * static_cast<size_t>(rank));
  return {range.begin + begin, std::min(each, range.bytes - begin)};
}

bool ShmCommunicator::TwoShotReduce(const Call& call) {
  const char* const send = static_cast<const char*>(call.send);
  char* const receive = static_cast<char*>(call.receive);
  const bool receives = call.operation == Operation::kAllReduce || rank() == call.root;
  const size_t total = static_cast<size_t>(call.count) * BytesPerElement(call.type);
  const size_t chunk_bytes = segment_.sizes().chunk_bytes;
  const uint64_t chunks = (total + chunk_bytes - 1) / chunk_bytes;
  shm::RankState& mine = segment_.state(rank());
  const auto range = [&](uint64_t chunk) {
    const size_t begin = static_cast<size_t>(chunk) * chunk_bytes;
    return Range{begin, std::min(chunk_bytes, total - begin)};
  };
  const auto stage = [&](uint64_t chunk) {
    const uint64_t number = chunks_done_ + chunk;
    if (number >= segment_.sizes().chunks) {
      for (int peer = 0; peer < size(); ++peer) {
        if (peer == rank()) continue;
        if (!sync_.Await(segment_.state(peer).consumed, number - segment_.sizes().chunks + 1, peer)) return false;
      }
    }
    const Range whole = range(chunk);
    char* const staging = segment_.staging(rank(), number);
    // All but this rank's own slice.
    const Range own = SliceOf(whole, rank());
    const size_t before = own.begin - whole.begin, behind = before + own.bytes;
    CopyInShares(staging, send + whole.begin, before);
    CopyInShares(staging + behind, send + whole.begin + behind, whole.bytes - behind);
    sync_.Publish(mine.staged, number + 1);
    return true;
  };
  const auto fetch = [&](uint64_t chunk) {
    const uint64_t number = chunks_done_ + chunk;
    const Range whole = range(chunk);
    for (int step = 1; step < size(); ++step) {
      const int peer = (rank() + step) % size();
      if (!sync_.Await(segment_.state(peer).reduced, number + 1, peer)) return false;
      const Range slice = SliceOf(whole, peer);
      if (receives && slice.bytes > 0) {
        CopyInShares(receive + slice.begin, segment_.staging(peer, number) + (slice.begin - whole.begin), slice.bytes);
      }
    }
    sync_.Publish(mine.consumed, number + 1);
    return true;
  };
  if (!stage(0)) return false;
  for (uint64_t chunk = 0; chunk < chunks; ++chunk) {
    if (chunk + 1 < chunks && !stage(chunk + 1)) return false;
    const Range whole = range(chunk);
    if (!ReduceChunk(call, SliceOf(whole, rank()), chunks_done_ + chunk, whole.begin)) return false;
    if (chunk > 0 && !fetch(chunk - 1)) return false;
  }
  if (!fetch(chunks - 1)) return false;
  chunks_done_ += chunks;
  return true;
}

// `slice` of the vector, which lies at slice.begin - chunk_begin in every staging area.
bool ShmCommunicator::ReduceChunk(const Call& call, Range slice, uint64_t chunk, size_t chunk_begin) {
  const bool receives = call.operation == Operation::kAllReduce || rank() == call.root;
  operands_.clear();
  for (int peer = 0; peer < size(); ++peer) {
    if (peer == rank()) {
      operands_.push_back(static_cast<const char*>(call.send) + slice.begin);
      continue;
    }
    if (!sync_.Await(segment_.state(peer).staged, chunk + 1, peer)) return false;
    operands_.push_back(segment_.staging(peer, chunk) + (slice.begin - chunk_begin));
  }
  results_.clear();
  results_.push_back(segment_.staging(rank(), chunk) + (slice.begin - chunk_begin));
  if (receives) results_.push_back(static_cast<char*>(call.receive) + slice.begin);
  ReduceInShares(operands_, results_, slice.bytes, call);
  sync_.Publish(segment_.state(rank()).reduced, chunk + 1);
  return true;
}

}  // namespace ringmaster
