// A DeviceSync without NCCL: the ranks are threads of one test, each with a part of a model on the same GPU. A call waits on the
// host for the device and for the others, whom it gives a minute.
#ifndef RINGMASTER_TRAINER_CUDA_ONE_GPU_GROUP_H_
#define RINGMASTER_TRAINER_CUDA_ONE_GPU_GROUP_H_

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/mutex.h"
#include "common/status_macros.h"
#include "trainer/cuda/cuda_status.h"
#include "trainer/cuda/gpu_testing.h"
#include "trainer/parallel/device_sync.h"

namespace ringmaster::trainer {

// Where the ranks of a group meet. Thread-safe.
class OneGpuMeeting {
 public:
  using Bytes = std::vector<char>;

  explicit OneGpuMeeting(int size) : brought_(static_cast<size_t>(size)) {}

  int size() const { return static_cast<int>(brought_.size()); }

  // What all have brought, by rank.
  absl::StatusOr<std::vector<Bytes>> Share(int rank, Bytes own) {
    brought_[static_cast<size_t>(rank)] = std::move(own);
    RM_RETURN_IF_ERROR(Arrive());
    std::vector<Bytes> all = brought_;
    RM_RETURN_IF_ERROR(Arrive());
    return all;
  }

  void Send(int from, int to, Bytes message) {
    MutexLock lock(&mu_);
    messages_[{from, to}].push_back(std::move(message));
    changed_.SignalAll();
  }

  absl::StatusOr<Bytes> Receive(int from, int to) {
    MutexLock lock(&mu_);
    std::deque<Bytes>& queue = messages_[{from, to}];
    while (queue.empty()) {
      if (!changed_.WaitFor(&mu_, kPatience)) return absl::DeadlineExceededError("a neighbour sends nothing");
    }
    Bytes message = std::move(queue.front());
    queue.pop_front();
    return message;
  }

 private:
  static constexpr absl::Duration kPatience = absl::Minutes(1);

  absl::Status Arrive() {
    MutexLock lock(&mu_);
    const int64_t round = arrived_++ / size();
    changed_.SignalAll();
    while (arrived_ < (round + 1) * size()) {
      if (!changed_.WaitFor(&mu_, kPatience)) return absl::DeadlineExceededError("a rank does not come");
    }
    return absl::OkStatus();
  }

  std::vector<Bytes> brought_;  // each rank writes its own between two arrivals of all
  Mutex mu_;
  CondVar changed_;
  int64_t arrived_ ABSL_GUARDED_BY(mu_) = 0;
  std::map<std::pair<int, int>, std::deque<Bytes>> messages_ ABSL_GUARDED_BY(mu_);
};

class OneGpuSync final : public DeviceSync {
 public:
  OneGpuSync(OneGpuMeeting& meeting, int rank) : meeting_(meeting), rank_(rank) {}

  int rank() const override { return rank_; }
  int size() const override { return meeting_.size(); }

  absl::Status Sum(void* values, int64_t count, DataType type, CudaStream stream) override {
    return Combine(values, count, type, stream, [](double a, double b) { return a + b; });
  }
  absl::Status Max(void* values, int64_t count, DataType type, CudaStream stream) override {
    return Combine(values, count, type, stream, [](double a, double b) { return std::max(a, b); });
  }

  absl::Status SumOwnPart(const Parts& parts, CudaStream stream) override {
    const int64_t all = std::accumulate(parts.counts.begin(), parts.counts.end(), int64_t{0});
    RM_ASSIGN_OR_RETURN(const Bytes sum, Combined(parts.values, all, parts.type, stream, [](double a, double b) { return a + b; }));
    const auto [begin, bytes] = PlaceOfPart(parts, rank_);
    return Write(static_cast<char*>(parts.values) + begin, sum.data() + begin, bytes, stream);
  }

  absl::Status GatherParts(std::span<const Parts> all, CudaStream stream) override {
    for (const Parts& parts : all) {
      const auto [own_begin, own_bytes] = PlaceOfPart(parts, rank_);
      RM_ASSIGN_OR_RETURN(Bytes own, Read(static_cast<char*>(parts.values) + own_begin, own_bytes, stream));
      RM_ASSIGN_OR_RETURN(const std::vector<Bytes> shared, meeting_.Share(rank_, std::move(own)));
      for (int other = 0; other < size(); ++other) {
        const auto [begin, bytes] = PlaceOfPart(parts, other);
        RM_RETURN_IF_ERROR(
            Write(static_cast<char*>(parts.values) + begin, shared[static_cast<size_t>(other)].data(), bytes, stream));
      }
    }
    return absl::OkStatus();
  }

  absl::Status Broadcast(void* values, int64_t count, DataType type, int root, CudaStream stream) override {
    const size_t bytes = SizeOf(count, type);
    RM_ASSIGN_OR_RETURN(Bytes own, Read(values, bytes, stream));
    RM_ASSIGN_OR_RETURN(const std::vector<Bytes> all, meeting_.Share(rank_, std::move(own)));
    return Write(values, all[static_cast<size_t>(root)].data(), bytes, stream);
  }

