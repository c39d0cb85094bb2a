// A call as ranks on one host compare it: three words in shared memory.
#ifndef RINGMASTER_COLLECTIVES_SHM_POSTED_CALL_H_
#define RINGMASTER_COLLECTIVES_SHM_POSTED_CALL_H_

#include <cstdint>
#include <span>
#include <string>

#include "collectives/call.h"

namespace ringmaster::shm {

// In PostedCall::what: the rank has sent messages since its last post. Says nothing about the call.
inline constexpr uint64_t kHasSent = uint64_t{1} << 24;

struct PostedCall {
  uint64_t what = 0;   // operation, type, reduction, root
  int64_t count = 0;   // of a V operation: all parts together
  uint64_t where = 0;  // registered buffers: offsets; V operations: hash of the counts

  bool SameCall(const PostedCall& other) const { return ((what ^ other.what) & ~kHasSent) == 0 && count == other.count; }
};

inline uint64_t PackWhat(const Call& call) {
  return static_cast<uint64_t>(call.operation) | static_cast<uint64_t>(call.type) << 8 |
         static_cast<uint64_t>(call.reduction) << 16 | static_cast<uint64_t>(static_cast<uint32_t>(call.root)) << 32;
}

// Elements of all parts of a V operation.
int64_t SumOf(std::span<const int64_t> counts);

uint64_t HashOf(std::span<const int64_t> counts);

// Everything but registered buffers' offsets.
inline PostedCall Post(const Call& call) {
  PostedCall posted{.what = PackWhat(call), .count = call.count};
  if (call.operation == Operation::kReduceScatterV || call.operation == Operation::kAllGatherV) {
    posted.count = SumOf(call.send_counts);
    posted.where = HashOf(call.send_counts);
  }
  return posted;
}

// "all_reduce(count 10, f32, sum)".
std::string Describe(const PostedCall& call);

}  // namespace ringmaster::shm

#endif  // RINGMASTER_COLLECTIVES_SHM_POSTED_CALL_H_
