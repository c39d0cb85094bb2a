// Data for which every order of reduction gives the same bits in every type, so a result is right or wrong and nothing between.
#ifndef RINGMASTER_CLI_BENCH_EXACT_DATA_H_
#define RINGMASTER_CLI_BENCH_EXACT_DATA_H_

#include <cstdint>
#include <vector>

#include "collectives/call.h"

namespace ringmaster::cli {

// Small whole numbers as elements of any type.
void StoreElement(char* buffer, int64_t index, DataType type, int value);
int LoadElement(const char* buffer, int64_t index, DataType type);

// What `rank` puts at `index` of its input, and what a reduction over all ranks must give there.
int InputOf(int rank, int64_t index, int ranks, Reduction reduction);
int ReducedAt(int64_t index, int ranks, Reduction reduction);

// Elements that differ from what the operation promises on `rank`; `count` is that of the call.
int64_t CountWrong(const Call& call, int rank, int ranks);

}  // namespace ringmaster::cli

#endif  // RINGMASTER_CLI_BENCH_EXACT_DATA_H_