  absl::Status Exchange(std::span<const Transfer> transfers, CudaStream stream) override {
    for (const auto& [is_send, values, count, type, peer] : transfers) {
      if (!is_send) continue;
      RM_ASSIGN_OR_RETURN(Bytes message, Read(values, SizeOf(count, type), stream));
      meeting_.Send(rank_, peer, std::move(message));
    }
    for (const auto& [is_send, values, count, type, peer] : transfers) {
      if (is_send) continue;
      RM_ASSIGN_OR_RETURN(const Bytes message, meeting_.Receive(peer, rank_));
      if (message.size() != SizeOf(count, type)) return absl::InvalidArgumentError("a message of another size");
      RM_RETURN_IF_ERROR(Write(values, message.data(), message.size(), stream));
    }
    return absl::OkStatus();
  }

  absl::Status WaitFor(CudaEvent event, const std::function<absl::Status()>& also) override {
    if (also) RM_RETURN_IF_ERROR(also());
    RM_CUDA(cudaEventSynchronize(reinterpret_cast<cudaEvent_t>(event)));
    return absl::OkStatus();
  }
  absl::Status Check() override { return absl::OkStatus(); }

 private:
  using Bytes = OneGpuMeeting::Bytes;

  static size_t SizeOf(int64_t count, DataType type) { return static_cast<size_t>(count) * BytesPerElement(type); }
  static std::pair<size_t, size_t> PlaceOfPart(const Parts& parts, int rank) {
    const int64_t begin = std::accumulate(parts.counts.begin(), parts.counts.begin() + rank, int64_t{0});
    return {SizeOf(begin, parts.type), SizeOf(parts.counts[static_cast<size_t>(rank)], parts.type)};
  }

  absl::StatusOr<Bytes> Read(const void* values, size_t bytes, CudaStream stream) {
    Bytes host(bytes);
    auto* const native = reinterpret_cast<cudaStream_t>(stream);
    RM_CUDA(cudaMemcpyAsync(host.data(), values, bytes, cudaMemcpyDefault, native));
    RM_CUDA(cudaStreamSynchronize(native));
    return host;
  }
  absl::Status Write(void* values, const char* host, size_t bytes, CudaStream stream) {
    auto* const native = reinterpret_cast<cudaStream_t>(stream);
    RM_CUDA(cudaMemcpyAsync(values, host, bytes, cudaMemcpyDefault, native));
    RM_CUDA(cudaStreamSynchronize(native));
    return absl::OkStatus();
  }

  // In the order of the ranks: the same bits on all.
  template <typename T, typename Widen, typename Narrow, typename Both>
  static void Fold(const std::vector<Bytes>& all, const Widen& widen, const Narrow& narrow, const Both& both, Bytes& result) {
    T* const out = reinterpret_cast<T*>(result.data());
    for (size_t i = 0; i < result.size() / sizeof(T); ++i) {
      double value = widen(reinterpret_cast<const T*>(all[0].data())[i]);
      for (size_t rank = 1; rank < all.size(); ++rank) value = both(value, widen(reinterpret_cast<const T*>(all[rank].data())[i]));
      out[i] = narrow(value);
    }
  }

  template <typename Both>
  absl::StatusOr<Bytes> Combined(void* values, int64_t count, DataType type, CudaStream stream, const Both& both) {
    RM_ASSIGN_OR_RETURN(Bytes own, Read(values, SizeOf(count, type), stream));
    RM_ASSIGN_OR_RETURN(const std::vector<Bytes> all, meeting_.Share(rank_, std::move(own)));
    for (const Bytes& other : all) {
      if (other.size() != all[0].size()) return absl::InvalidArgumentError("ranks bring values of different sizes");
    }
    Bytes result(all[0].size());
    const auto same = [](auto value) { return value; };
    switch (type) {
      case DataType::kF32:
        Fold<float>(
            all, same, [](double value) { return static_cast<float>(value); }, both, result);
        break;
      case DataType::kF64: Fold<double>(all, same, same, both, result); break;
      case DataType::kBF16:
        Fold<Bf16>(
            all, [](Bf16 value) { return ToFloat(value); }, [](double value) { return ToBf16(static_cast<float>(value)); }, both,
            result);
        break;
      default: return absl::UnimplementedError("no such type in this test");
    }
    return result;
  }

  template <typename Both>
  absl::Status Combine(void* values, int64_t count, DataType type, CudaStream stream, const Both& both) {
    RM_ASSIGN_OR_RETURN(const Bytes result, Combined(values, count, type, stream, both));
    return Write(values, result.data(), result.size(), stream);
  }

  OneGpuMeeting& meeting_;
  const int rank_;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CUDA_ONE_GPU_GROUP_H_
