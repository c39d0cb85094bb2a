// Operations that touch the peers' buffers themselves: read through the kernel (cross memory attach), or mapped (registered).
#include <errno.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "collectives/reduce.h"
#include "collectives/shm/shm_communicator.h"

namespace ringmaster {
namespace {

bool ReadProcess(int64_t pid, const char* from, char* to, size_t bytes) {
  while (bytes > 0) {
    const iovec local{to, bytes}, remote{const_cast<char*>(from), bytes};
    const ssize_t taken = process_vm_readv(static_cast<pid_t>(pid), &local, 1, &remote, 1, 0);
    if (taken <= 0) return false;
    to += taken;
    from += taken;
    bytes -= static_cast<size_t>(taken);
  }
  return true;
}

// Walks `bytes` in blocks, forward or backward: two operations on the same buffers go opposite ways, so that the second one begins
// with what the first one has left in the cache.
template <typename Body>
void InBlocks(size_t bytes, bool backward, const Body& body) {
  constexpr size_t kBlock = 32 << 10;
  const size_t blocks = (bytes + kBlock - 1) / kBlock;
  for (size_t index = 0; index < blocks; ++index) {
    const size_t begin = (backward ? blocks - 1 - index : index) * kBlock;
    body(begin, std::min(kBlock, bytes - begin));
  }
}

}  // namespace

// Can this rank read the word to which every peer points?
void ShmCommunicator::ProbeCrossMemory() {
#ifdef PR_SET_PTRACER
  prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);  // where the system lets only parents look; refused elsewhere
#endif
  bool works = true;
  for (int peer = 0; peer < size(); ++peer) {
    const shm::RankState& state = segment_.state(peer);
    const char* const from = state.send.load(std::memory_order_acquire);
    uint64_t word = 0;
    works = works && from != nullptr && ReadProcess(state.pid, from, reinterpret_cast<char*>(&word), sizeof(word)) &&
            word == kProbeWord;
  }
  if (!works) segment_.control().no_cross_memory.fetch_add(1);
}

// Of this process itself: the kernel does the same for any.
void ShmCommunicator::MeasureCrossMemory() {
  constexpr size_t kBytes = 128 << 10;
  std::vector<char> from(kBytes, 1), to(kBytes, 2);
  const auto least = [&](size_t bytes) {
    absl::Duration time = absl::InfiniteDuration();
    for (int round = 0; round < 5; ++round) {
      const absl::Time begin = clock_.Now();
      ReadProcess(getpid(), from.data(), to.data(), bytes);
      time = std::min(time, clock_.Now() - begin);
    }
    return absl::ToDoubleMicroseconds(time);
  };
  constants_.cross_memory_us = least(1);
  constants_.cross_memory_us_per_byte = std::max(0.0, least(kBytes) - constants_.cross_memory_us) / kBytes;
}

bool ShmCommunicator::ReadPeer(int peer, const char* from, char* to, size_t bytes) {
  if (ReadProcess(segment_.state(peer).pid, from, to, bytes)) return true;
  const int error = errno;
  if (error == ESRCH) {  // it has just died: its connection says so
    return sync_.AwaitUntil([] { return false; }, peer);
  }
  return sync_.Break(shm::Cause::kFailed, peer, absl::StrCat("reading the memory of ", sync_.NameOf(peer), ": ", strerror(error)));
}

