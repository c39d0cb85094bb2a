// A training step asks for no memory: everything is planned before step 0.
#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "common/status_matchers.h"
#include "gtest/gtest.h"
#include "trainer/models/create_model.h"
#include "trainer/models/reference_model.h"
#include "trainer/optimizer/optimizer.h"

namespace {

std::atomic<bool> counting = false;
std::atomic<int64_t> own_allocations = 0;
std::atomic<int64_t> largest_library_allocation = 0;

// oneDNN builds a map of a primitive's few arguments in every call; that is the library's own and stays small. Anything else is
// ours.
void Count(size_t bytes, const void* caller) {
  if (!counting) return;
  Dl_info info = {};
  if (dladdr(caller, &info) != 0 && info.dli_fname != nullptr && std::strstr(info.dli_fname, "libdnnl") != nullptr) {
    largest_library_allocation = std::max<int64_t>(largest_library_allocation, static_cast<int64_t>(bytes));
  } else {
    ++own_allocations;
  }
}

}  // namespace

// Never inlined: the caller's address and the pairing with delete stay visible.
[[gnu::noinline]] void* operator new(size_t bytes) {
  Count(bytes, __builtin_return_address(0));
  void* const memory = std::malloc(bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace ringmaster::trainer {
namespace {

void ExpectNoAllocation(const ModelConfig& config, const SampleShape& shape, const OptimizerConfig& optimizer_config) {
  ASSERT_OK_AND_ASSIGN(const std::unique_ptr<Model> model, CreateModel(config, shape, 4));
  model->Initialize(1);
  const auto optimizer = CreateOptimizer(optimizer_config, *model);
  const Batch batch = ExampleBatch(shape, 4, 1);
  const Batch short_batch = ExampleBatch(shape, 3, 2);
  own_allocations = 0;
  largest_library_allocation = 0;

  counting = true;
  bool good = true;
  double norm = 0;
  for (int step = 1; step <= 3; ++step) {
    good = good && model->ForwardBackward(batch, 1.0f).ok();
    norm += SquaredNorm(model->gradients());
    good = good && optimizer->Step(step, 1e-3f, 0.5f).ok();
    good = good && model->Evaluate(short_batch).ok();
  }
  counting = false;

  EXPECT_TRUE(good);
  EXPECT_GT(norm, 0.0);
  EXPECT_EQ(own_allocations, 0);
  EXPECT_LE(largest_library_allocation, 1024);
}

// oneDNN reads its environment variables when the first primitive of the process runs.
class NoAllocation : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    const SampleShape shape = {.context = 0, .vocabulary = 0, .height = 2, .width = 2, .classes = 2};
    ASSERT_OK_AND_ASSIGN(const std::unique_ptr<Model> model, CreateModel(MlpConfig{}, shape, 1));
    ASSERT_OK(model->Evaluate(ExampleBatch(shape, 1, 1)));
  }
};

TEST_F(NoAllocation, TheCounterSeesOurOwn) {
  own_allocations = 0;
  counting = true;
  auto value = std::make_unique<std::vector<int>>(5000);
  counting = false;
  EXPECT_EQ(own_allocations, 2);
  EXPECT_EQ(value->size(), 5000u);
}

TEST_F(NoAllocation, GptStep) {
  ExpectNoAllocation(GptConfig{.layers = 2, .heads = 2, .channels = 32, .context = 24}, {.context = 24, .vocabulary = 256},
                     AdamWConfig{.learning_rate = 1e-3});
}

const SampleShape kImages = {.context = 0, .vocabulary = 0, .height = 28, .width = 28, .classes = 10};

TEST_F(NoAllocation, MlpStep) {
  ExpectNoAllocation(MlpConfig{{64, 32}}, kImages, SgdConfig{.learning_rate = 0.1, .momentum = 0.9});
}

TEST_F(NoAllocation, CnnStep) { ExpectNoAllocation(CnnConfig{{16, 32}, 64}, kImages, SgdConfig{.learning_rate = 0.1}); }

}  // namespace
}  // namespace ringmaster::trainer
