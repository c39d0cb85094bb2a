// The arithmetic of reductions, for every transport. Thread-safe, allocates nothing.
//
// Values are combined from left to right. f16 and bf16 are widened to f32, combined there and rounded once, at the end, to nearest
// even (a NaN becomes quiet). Sums and products of integers wrap around. Min and max: of equal values and of NaN the left operand
// stays. An average is the sum divided by the number of contributions; integers round toward zero. The bits are the same on every
// processor: vector instructions only do several elements at a time.
#ifndef RINGMASTER_COLLECTIVES_REDUCE_H_
#define RINGMASTER_COLLECTIVES_REDUCE_H_

#include <cstdint>
#include <span>

#include "collectives/types.h"

namespace ringmaster {

// The type of a partial result, which more contributions will be combined with: where the reduction of `type` rounds at the end,
// f32.
DataType AccumulatorType(DataType type, Reduction reduction);

// Where a reduction is a chain of calls (each rank adds its own to what came from the rank before), what one call is in the chain.
struct ChainLink {
  bool first = true;      // else operands[0] is the partial result of the calls before, of AccumulatorType
  bool last = true;       // else the result is a partial result, of AccumulatorType: not rounded, not divided
  int contributions = 0;  // of the whole chain: what an average divides by; 0: the number of operands
};

// results[r][i] = operands[0][i] (+) operands[1][i] (+) .., i < count, for every r. There is at least one operand and one result. A
// result may equal any operand of the same element size; otherwise none overlap. No alignment is needed.
void ReduceInOrder(std::span<const void* const> operands, std::span<void* const> results, int64_t count, DataType type,
                   Reduction reduction, ChainLink link = {});

}  // namespace ringmaster

#endif  // RINGMASTER_COLLECTIVES_REDUCE_H_
