// CRCs of concatenations from the CRCs of their parts: a whole file from its chunks, a tensor from the ranks' slices.
#ifndef RINGMASTER_TRAINER_CHECKPOINT_CRC32C_COMBINE_H_
#define RINGMASTER_TRAINER_CHECKPOINT_CRC32C_COMBINE_H_

#include <cstdint>

namespace ringmaster::trainer {

// Crc32c(ab) from first = Crc32c(a), second = Crc32c(b) and the length of b in bytes. Multiplication by x^(8 * length) modulo the
// polynomial, as zlib's crc32_combine does it. Thread-safe.
uint32_t CombineCrc32c(uint32_t first, uint32_t second, int64_t second_bytes);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CHECKPOINT_CRC32C_COMBINE_H_
