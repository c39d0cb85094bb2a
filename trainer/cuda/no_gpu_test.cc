// Stands in for the GPU tests where CUDA is missing: says so, and that a GPU job is refused with a reason.
#include <iostream>

#include "common/status_matchers.h"
#include "trainer/cuda/cuda_gpt.h"

namespace ringmaster::trainer {
namespace {

TEST(CudaGpt, WithoutCudaIsRefused) {
  std::cout << "SKIPPED: GPU tests: built without CUDA" << std::endl;
  EXPECT_THAT(CreateCudaGpt({}), testing::StatusIs(absl::StatusCode::kUnimplemented, ::testing::HasSubstr("without CUDA")));
}

}  // namespace
}  // namespace ringmaster::trainer
