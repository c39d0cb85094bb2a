// The operation that a sweep runs for one size, on host memory and on devices alike.
#ifndef RINGMASTER_CLI_BENCH_SWEEP_CALL_H_
#define RINGMASTER_CLI_BENCH_SWEEP_CALL_H_

#include <cstdint>
#include <vector>

#include "cli/bench/bench_row.h"
#include "collectives/call.h"

namespace ringmaster::cli {

struct SweepPlace {
  int rank = 0;
  int ranks = 1;
  char* input = nullptr;   // bytes of the sweep's largest size, and 64 more for each rank
  char* output = nullptr;  // likewise
};

bool HasOutOfPlace(Operation operation);
bool HasInPlace(Operation operation);

// `bytes` is the size of the vector of all parts where the operation has parts. `like` says operation, type and reduction; `counts`
// must live as long as the call.
Call MakeSweepCall(const Call& like, int64_t bytes, bool in_place, const SweepPlace& place, std::vector<int64_t>* counts);

// What `call`, made for `bytes`, has cost: `times` are microseconds, `wrong` counts elements of all ranks. Transport, buffers and
// place are left to the caller.
BenchRow RowOf(const Call& call, int ranks, int64_t bytes, const std::vector<double>& times, int64_t wrong);

// Elements that `call` reads on this rank.
int64_t InputElements(const Call& call, int ranks);

}  // namespace ringmaster::cli

#endif  // RINGMASTER_CLI_BENCH_SWEEP_CALL_H_
