// Copies and additions that a rank's helpers share with it. What one call does is done when it returns.
#include <algorithm>
#include <array>
#include <cstring>

#include "collectives/reduce.h"
#include "collectives/shm/shm_communicator.h"

namespace ringmaster {
namespace {

// Less is done before a helper has heard of it.
constexpr size_t kLeastShare = 32 << 10;

}  // namespace

// Shares begin at multiples of 64 bytes.
void ShmCommunicator::InShares(size_t bytes, absl::FunctionRef<void(Range share)> work) {
  const size_t shares = std::min(bytes / kLeastShare, static_cast<size_t>(helpers_) + 1);
  if (shares <= 1) return work({0, bytes});
  const size_t each = ((bytes + shares - 1) / shares + 63) / 64 * 64;
  team_.Run(static_cast<int>(shares), [&](int index) {
    const size_t begin = std::min(bytes, static_cast<size_t>(index) * each);
    work({begin, std::min(each, bytes - begin)});
  });
}

void ShmCommunicator::CopyInShares(char* to, const char* from, size_t bytes) {
  InShares(bytes, [&](Range share) {
    if (share.bytes > 0) std::memcpy(to + share.begin, from + share.begin, share.bytes);
  });
}

// `bytes` of every operand.
void ShmCommunicator::ReduceInShares(std::span<const void* const> operands, std::span<void* const> results, size_t bytes,
                                     const Call& call) {
  InShares(bytes, [&](Range share) {
    std::array<const void*, shm::kMaxRanks> from;
    std::array<void*, shm::kMaxRanks> to;
    for (size_t index = 0; index < operands.size(); ++index) from[index] = static_cast<const char*>(operands[index]) + share.begin;
    for (size_t index = 0; index < results.size(); ++index) to[index] = static_cast<char*>(results[index]) + share.begin;
    ReduceInOrder(std::span(from).first(operands.size()), std::span(to).first(results.size()),
                  static_cast<int64_t>(share.bytes / BytesPerElement(call.type)), call.type, call.reduction);
  });
}

}  // namespace ringmaster
