// One micro-batch of one rank, owned by whoever fills it; sized once before step 0.
#ifndef RINGMASTER_TRAINER_DATA_BATCH_H_
#define RINGMASTER_TRAINER_DATA_BATCH_H_

#include <cstdint>
#include <vector>

namespace ringmaster::trainer {

struct Batch {
  int64_t samples = 0;           // sequences or images in use; at most what the model was planned for
  std::vector<int32_t> tokens;   // (samples, context): GPT
  std::vector<float> pixels;     // (samples, height * width), 0..1: classifiers
  std::vector<int32_t> targets;  // (samples, context) next tokens, or (samples) labels
};

// Shape of what a data set delivers; the model is planned for it.
struct SampleShape {
  int64_t context = 0;     // tokens per sequence; 0 for images
  int64_t vocabulary = 0;  // GPT
  int64_t height = 0;      // images
  int64_t width = 0;
  int64_t classes = 0;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_DATA_BATCH_H_