bool ShmCommunicator::CrossMemoryAllReduce(const Call& call) {
  const size_t element = BytesPerElement(call.type);
  const size_t total = static_cast<size_t>(call.count) * element;
  const size_t piece = static_cast<size_t>(tuning_.cross_memory_piece) / static_cast<size_t>(size() - 1) / 64 * 64;
  const char* const send = static_cast<const char*>(call.send);
  char* const receive = static_cast<char*>(call.receive);
  if (scratch_.data() == nullptr) {
    auto made = AllocatePrivateBuffer(tuning_.cross_memory_piece);
    if (!made.ok()) return sync_.Break(shm::Cause::kFailed, rank(), std::string(made.status().message()));
    scratch_ = *std::move(made);
  }
  const Range mine = SliceOf({0, total}, rank());
  shm::RankState& state = segment_.state(rank());
  const uint64_t pieces = (SliceOf({0, total}, 0).bytes + piece - 1) / piece;
  const auto piece_of = [&](Range slice, uint64_t index) {
    const size_t begin = std::min(slice.bytes, static_cast<size_t>(index) * piece);
    return Range{slice.begin + begin, std::min(piece, slice.bytes - begin)};
  };
  const auto reduce = [&](uint64_t index) {
    const Range range = piece_of(mine, index);
    operands_.clear();
    char* scratch = static_cast<char*>(scratch_.data());
    for (int peer = 0; peer < size(); ++peer) {
      operands_.push_back(peer == rank() ? send + range.begin : scratch);
      if (peer == rank() || range.bytes == 0) continue;
      if (!ReadPeer(peer, segment_.state(peer).send.load(std::memory_order_relaxed) + range.begin, scratch, range.bytes))
        return false;
      scratch += piece;
    }
    void* const result = receive + range.begin;
    ReduceInOrder(operands_, {&result, 1}, static_cast<int64_t>(range.bytes / element), call.type, call.reduction);
    sync_.Publish(state.reduced, chunks_done_ + index + 1);
    return true;
  };
  // A peer's slice here is overwritten only after that peer has read this piece of it, and says so by `reduced`.
  const auto fetch = [&](uint64_t index) {
    for (int step = 1; step < size(); ++step) {
      const int peer = (rank() + step) % size();
      const Range range = piece_of(SliceOf({0, total}, peer), index);
      if (!sync_.Await(segment_.state(peer).reduced, chunks_done_ + index + 1, peer)) return false;
      const char* const from = segment_.state(peer).receive.load(std::memory_order_relaxed);
      if (range.bytes > 0 && !ReadPeer(peer, from + range.begin, receive + range.begin, range.bytes)) return false;
    }
    return true;
  };
  for (uint64_t index = 0; index < pieces; ++index) {
    if (!reduce(index)) return false;
    if (index > 0 && !fetch(index - 1)) return false;
  }
  if (!fetch(pieces - 1)) return false;
  Advance(pieces);
  for (int peer = 0; peer < size(); ++peer) {  // until all have read what is here
    if (peer != rank() && !sync_.Await(segment_.state(peer).consumed, chunks_done_, peer)) return false;
  }
  return true;
}

// `offsets`: of the buffers in the heap of every rank, see RegisteredOffsets. All ranks have posted, so all inputs are there.
bool ShmCommunicator::RegisteredOperation(const Call& call, uint64_t offsets) {
  const size_t of_send = static_cast<size_t>(offsets >> 32) * 64, of_receive = static_cast<size_t>(offsets & 0xffffffff) * 64;
  const auto heap = [&](int peer) { return memory_.heaps[static_cast<size_t>(peer)]; };
  const size_t element = BytesPerElement(call.type);
  if (call.operation == Operation::kAllGather) {
    char* const receive = static_cast<char*>(call.receive);
    const bool in_place = call.send == receive + PartOf(call, rank()).begin;
    for (int step = 0; step < size(); ++step) {
      const int peer = (rank() + step) % size();
      const Range part = PartOf(call, peer);
      const char* const from = heap(peer) + of_send + (in_place ? part.begin : 0);
      if (from != receive + part.begin) CopyInShares(receive + part.begin, from, part.bytes);
    }
  } else {
    const bool all_receive = call.operation == Operation::kAllReduce;
    const Range mine = all_receive ? SliceOf({0, static_cast<size_t>(call.count) * element}, rank()) : PartOf(call, rank());
    const bool backward = sync_.sequence() % 2 == 1;
    InShares(mine.bytes, [&](Range share) {
      std::array<const void*, shm::kMaxRanks> operands;
      std::array<void*, shm::kMaxRanks> results;
      const size_t ranks = static_cast<size_t>(size());
      InBlocks(share.bytes, backward, [&](size_t block, size_t bytes) {
        const size_t begin = share.begin + block;
        for (size_t peer = 0; peer < ranks; ++peer) {
          operands[peer] = memory_.heaps[peer] + of_send + mine.begin + begin;
          results[peer] = memory_.heaps[peer] + of_receive + mine.begin + begin;
        }
        if (!all_receive) results[0] = static_cast<char*>(call.receive) + begin;
        ReduceInOrder(std::span(operands).first(ranks), std::span(results).first(all_receive ? ranks : 1),
                      static_cast<int64_t>(bytes / element), call.type, call.reduction);
      });
    });
  }
  Advance(1);  // this rank touches no buffer of others any more
  for (int peer = 0; peer < size(); ++peer) {
    if (peer != rank() && !sync_.Await(segment_.state(peer).consumed, chunks_done_, peer)) return false;
  }
  return true;
}

}  // namespace ringmaster
