// 3x3 convolutions with padding 1 through cuDNN's graph API, each planned once on its tensors and kept. Activations are (samples,
// height, width, channels), filters (outputs, 3, 3, inputs), dense, bf16; sums are fp32. Channels are multiples of 8.
//
// One thread and one stream. Engines whose results may differ from run to run are never taken, and the first of cuDNN's choices
// that can run is: with the same library and device the results are the same bits.
#ifndef RINGMASTER_TRAINER_CUDA_CONVOLUTIONS_H_
#define RINGMASTER_TRAINER_CUDA_CONVOLUTIONS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/cuda/cudnn_api.h"
#include "trainer/cuda/device_memory.h"

namespace ringmaster::trainer {

enum class ConvolutionPass : uint8_t {
  kForward,         // y from x and filters
  kInputGradient,   // x, the gradient of the input, from y, that of the output, and filters
  kFilterGradient,  // filters, their gradient in fp32, from x and y, the gradient of the output
};

struct ConvolutionShape {
  int64_t samples = 0;
  int64_t height = 0;
  int64_t width = 0;
  int64_t inputs = 0;  // channels
  int64_t outputs = 0;
};

struct ConvolutionTensors {
  void* x = nullptr;
  void* filters = nullptr;
  void* y = nullptr;
};

class Convolutions {
 public:
  // FAILED_PRECONDITION: no cuDNN.
  static absl::StatusOr<std::unique_ptr<Convolutions>> Create(cudaStream_t stream);
  ~Convolutions();

  // Before step 0. The number of this convolution for Run. INTERNAL: cuDNN has no engine for it. RESOURCE_EXHAUSTED: no memory for
  // what the engine needs.
  absl::StatusOr<size_t> Prepare(ConvolutionPass pass, const ConvolutionShape& shape, const ConvolutionTensors& tensors);

  // Enqueues it, on the tensors that it was planned for. INTERNAL: cuDNN failed.
  absl::Status Run(size_t number);

  // "cuDNN 9.14.0".
  std::string version() const;
  // On the device, of all engines.
  int64_t workspace_bytes() const { return workspace_bytes_; }

 private:
  class Descriptor;
  struct Plan;

  explicit Convolutions(const CudnnApi& api);
  absl::StatusOr<Descriptor> New(cudnnBackendDescriptorType_t type) const;
  absl::StatusOr<Descriptor> Tensor(int64_t number, const int64_t (&sizes)[4], cudnnDataType_t type) const;
  absl::StatusOr<Descriptor> Padding() const;
  absl::StatusOr<std::unique_ptr<Plan>> Describe(ConvolutionPass pass, const ConvolutionShape& shape) const;
  absl::Status Choose(Plan& plan) const;
  // False: of another kind than asked for, or cuDNN cannot run it.
  absl::StatusOr<bool> Try(Descriptor& configuration, Plan& plan) const;
  absl::StatusOr<std::vector<Descriptor>> Candidates(cudnnBackendHeurMode_t mode, Plan& plan) const;
  absl::Status Point(const ConvolutionTensors& tensors, Plan& plan);

  const CudnnApi api_;
  cudnnHandle_t handle_ = nullptr;
  int64_t workspace_bytes_ = 0;
  std::vector<std::unique_ptr<Plan>> plans_;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CUDA_CONVOLUTIONS_H_
