// Where the time of a step goes: an event after each piece of work, read when the step is over. Off, it costs nothing.
#ifndef RINGMASTER_TRAINER_CUDA_STEP_PROFILE_H_
#define RINGMASTER_TRAINER_CUDA_STEP_PROFILE_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/cuda/cuda_model.h"
#include "trainer/cuda/device_memory.h"

namespace ringmaster::trainer {

class StepProfile {
 public:
  explicit StepProfile(cudaStream_t stream) : stream_(stream) {}

  absl::Status Begin();
  struct Amount {
    double flops = 0;
    double bytes = 0;
  };

  // What was enqueued since the last mark was `work`, a literal.
  absl::Status Mark(const char* work, const Amount& amount);
  // Waits for the device; work of the same name is added up, in the order of first appearance.
  absl::StatusOr<std::vector<ProfiledWork>> End();

 private:
  struct Entry {
    const char* work;
    Amount amount;
    OwnedEvent event;
  };

  const cudaStream_t stream_;
  bool is_on_ = false;
  std::vector<Entry> entries_;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CUDA_STEP_PROFILE_H_
