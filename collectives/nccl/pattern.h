// Periodic data in device memory, written and checked there: a benchmark that verifies every byte need not copy gigabytes.
//
// Any thread; the work goes to a stream of the current device. All pointers are device pointers. Elements have 1, 2, 4 or 8 bytes;
// element i of a buffer is element (begin + i) % period of `table`.
#ifndef RINGMASTER_COLLECTIVES_NCCL_PATTERN_H_
#define RINGMASTER_COLLECTIVES_NCCL_PATTERN_H_

#include <cstdint>

namespace ringmaster {

struct Pattern {
  const void* table = nullptr;
  int64_t period = 1;
  int64_t begin = 0;
  int element_bytes = 4;
};

// Both return 0, or the runtime's error code (of the launch; what happens later is the stream's).
int FillWithPattern(void* buffer, int64_t count, const Pattern& pattern, void* stream);
// Adds the number of elements that differ to *wrong.
int CountDifferent(const void* buffer, int64_t count, const Pattern& pattern, unsigned long long* wrong, void* stream);

}  // namespace ringmaster

#endif  // RINGMASTER_COLLECTIVES_NCCL_PATTERN_H_
