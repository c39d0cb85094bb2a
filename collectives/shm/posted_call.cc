#include "collectives/shm/posted_call.h"

#include <numeric>

namespace ringmaster::shm {
int64_t SumOf(std::span<const int64_t> counts) { return std::accumulate(counts.begin(), counts.end(), int64_t{0}); }

uint64_t HashOf(std::span<const int64_t> counts) {  // FNV-1a by words
  uint64_t hash = 0xcbf29ce484222325;
  for (const int64_t count : counts) hash = (hash ^ static_cast<uint64_t>(count)) * 0x100000001b3;
  return hash;
}

std::string Describe(const PostedCall& call) {
  return ringmaster::Describe(Call{.operation = static_cast<Operation>(call.what & 0xff),
                                   .type = static_cast<DataType>(call.what >> 8 & 0xff),
                                   .reduction = static_cast<Reduction>(call.what >> 16 & 0xff),
                                   .root = static_cast<int32_t>(call.what >> 32),
                                   .count = call.count});
}

}  // namespace ringmaster::shm
