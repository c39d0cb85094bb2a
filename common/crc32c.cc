#include "common/crc32c.h"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace ringmaster {
namespace {

constexpr uint32_t kPolynomialReflected = 0x82F63B78;

constexpr std::array<uint32_t, 256> MakeTable() {
  std::array<uint32_t, 256> table{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) ? kPolynomialReflected : 0);
    table[byte] = crc;
  }
  return table;
}

constexpr std::array<uint32_t, 256> kTable = MakeTable();

uint32_t ExtendByTable(uint32_t state, const uint8_t* bytes, size_t count) {
  for (size_t i = 0; i < count; ++i) state = (state >> 8) ^ kTable[(state ^ bytes[i]) & 0xff];
  return state;
}

constexpr uint32_t kOne = 0x80000000;  // x^0, bit-reversed as all of them

// a * b modulo the polynomial.
constexpr uint32_t Multiply(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (uint32_t bit = kOne; bit != 0; bit >>= 1) {
    if ((a & bit) != 0) product ^= b;
    b = (b & 1) != 0 ? (b >> 1) ^ kPolynomialReflected : b >> 1;
  }
  return product;
}

// x^(8 * bytes): what so many bytes behind it make of a checksum.
constexpr uint32_t Shift(uint64_t bytes) {
  uint32_t factor = kOne;
  uint32_t power = kOne >> 8;
  for (; bytes != 0; bytes >>= 1) {
    if ((bytes & 1) != 0) factor = Multiply(factor, power);
    power = Multiply(power, power);
  }
  return factor;
}

#if defined(__x86_64__)
// The instruction gives its result after three cycles and can begin another in each: three ranges at a time.
constexpr size_t kRange = 8192;
constexpr uint32_t kShiftRange = Shift(kRange);

__attribute__((target("sse4.2"))) uint32_t ExtendByInstruction(uint32_t state, const uint8_t* bytes, size_t count) {
  for (; count >= 3 * kRange; count -= 3 * kRange, bytes += 3 * kRange) {
    uint64_t first = state, second = 0, third = 0;
    for (size_t i = 0; i < kRange; i += 8) {
      uint64_t words[3];
      for (size_t range = 0; range < 3; ++range) std::memcpy(&words[range], bytes + range * kRange + i, 8);
      first = _mm_crc32_u64(first, words[0]);
      second = _mm_crc32_u64(second, words[1]);
      third = _mm_crc32_u64(third, words[2]);
    }
    state = Multiply(kShiftRange, Multiply(kShiftRange, static_cast<uint32_t>(first)) ^ static_cast<uint32_t>(second)) ^
            static_cast<uint32_t>(third);
  }
  uint64_t wide = state;
  for (; count >= 8; count -= 8, bytes += 8) {
    uint64_t word;
    std::memcpy(&word, bytes, 8);
    wide = _mm_crc32_u64(wide, word);
  }
  return ExtendByTable(static_cast<uint32_t>(wide), bytes, count);
}
#endif

}  // namespace

uint32_t CombineCrc32c(uint32_t first, uint32_t second, int64_t second_bytes) {
  return Multiply(Shift(static_cast<uint64_t>(second_bytes)), first) ^ second;
}

uint32_t ExtendCrc32c(uint32_t crc, const void* data, size_t bytes) {
  const auto* start = static_cast<const uint8_t*>(data);
#if defined(__x86_64__)
  static const bool has_instruction = __builtin_cpu_supports("sse4.2");
  if (has_instruction) return ~ExtendByInstruction(~crc, start, bytes);
#endif
  return ~ExtendByTable(~crc, start, bytes);
}

}  // namespace ringmaster
