// Speed of one rank's compute without communication: milliseconds per phase and units per second. Pin it from outside (taskset) and
// set OMP_NUM_THREADS.
//   model_bench gpt|mlp|cnn [BATCH] [SECONDS]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/models/create_model.h"
#include "trainer/optimizer/optimizer.h"

namespace ringmaster::trainer {
namespace {

using Seconds = std::chrono::duration<double>;

struct Case {
  ModelConfig model;
  SampleShape shape;
  OptimizerConfig optimizer;
  int64_t batch = 0;
};

Case CaseOf(std::string_view name) {
  const SampleShape images = {.context = 0, .vocabulary = 0, .height = 28, .width = 28, .classes = 10};
  const SgdConfig sgd = {.learning_rate = 0.01, .momentum = 0.9};
  if (name == "mlp") return {MlpConfig{{512, 512}}, images, sgd, 64};
  if (name == "cnn") return {CnnConfig{{16, 32}, 128}, images, sgd, 64};
  const SampleShape text = {.context = 64, .vocabulary = 256};
  return {GptConfig{.layers = 4, .heads = 4, .channels = 128, .context = 64}, text, AdamWConfig{.learning_rate = 1e-3}, 8};
}

Batch RandomBatch(const Case& bench) {
  Batch batch;
  batch.samples = bench.batch;
  uint64_t state = 1;
  const auto next = [&state](int64_t below) {
    state = state * 6364136223846793005 + 1442695040888963407;
    return static_cast<int64_t>((state >> 33) % static_cast<uint64_t>(below));
  };
  for (int64_t i = 0; i < bench.batch * bench.shape.context; ++i) {
    batch.tokens.push_back(static_cast<int32_t>(next(bench.shape.vocabulary)));
    batch.targets.push_back(static_cast<int32_t>(next(bench.shape.vocabulary)));
  }
  for (int64_t i = 0; i < bench.batch * bench.shape.height * bench.shape.width; ++i) {
    batch.pixels.push_back(static_cast<float>(next(256)) / 255.0f);
  }
  for (int64_t i = 0; bench.shape.classes > 0 && i < bench.batch; ++i) {
    batch.targets.push_back(static_cast<int32_t>(next(bench.shape.classes)));
  }
  return batch;
}

struct Times {
  std::vector<double> values;
  void Print(const char* name) {
    std::ranges::sort(values);
    std::printf("%-18s median %8.3f ms   minimum %8.3f ms\n", name, values[values.size() / 2] * 1e3, values.front() * 1e3);
  }
};

int Run(std::string_view name, int64_t batch_size, double seconds) {
  Case bench = CaseOf(name);
  if (batch_size > 0) bench.batch = batch_size;
  auto model = CreateModel(bench.model, bench.shape, bench.batch);
  if (!model.ok()) {
    std::fprintf(stderr, "%s\n", model.status().ToString().c_str());
    return 1;
  }
  (*model)->Initialize(1);
  const auto optimizer = CreateOptimizer(bench.optimizer, **model);
  const Batch batch = RandomBatch(bench);
  const int64_t units = bench.batch * std::max<int64_t>(1, bench.shape.context);

  Times forward, both, norm, update, step;
  double loss = 0;
  std::clock_t processor = 0;  // of the steps alone: unlike wall time, it hardly changes when the machine is busy
  const auto start = std::chrono::steady_clock::now();
  for (int64_t i = 1; Seconds(std::chrono::steady_clock::now() - start).count() < seconds; ++i) {
    const auto t0 = std::chrono::steady_clock::now();
    auto evaluated = (*model)->Evaluate(batch);
    const auto t1 = std::chrono::steady_clock::now();
    const std::clock_t before = std::clock();
    auto trained = (*model)->ForwardBackward(batch, 1.0f / static_cast<float>(units));
    const auto t2 = std::chrono::steady_clock::now();
    loss += SquaredNorm((*model)->gradients());
    const auto t3 = std::chrono::steady_clock::now();
    const absl::Status stepped = optimizer->Step(i, 1e-3f, 1.0f);
    const auto t4 = std::chrono::steady_clock::now();
    processor += std::clock() - before;
    if (!evaluated.ok() || !trained.ok() || !stepped.ok()) {
      std::fprintf(stderr, "%s %s\n", evaluated.status().ToString().c_str(), trained.status().ToString().c_str());
      return 1;
    }
    loss = trained->loss / static_cast<double>(trained->units);
    forward.values.push_back(Seconds(t1 - t0).count());
    both.values.push_back(Seconds(t2 - t1).count());
    norm.values.push_back(Seconds(t3 - t2).count());
    update.values.push_back(Seconds(t4 - t3).count());
    step.values.push_back(Seconds(t4 - t1).count());
  }
  forward.Print("forward");
  both.Print("forward+backward");
  norm.Print("norm");
  update.Print("optimizer");
  step.Print("step");
  std::printf("%-18s %8.3f ms of processor time per step\n", "",
              static_cast<double>(processor) / CLOCKS_PER_SEC * 1e3 / static_cast<double>(step.values.size()));
  std::printf("%s batch %ld: %.0f units/s median, %.0f best; %zu steps, loss %.4f\n", (*model)->fingerprint().c_str(), bench.batch,
              static_cast<double>(units) / step.values[step.values.size() / 2], static_cast<double>(units) / step.values.front(),
              step.values.size(), loss);
  return 0;
}

}  // namespace
}  // namespace ringmaster::trainer

int main(int argc, char** argv) {
  const std::string name = argc > 1 ? argv[1] : "gpt";
  const int64_t batch = argc > 2 ? std::atol(argv[2]) : 0;
  const double seconds = argc > 3 ? std::atof(argv[3]) : 3.0;
  return ringmaster::trainer::Run(name, batch, seconds);
}
