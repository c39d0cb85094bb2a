// The forward and backward pass of a classifier as a sequence of kernels, convolutions and matrix products on one stream. Owns no
// memory but the convolutions' workspaces.
#ifndef RINGMASTER_TRAINER_CUDA_CLASSIFIER_PASSES_H_
#define RINGMASTER_TRAINER_CUDA_CLASSIFIER_PASSES_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "trainer/cuda/classifier_tensors.h"
#include "trainer/cuda/convolutions.h"
#include "trainer/cuda/data_exchange.h"
#include "trainer/cuda/gemm_plans.h"
#include "trainer/cuda/pass_options.h"
#include "trainer/cuda/step_profile.h"

namespace ringmaster::trainer {

class ClassifierPasses {
 public:
  // All must outlive this.
  struct Parts {
    const CudaClassifierConfig& config;
    const ClassifierParameters& parameters;
    const ClassifierTensors& tensors;
    GemmPlans& products;
    StepProfile& profile;
    DataExchange& exchange;
    cudaStream_t stream;
  };

  explicit ClassifierPasses(const Parts& parts) : parts_(parts), tensors_(parts.tensors) {}

  // Plans every product and convolution on the tensors themselves, whose values it overwrites.
  absl::Status Prepare();

  // From the input to the logits and, of images as rows, to losses, added up in the output; with `gradient`, the logits become
  // their gradient.
  absl::Status Forward(const LossOptions& options);
  // From the logits' gradient to all gradients.
  absl::Status Backward(const BackwardOptions& options);

  // "cuDNN 9.14.0", or nothing where it is not needed.
  std::string version() const { return convolutions_ == nullptr ? "" : convolutions_->version(); }
  int64_t workspace_bytes() const { return convolutions_ == nullptr ? 0 : convolutions_->workspace_bytes(); }

 private:
  struct Numbers {  // of a layer's convolutions
    size_t forward = 0, input_gradient = 0, filter_gradient = 0;
  };

  const Bf16* Weights(int64_t offset) const { return tensors_.rounded + offset; }
  float* Gradients(int64_t offset) const { return tensors_.gradients + offset; }
  size_t BucketOfLinear(size_t layer) const { return parts_.parameters.convolutions().size() + layer; }
  // What the layer gives: the next one's input.
  Bf16* OutputOf(size_t linear) const;
  Bf16* OutputGradientOf(size_t linear) const;

  absl::Status Multiply(const char* name, const GemmShape& shape, const GemmTensors& tensors);
  absl::Status Convolve(const char* name, size_t number, const ConvolutionLayer& layer);
  absl::Status BiasBackward(int64_t rows, int64_t columns, const Bf16* dy, int64_t bias);
  absl::Status ConvolutionForward(size_t index);
  absl::Status ConvolutionBackward(size_t index);
  absl::Status LinearForward(size_t index);
  absl::Status LinearBackward(size_t index);
  absl::Status PrepareConvolutions();

  const Parts parts_;
  const ClassifierTensors& tensors_;
  std::unique_ptr<Convolutions> convolutions_;
  std::vector<Numbers> numbers_;
  bool accumulate_ = false;
  bool is_preparing_ = false;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CUDA_CLASSIFIER_PASSES_H_
