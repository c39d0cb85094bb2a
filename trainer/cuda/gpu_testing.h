// For tests on a GPU: tensors on the device, and how far they are from the CPU's.
#ifndef RINGMASTER_TRAINER_CUDA_GPU_TESTING_H_
#define RINGMASTER_TRAINER_CUDA_GPU_TESTING_H_

#include <bit>
#include <cmath>
#include <cstring>
#include <iostream>
#include <vector>

#include "common/status_matchers.h"
#include "trainer/cuda/device_memory.h"
#include "trainer/cuda/kernels.h"
#include "trainer/ops/philox.h"

namespace ringmaster::trainer {

inline Bf16 ToBf16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  return {static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}
inline float ToFloat(Bf16 value) { return std::bit_cast<float>(static_cast<uint32_t>(value.bits) << 16); }

// Normal values that bf16 holds exactly.
inline std::vector<float> Normal(uint64_t seed, int64_t count, float deviation = 1.0f) {
  std::vector<float> values(static_cast<size_t>(count));
  FillNormal(seed, 0, deviation, values);
  for (float& value : values) value = ToFloat(ToBf16(value));
  return values;
}

// Copies to and from the device; bf16 there, float here. Complete when they return, for all streams.
template <typename T>
class OnDevice {
 public:
  explicit OnDevice(int64_t count) : count_(count) {
    auto memory = AllocateOnDevice(count * static_cast<int64_t>(sizeof(T)), "a test's tensor");
    EXPECT_OK(memory);
    if (memory.ok()) memory_ = *std::move(memory);
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  }
  template <typename Value>
  explicit OnDevice(const std::vector<Value>& values) : OnDevice(static_cast<int64_t>(values.size())) {
    std::vector<T> native(values.size());
    for (size_t i = 0; i < values.size(); ++i) {
      if constexpr (std::is_same_v<T, Bf16>) {
        native[i] = ToBf16(values[i]);
      } else {
        native[i] = values[i];
      }
    }
    EXPECT_EQ(cudaMemcpy(get(), native.data(), native.size() * sizeof(T), cudaMemcpyDefault), cudaSuccess);
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  }

  T* get() { return static_cast<T*>(memory_.get()); }

  std::vector<T> Read() {
    std::vector<T> values(static_cast<size_t>(count_));
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    EXPECT_EQ(cudaMemcpy(values.data(), get(), values.size() * sizeof(T), cudaMemcpyDefault), cudaSuccess);
    return values;
  }
  std::vector<float> ReadFloats() {
    const std::vector<T> native = Read();
    std::vector<float> values(native.size());
    for (size_t i = 0; i < native.size(); ++i) {
      if constexpr (std::is_same_v<T, Bf16>) {
        values[i] = ToFloat(native[i]);
      } else {
        values[i] = static_cast<float>(native[i]);
      }
    }
    return values;
  }

 private:
  int64_t count_;
  DeviceMemory memory_;
};

// Root of the mean square of the difference, relative to the expected values'.
inline double RelativeError(std::span<const float> found, std::span<const float> expected) {
  EXPECT_EQ(found.size(), expected.size());
  double difference = 0;
  double size = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    difference += (found[i] - expected[i]) * (found[i] - expected[i]);
    size += expected[i] * expected[i];
  }
  return std::sqrt(difference / (size > 0 ? size : 1.0));
}

// Skips, and says so, where there is no GPU.
class GpuTest : public ::testing::Test {
 protected:
  void SetUp() override {
    int count = 0;
    const cudaError_t code = cudaGetDeviceCount(&count);
    if (code == cudaSuccess && count > 0) return;
    ASSERT_TRUE(code == cudaErrorInsufficientDriver || code == cudaErrorNoDevice) << cudaGetErrorString(code);
    std::cout << "SKIPPED: no GPU: " << cudaGetErrorString(code) << std::endl;
    GTEST_SKIP() << "no GPU";
  }
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CUDA_GPU_TESTING_H_
