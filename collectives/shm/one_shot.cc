// Operations whose operands fit into the slots of the posts: when all ranks have posted, everything is there.
#include <cstddef>
#include <cstring>

#include "collectives/reduce.h"
#include "collectives/shm/shm_communicator.h"
#include "common/check.h"

namespace ringmaster {
namespace {

// This core will write there soon: the others' copies of the line go at once.
void FetchForWriting(const char* line) {
#if defined(__x86_64__)
  asm volatile("prefetchw %0" ::"m"(*line));  // does nothing on processors that are too old for it
#else
  __builtin_prefetch(line, /*rw=*/1);
#endif
}

}  // namespace

bool ShmCommunicator::AllHavePosted() const {
  for (int step = 1; step < size(); ++step) {
    const int peer = (rank() + step) % size();
    if (segment_.slot(sync_.sequence(), peer).sequence.load(std::memory_order_acquire) < sync_.sequence()) return false;
  }
  return true;
}

// The rank whose staging area holds the result; -1: nobody has it yet.
int ShmCommunicator::WhoHasTheResult() const {
  const uint64_t result = segment_.control().result.load(std::memory_order_acquire);
  return result / shm::kMaxRanks == sync_.sequence() ? static_cast<int>(result % shm::kMaxRanks) : -1;
}

// What OneShot would do, in as few steps as there are: a tenth of a microsecond is much here.
//
// Ranks that share a core run one behind the other. The last one to post finds all operands there; it leaves the result in its
// staging area (which nobody reads any more: all have posted, so all are through with the operation before), and those whose turn
// comes later only copy it.
bool ShmCommunicator::SmallAllReduce(const Call& call) {
  const size_t bytes = static_cast<size_t>(call.count) * BytesPerElement(call.type);
  const uint64_t sequence = sync_.sequence();
  shm::Slot& mine = segment_.slot(sequence, rank());
  const uint64_t where = MayBeRegistered(call, Way::kOneShot) ? RegisteredOffsets(call) : kPrivate;
  const shm::PostedCall posted{.what = shm::PackWhat(call), .count = call.count, .where = where};
  const shm::PostedCall said = WithMessages(posted);  // not read again from the slot, which peers are about to fetch
  mine.call = said;
  if (bytes > 0 && where == kPrivate) std::memcpy(mine.data, call.send, bytes);
  sync_.Publish(mine.sequence, sequence);
  const bool share_cores = sync_.share_cores();
  if (share_cores && !AllHavePosted()) {
    if (!sync_.AwaitUntil([this] { return WhoHasTheResult() >= 0 || AllHavePosted(); }, /*peer=*/-1)) return false;
    if (const int owner = WhoHasTheResult(); owner >= 0) {
      if (bytes > 0) std::memcpy(call.receive, segment_.staging(owner, 0), bytes);
      return true;
    }
  }
  bool all_private = where == kPrivate;
  uint64_t has_sent = said.what & shm::kHasSent;
  operands_.resize(static_cast<size_t>(size()));
  for (int peer = 0; peer < size(); ++peer) {
    operands_[static_cast<size_t>(peer)] = call.send;
    if (peer == rank()) continue;
    const shm::Slot& theirs = segment_.slot(sequence, peer);
    if (!sync_.AwaitPost(peer, bytes)) [[unlikely]]
      return false;
    if (!SeesTheSame(peer, posted)) [[unlikely]]
      return Mismatch(peer);
    all_private = all_private && theirs.call.where == kPrivate;
    has_sent |= theirs.call.what & shm::kHasSent;
    operands_[static_cast<size_t>(peer)] = theirs.data;
  }
  if (!all_private) {
    return SameBuffersEverywhere(where) ? RegisteredOperation(call, where) : PrivateAllReduce(call);
  }
  // A message that has not been received is for every rank to find.
  if (share_cores && has_sent == 0 && bytes <= segment_.sizes().chunk_bytes) {
    void* const results[] = {call.receive, segment_.staging(rank(), 0)};
    ReduceInOrder(operands_, results, call.count, call.type, call.reduction);
    segment_.control().result.store(sequence * shm::kMaxRanks + static_cast<uint64_t>(rank()), std::memory_order_release);
    return true;
  }
  FetchNextSlot(bytes);
  void* const result = call.receive;
  ReduceInOrder(operands_, {&result, 1}, call.count, call.type, call.reduction);
  return true;
}

// All have posted, so everyone has read what lies in the slot of this rank's next post: if that is like this one, its lines are
// fetched for writing while the rank is busy elsewhere. One line alone would be lost to who waits before the others are written.
void ShmCommunicator::FetchNextSlot(size_t bytes) const {
  if (static_cast<int64_t>(bytes) > tuning_.one_shot_bytes) return;
  const char* const begin = reinterpret_cast<const char*>(&segment_.slot(sync_.sequence() + 1, rank()));
  for (size_t at = 0; at < offsetof(shm::Slot, data) + bytes; at += sizeof(shm::Slot)) FetchForWriting(begin + at);
}

bool ShmCommunicator::OneShot(const Call& call, const shm::PostedCall& posted) {
  const size_t element = BytesPerElement(call.type);
  const size_t part = static_cast<size_t>(call.count) * element;
  const char* const send = static_cast<const char*>(call.send);
  char* const receive = static_cast<char*>(call.receive);
  const auto data = [&](int peer) -> const char* { return segment_.slot(sync_.sequence(), peer).data; };
  // result = reduction of the operands' bytes from `begin`.
  const auto reduce = [&](size_t begin, size_t bytes) {
    operands_.clear();
    for (int peer = 0; peer < size(); ++peer) operands_.push_back(peer == rank() ? send + begin : data(peer) + begin);
    void* const result = receive;
    ReduceInOrder(operands_, {&result, 1}, static_cast<int64_t>(bytes / element), call.type, call.reduction);
  };
  const auto copy = [](char* to, const char* from, size_t bytes) {
    if (bytes > 0 && to != from) std::memcpy(to, from, bytes);
  };
  const bool is_root = rank() == call.root;
  switch (call.operation) {
    case Operation::kBarrier: return PostAndMeet(posted, nullptr, 0);
    case Operation::kReduce:
      if (!PostAndMeet(posted, send, part)) return false;
      if (is_root) reduce(0, part);
      return true;
    case Operation::kReduceScatter:
    case Operation::kReduceScatterV: {
      const Range last = PartOf(call, size() - 1), mine = PartOf(call, rank());
      if (!PostAndMeet(posted, send, last.begin + last.bytes)) return false;
      reduce(mine.begin, mine.bytes);
      return true;
    }
    case Operation::kAllGather:
    case Operation::kAllGatherV:
      if (!PostAndMeet(posted, send, PartOf(call, rank()).bytes)) return false;
      for (int peer = 0; peer < size(); ++peer) {
        const Range range = PartOf(call, peer);
        copy(receive + range.begin, peer == rank() ? send : data(peer), range.bytes);
      }
      return true;
    case Operation::kBroadcast:
      if (!PostAndMeet(posted, send, is_root ? part : 0)) return false;
      copy(receive, is_root ? send : data(call.root), part);
      return true;
    case Operation::kGather:
      if (!PostAndMeet(posted, send, part)) return false;
      for (int peer = 0; is_root && peer < size(); ++peer) {
        copy(receive + part * static_cast<size_t>(peer), peer == rank() ? send : data(peer), part);
      }
      return true;
    case Operation::kScatter:
      if (!PostAndMeet(posted, send, is_root ? part * static_cast<size_t>(size()) : 0)) return false;
      copy(receive, (is_root ? send : data(call.root)) + part * static_cast<size_t>(rank()), part);
      return true;
    case Operation::kAllToAll:
      if (!PostAndMeet(posted, send, part * static_cast<size_t>(size()))) return false;
      for (int peer = 0; peer < size(); ++peer) {
        copy(receive + part * static_cast<size_t>(peer), (peer == rank() ? send : data(peer)) + part * static_cast<size_t>(rank()),
             part);
      }
      return true;
    default: RM_CHECK(false) << NameOf(call.operation) << " has no one-shot way";
  }
  return false;
}

}  // namespace ringmaster
