#include "trainer/tools/generate.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "trainer/checkpoint/reader.h"
#include "trainer/job_config.h"
#include "trainer/models/create_model.h"
#include "trainer/tools/checkpoint_model.h"

namespace ringmaster::trainer {
namespace {

constexpr int64_t kByteVocabulary = 256;

}  // namespace

int32_t SampleToken(std::span<const float> logits, double temperature, int64_t top_k, RandomStream& random,
                    std::vector<int32_t>& order) {
  std::iota(order.begin(), order.end(), 0);
  const auto keep = top_k <= 0 ? order.size() : std::min(order.size(), static_cast<size_t>(top_k));
  // Equal logits keep the order of tokens, so that the draw does not depend on the sort.
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(keep), order.end(), [&](int32_t a, int32_t b) {
    const float x = logits[static_cast<size_t>(a)];
    const float y = logits[static_cast<size_t>(b)];
    return x != y ? x > y : a < b;
  });
  if (temperature == 0) return order[0];
  const auto weight = [&](size_t i) {
    return std::exp((static_cast<double>(logits[static_cast<size_t>(order[i])]) - logits[static_cast<size_t>(order[0])]) /
                    temperature);
  };
  double total = 0;
  for (size_t i = 0; i < keep; ++i) total += weight(i);
  double left = random.Uniform() * total;
  for (size_t i = 0; i < keep; ++i) {
    left -= weight(i);
    if (left < 0) return order[i];
  }
  return order[keep - 1];
}

absl::Status Generate(const GenerateRequest& request, const std::function<void(std::string_view)>& write) {
  // One short sequence at a time gains nothing from threads, and waiting for each other they lose much where cores are busy. It
  // also makes the text independent of OMP_NUM_THREADS.
  omp_set_num_threads(1);
  RM_ASSIGN_OR_RETURN(CheckpointReader reader, CheckpointReader::Open(request.checkpoint));
  const v1::JobSpec spec = SpecOf(reader);
  if (!spec.model().has_gpt() || !spec.data().has_text()) {
    return absl::FailedPreconditionError(absl::StrCat(reader.path(), " holds ", reader.manifest().model_fingerprint(),
                                                      ", expected a GPT trained on text (data.text)"));
  }
  RM_ASSIGN_OR_RETURN(const JobConfig config, ReadJobConfig(spec, /*world_size=*/1));
  RM_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model,
                      LoadModel(reader, config, {.context = config.context, .vocabulary = kByteVocabulary}, /*max_samples=*/1));
  write(request.prompt);
  std::vector<int32_t> tokens;
  for (const char c : request.prompt) tokens.push_back(static_cast<uint8_t>(c));
  // The model needs something to continue; the start of a line suits every text.
  if (tokens.empty()) tokens.push_back('\n');
  std::vector<float> logits(kByteVocabulary);
  std::vector<int32_t> order(kByteVocabulary);
  RandomStream random(Mix64(request.seed));
  for (int64_t i = 0; i < request.bytes; ++i) {
    const auto window = std::min(tokens.size(), static_cast<size_t>(config.context));
    RM_RETURN_IF_ERROR(NextTokenLogits(*model, std::span(tokens).last(window), logits));
    const int32_t token = SampleToken(logits, request.temperature, request.top_k, random, order);
    tokens.push_back(token);
    const char byte = static_cast<char>(token);
    write(std::string_view(&byte, 1));
  }
  return absl::OkStatus();
}

}  // namespace ringmaster::trainer
