// The arithmetic of reductions.
#ifndef RINGMASTER_COLLECTIVES_REDUCE_H_
#define RINGMASTER_COLLECTIVES_REDUCE_H_

#include <cstdint>
#include <span>

#include "collectives/types.h"

namespace ringmaster {

// result[i] = operands[0][i] (+) operands[1][i] (+) .., from left to right, i < count. `result` may equal any operand; otherwise
// they do not overlap. Integers wrap around. Min and max: of equal values and of NaN the left operand stays. Thread-safe, allocates
// nothing.
void ReduceInOrder(std::span<const void* const> operands, void* result, int64_t count, DataType type, Reduction reduction);

}  // namespace ringmaster

#endif  // RINGMASTER_COLLECTIVES_REDUCE_H_
