// Vectors for reduce.cc, in the compilers' own vector types: one text for every instruction set, the best of which is chosen when
// the program runs (RunBest). Vectors go in and out by pointer, because how they are passed by value depends on the instruction
// set.
#ifndef RINGMASTER_COLLECTIVES_REDUCE_VECTORS_H_
#define RINGMASTER_COLLECTIVES_REDUCE_VECTORS_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#define RM_ALWAYS_INLINE __attribute__((always_inline)) inline

// Before a loop over vectors: they stay in registers only where it is gone.
#ifdef __clang__
#define RM_UNROLL _Pragma("clang loop unroll(full)")
#else
#define RM_UNROLL _Pragma("GCC unroll 8")
#endif

namespace ringmaster::reduce_internal {

// `Kernel<kBytes>::Run(work)` works with vectors of kBytes. Chosen when the program runs.
#if defined(__x86_64__)
template <template <int kBytes> typename Kernel, typename Work>
__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl"))) void RunAvx512(const Work& work) {
  Kernel<64>::Run(work);
}
template <template <int kBytes> typename Kernel, typename Work>
__attribute__((target("avx2"))) void RunAvx2(const Work& work) {
  Kernel<32>::Run(work);
}
#endif

template <template <int kBytes> typename Kernel, typename Work>
void RunBest(const Work& work) {
#if defined(__x86_64__)
  static const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  static const bool avx2 = __builtin_cpu_supports("avx2");
  if (avx512) return RunAvx512<Kernel>(work);
  if (avx2) return RunAvx2<Kernel>(work);
#endif
  Kernel<16>::Run(work);
}

template <typename T, int kLanes>
struct VectorType {
  typedef T Type __attribute__((vector_size(kLanes * sizeof(T))));
};
template <typename T, int kLanes>
using VectorOf = typename VectorType<T, kLanes>::Type;

template <typename Vector>
using ElementOf = std::remove_cvref_t<decltype(std::declval<Vector&>()[0])>;
template <typename Vector>
constexpr int kLanesOf = sizeof(Vector) / sizeof(ElementOf<Vector>);

// Signed integers are combined as unsigned ones, which wrap around.
template <typename Vector, bool kIsInteger = std::is_integral_v<ElementOf<Vector>>>
struct Wrapping {
  using Type = Vector;
};
template <typename Vector>
struct Wrapping<Vector, true> {
  using Type = VectorOf<std::make_unsigned_t<ElementOf<Vector>>, kLanesOf<Vector>>;
};

struct Sum {
  template <typename Vector>
  RM_ALWAYS_INLINE static void Combine(Vector* left, const Vector& right) {
    using Wrap = typename Wrapping<Vector>::Type;
    *left = (Vector)((Wrap)*left + (Wrap)right);
  }
};
struct Product {
  template <typename Vector>
  RM_ALWAYS_INLINE static void Combine(Vector* left, const Vector& right) {
    using Wrap = typename Wrapping<Vector>::Type;
    *left = (Vector)((Wrap)*left * (Wrap)right);
  }
};
struct Min {
  template <typename Vector>
  RM_ALWAYS_INLINE static void Combine(Vector* left, const Vector& right) {
    *left = right < *left ? right : *left;
  }
};
struct Max {
  template <typename Vector>
  RM_ALWAYS_INLINE static void Combine(Vector* left, const Vector& right) {
    *left = *left < right ? right : *left;
  }
};

// The part of a vector that exists: all of it but at the end of the data.
template <typename Vector>
RM_ALWAYS_INLINE void LoadPart(const void* base, int64_t begin, int64_t elements, Vector* vector) {
  constexpr size_t kElement = sizeof(ElementOf<Vector>);
  const char* const from = static_cast<const char*>(base) + static_cast<size_t>(begin) * kElement;
  if (elements == kLanesOf<Vector>) {
    std::memcpy(vector, from, sizeof(Vector));
  } else {
    *vector = Vector{};
    std::memcpy(vector, from, static_cast<size_t>(elements) * kElement);
  }
}
template <typename Vector>
RM_ALWAYS_INLINE void StorePart(const Vector& vector, void* base, int64_t begin, int64_t elements) {
  constexpr size_t kElement = sizeof(ElementOf<Vector>);
  char* const to = static_cast<char*>(base) + static_cast<size_t>(begin) * kElement;
  if (elements == kLanesOf<Vector>) {
    std::memcpy(to, &vector, sizeof(Vector));
  } else {
    std::memcpy(to, &vector, static_cast<size_t>(elements) * kElement);
  }
}

