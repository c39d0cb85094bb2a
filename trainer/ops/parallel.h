// A loop over OpenMP's threads (OMP_NUM_THREADS, which the launcher sets).
#ifndef RINGMASTER_TRAINER_OPS_PARALLEL_H_
#define RINGMASTER_TRAINER_OPS_PARALLEL_H_

#include <omp.h>

#include <algorithm>
#include <cstdint>

namespace ringmaster::trainer {

// Most threads that ParallelFor will ever use: scratch memory is planned for so many.
inline int64_t MaxThreads() { return omp_get_max_threads(); }

// Splits [0, count) into contiguous parts of whole `grain`s, at most one per thread, and calls body(begin, end, thread) for each.
// The split depends on the number of threads, so a body must not add across items unless an item is its own sum.
template <typename Body>
void ParallelFor(int64_t count, int64_t grain, const Body& body) {
  const int64_t grains = (count + grain - 1) / grain;
  const int64_t threads = std::min(MaxThreads(), grains);
  if (threads <= 1) {
    if (count > 0) body(int64_t{0}, count, int64_t{0});
    return;
  }
#pragma omp parallel num_threads(static_cast <int>(threads))
  {
    const int64_t thread = omp_get_thread_num();
    const int64_t team = omp_get_num_threads();
    const int64_t begin = grains * thread / team * grain;
    const int64_t end = std::min(grains * (thread + 1) / team * grain, count);
    if (begin < end) body(begin, end, thread);
  }
}

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_OPS_PARALLEL_H_
