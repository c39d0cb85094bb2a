// Operations whose operands fit into the slots of the posts: when all ranks have posted, everything is there.
#include <cstring>

#include "collectives/reduce.h"
#include "collectives/shm/shm_communicator.h"
#include "common/check.h"

namespace ringmaster {

// What OneShot would do, in as few steps as there are: a tenth of a microsecond is much here.
bool ShmCommunicator::SmallAllReduce(const Call& call) {
  const size_t bytes = static_cast<size_t>(call.count) * BytesPerElement(call.type);
  const uint64_t sequence = sync_.sequence();
  shm::Slot& mine = segment_.slot(sequence, rank());
  const uint64_t where = MayBeRegistered(call, Way::kOneShot) ? RegisteredOffsets(call) : kPrivate;
  const shm::PostedCall posted{.what = shm::PackWhat(call), .count = call.count, .where = where};
  mine.call = WithMessages(posted);
  if (bytes > 0 && where == kPrivate) std::memcpy(mine.data, call.send, bytes);
  sync_.Publish(mine.sequence, sequence);
  bool all_private = where == kPrivate;
  operands_.resize(static_cast<size_t>(size()));
  for (int peer = 0; peer < size(); ++peer) {
    operands_[static_cast<size_t>(peer)] = call.send;
    if (peer == rank()) continue;
    const shm::Slot& theirs = segment_.slot(sequence, peer);
    if (!sync_.Await(theirs.sequence, sequence, peer)) [[unlikely]]
      return false;
    if (!SeesTheSame(peer, posted)) [[unlikely]]
      return Mismatch(peer);
    all_private = all_private && theirs.call.where == kPrivate;
    operands_[static_cast<size_t>(peer)] = theirs.data;
  }
  if (!all_private) {
    return SameBuffersEverywhere(where) ? RegisteredOperation(call, where) : PrivateAllReduce(call);
  }
  void* const result = call.receive;
  ReduceInOrder(operands_, {&result, 1}, call.count, call.type, call.reduction);
  return true;
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
