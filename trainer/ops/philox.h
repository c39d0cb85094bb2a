// Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011). Element i of
// a tensor depends on (seed, stream, i) alone, so a parameter starts the same for every layout and number of threads.
#ifndef RINGMASTER_TRAINER_OPS_PHILOX_H_
#define RINGMASTER_TRAINER_OPS_PHILOX_H_

#include <array>
#include <cstdint>
#include <span>

namespace ringmaster::trainer {

std::array<uint32_t, 4> Philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

// Normal numbers by Box and Muller's transform.
void FillNormal(uint64_t seed, uint64_t stream, float deviation, std::span<float> values);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_OPS_PHILOX_H_
