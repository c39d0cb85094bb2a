#include "trainer/checkpoint/crc32c_combine.h"

namespace ringmaster::trainer {
namespace {

constexpr uint32_t kPolynomial = 0x82F63B78;  // Castagnoli, bit-reversed
constexpr uint32_t kOne = 0x80000000;         // x^0 in the reversed representation

// a * b modulo the polynomial.
uint32_t Multiply(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (uint32_t bit = kOne; bit != 0; bit >>= 1) {
    if ((a & bit) != 0) product ^= b;
    b = (b & 1) != 0 ? (b >> 1) ^ kPolynomial : b >> 1;
  }
  return product;
}

}  // namespace

uint32_t CombineCrc32c(uint32_t first, uint32_t second, int64_t second_bytes) {
  uint32_t factor = kOne;
  uint32_t power = kOne >> 8;  // x^8
  for (auto rest = static_cast<uint64_t>(second_bytes); rest != 0; rest >>= 1) {
    if ((rest & 1) != 0) factor = Multiply(factor, power);
    power = Multiply(power, power);
  }
  return Multiply(factor, first) ^ second;
}

}  // namespace ringmaster::trainer