// Elements that are combined in their own type.
template <typename T>
struct InMemory {
  using Accumulator = T;
  template <int kLanes>
  using Stored = VectorOf<T, kLanes>;
  template <typename Vector>
  RM_ALWAYS_INLINE static void Load(const void* base, int64_t begin, int64_t elements, Vector* value) {
    LoadPart(base, begin, elements, value);
  }
  template <typename Vector>
  RM_ALWAYS_INLINE static void Convert(const Vector& value, Vector* stored) {
    *stored = value;
  }
};

// The upper half of an f32.
struct BrainFormat {
  template <typename Words>
  RM_ALWAYS_INLINE static void Widen(const Words& bits, Words* wide) {
    *wide = bits << 16;
  }
  template <typename Words>
  RM_ALWAYS_INLINE static void Round(const Words& wide, Words* bits) {
    const Words rounded = (wide + 0x7fff + ((wide >> 16) & 1)) >> 16;
    const Words quiet = (wide >> 16) | 0x40;
    *bits = (wide & 0x7fffffff) > 0x7f800000 ? quiet : rounded;
  }
};

// IEEE 754 binary16: 5 bits of exponent (bias 15), 10 of mantissa. Integer steps but for one exact addition each, which no setting
// for denormal numbers can change: all its numbers are normal in f32.
struct HalfFormat {
  template <typename Words>
  RM_ALWAYS_INLINE static void Widen(const Words& bits, Words* wide) {
    using Floats = VectorOf<float, kLanesOf<Words>>;
    const Words magnitude = (bits & 0x7fff) << 13;
    const Words exponent = magnitude & 0x0f800000;
    const Words normal = magnitude + (112u << 23);  // from bias 15 to 127
    const Words huge = magnitude + (224u << 23);    // infinity and NaN: from exponent 31 to 255
    const Words lifted = magnitude + (113u << 23);  // 2^-14 + the denormal value
    const Words lift = Words{} + (113u << 23);
    const Words denormal = (Words)((Floats)lifted - (Floats)lift);
    Words result = exponent == 0x0f800000 ? huge : normal;
    result = exponent == 0 ? denormal : result;
    *wide = result | ((bits & 0x8000) << 16);
  }
  template <typename Words>
  RM_ALWAYS_INLINE static void Round(const Words& wide, Words* bits) {
    using Floats = VectorOf<float, kLanesOf<Words>>;
    const Words magnitude = wide & 0x7fffffff;
    // Below 2^-14 the last place of the result is 2^-24, which is that of f32 at 1/2: adding 1/2 rounds there.
    const Words half = Words{} + 0x3f000000;
    const Words denormal = (Words)((Floats)magnitude + (Floats)half) - 0x3f000000;
    const Words normal = (magnitude - (112u << 23) + 0xfff + ((magnitude >> 13) & 1)) >> 13;
    const Words quiet = ((magnitude >> 13) & 0x3ff) | 0x7e00;
    const Words infinity = Words{} + 0x7c00;
    Words result = magnitude < 0x38800000 ? denormal : normal;
    result = magnitude >= 0x47800000 ? infinity : result;
    result = magnitude > 0x7f800000 ? quiet : result;
    *bits = result | ((wide >> 16) & 0x8000);
  }
};

// 16-bit floats, combined as f32.
template <typename Format>
struct Narrow {
  using Accumulator = float;
  template <int kLanes>
  using Stored = VectorOf<uint16_t, kLanes>;
  template <typename Floats>
  RM_ALWAYS_INLINE static void Load(const void* base, int64_t begin, int64_t elements, Floats* value) {
    using Words = VectorOf<uint32_t, kLanesOf<Floats>>;
    Stored<kLanesOf<Floats>> bits;
    LoadPart(base, begin, elements, &bits);
    Words wide;
    Format::Widen(__builtin_convertvector(bits, Words), &wide);
    *value = (Floats)wide;
  }
  template <typename Floats>
  RM_ALWAYS_INLINE static void Convert(const Floats& value, Stored<kLanesOf<Floats>>* stored) {
    using Words = VectorOf<uint32_t, kLanesOf<Floats>>;
    Words bits;
    Format::Round((Words)value, &bits);
    *stored = __builtin_convertvector(bits, Stored<kLanesOf<Floats>>);
  }
};

}  // namespace ringmaster::reduce_internal

#endif  // RINGMASTER_COLLECTIVES_REDUCE_VECTORS_H_
