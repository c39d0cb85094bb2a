// Samples text from a checkpoint of a byte-level GPT.
#ifndef RINGMASTER_TRAINER_TOOLS_GENERATE_H_
#define RINGMASTER_TRAINER_TOOLS_GENERATE_H_

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "trainer/data/random.h"

namespace ringmaster::trainer {

struct GenerateRequest {
  std::string checkpoint;
  std::string prompt;
  int64_t bytes = 500;
  double temperature = 0.8;  // 0 = always the most likely byte
  int64_t top_k = 0;         // among this many most likely bytes; 0 = all
  uint64_t seed = 0;
};

// Writes the prompt, then each byte as it is sampled. The same request gives the same text.
// FAILED_PRECONDITION: the checkpoint is of no byte-level GPT. Others: of CheckpointReader::Open and Verify, CreateModel.
absl::Status Generate(const GenerateRequest& request, const std::function<void(std::string_view)>& write);

// One draw from softmax(logits / temperature) over the top_k. `order` is scratch of the same size. Exposed for its test.
int32_t SampleToken(std::span<const float> logits, double temperature, int64_t top_k, RandomStream& random,
                    std::vector<int32_t>& order);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_TOOLS_GENERATE_H_
