// CRC32C (Castagnoli, RFC 3720 appendix B.4). Hardware instruction where the CPU has it (checked once), else a table.
// Own code because Debian has no library for it with a static archive.
#ifndef RINGMASTER_COMMON_CRC32C_H_
#define RINGMASTER_COMMON_CRC32C_H_

#include <cstddef>
#include <cstdint>

namespace ringmaster {

// The CRC of data that follows bytes whose CRC is `crc` (0 at the start): Extend(Extend(0, a), b) == Crc32c(ab). Thread-safe.
uint32_t ExtendCrc32c(uint32_t crc, const void* data, size_t bytes);

// Crc32c(ab) from first = Crc32c(a), second = Crc32c(b) and the length of b: a whole file from its chunks. Multiplication by
// x^(8 * length) modulo the polynomial, as zlib's crc32_combine does it. Thread-safe.
uint32_t CombineCrc32c(uint32_t first, uint32_t second, int64_t second_bytes);

inline uint32_t Crc32c(const void* data, size_t bytes) { return ExtendCrc32c(0, data, bytes); }

}  // namespace ringmaster

#endif  // RINGMASTER_COMMON_CRC32C_H_
