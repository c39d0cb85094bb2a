// The layers of a classifier, and where their parameters lie in the arenas of a device. Names and shapes are those of the CPU's
// model (trainer/models/classifier.h). Pure; no CUDA.
#ifndef RINGMASTER_TRAINER_CUDA_CLASSIFIER_PARAMETERS_H_
#define RINGMASTER_TRAINER_CUDA_CLASSIFIER_PARAMETERS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "trainer/cuda/cuda_classifier.h"
#include "trainer/models/model.h"
#include "trainer/parallel/shard_layout.h"

namespace ringmaster::trainer {

// A multiple of 8, as vectors and tensor cores want it.
int64_t PaddedChannels(int64_t channels);

struct ConvolutionLayer {
  int64_t inputs = 0;  // channels
  int64_t outputs = 0;
  int64_t height = 0;  // of its input
  int64_t width = 0;
  bool is_last = false;  // linear layers follow, which read (channels, height, width) without padding
  int64_t weight = 0;    // offset; (outputs, inputs, 3, 3)
  int64_t bias = 0;

  int64_t padded_inputs() const { return PaddedChannels(inputs); }
  int64_t padded_outputs() const { return PaddedChannels(outputs); }
};

struct LinearLayer {
  int64_t inputs = 0;
  int64_t outputs = 0;  // of the last one padded: the classes, and others that no image has
  bool relu = true;     // of all but the last
  int64_t weight = 0;   // offset; (outputs, inputs)
  int64_t bias = 0;
};

class ClassifierParameters {
 public:
  explicit ClassifierParameters(const CudaClassifierConfig& config);

  // INVALID_ARGUMENT: names the layer whose sizes the device's products cannot have.
  static absl::Status Check(const CudaClassifierConfig& config);

  const std::vector<Parameter>& list() const { return list_; }
  const std::vector<ConvolutionLayer>& convolutions() const { return convolutions_; }
  const std::vector<LinearLayer>& linears() const { return linears_; }
  int64_t elements() const { return elements_; }
  // One for each layer, convolutions first.
  std::vector<ArenaRange> buckets() const;

 private:
  void AddLinear(const std::string& name, int64_t inputs, int64_t outputs, bool relu);
  int64_t Add(Parameter parameter, int64_t room);

  std::vector<Parameter> list_;
  std::vector<ConvolutionLayer> convolutions_;
  std::vector<LinearLayer> linears_;
  int64_t elements_ = 0;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CUDA_CLASSIFIER_PARAMETERS_H_
