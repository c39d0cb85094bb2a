// Synthetic images of the ten digits: strokes under a random affine distortion, with random width, brightness and noise. For tests
// and examples where no real handwriting can be downloaded; results on it say nothing about MNIST.
#ifndef RINGMASTER_TRAINER_DATA_SYNTHETIC_DIGITS_H_
#define RINGMASTER_TRAINER_DATA_SYNTHETIC_DIGITS_H_

#include <cstdint>
#include <span>

#include "trainer/data/idx.h"

namespace ringmaster::trainer {

inline constexpr int64_t kDigitSide = 28;
inline constexpr int64_t kDigitClasses = 10;

enum class DigitSet : uint8_t { kTraining, kValidation };

// Image `index` of a set is a function of (seed, set, index) alone; so is its label. Thread-safe.
LabelledImages DrawSyntheticDigits(uint64_t seed, DigitSet set, int64_t count);

// Draws `digit` (0..9) with all randomness from `key`.
void DrawDigit(int digit, uint64_t key, std::span<uint8_t, kDigitSide * kDigitSide> pixels);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_DATA_SYNTHETIC_DIGITS_H_
