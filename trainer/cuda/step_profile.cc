#include "trainer/cuda/step_profile.h"

#include <algorithm>
#include <utility>

#include "common/status_macros.h"
#include "trainer/cuda/cuda_status.h"

namespace ringmaster::trainer {

absl::Status StepProfile::Begin() {
  entries_.clear();
  is_on_ = true;
  return Mark("", {});
}

absl::Status StepProfile::Mark(const char* work, const Amount& amount) {
  if (!is_on_) return absl::OkStatus();
  RM_ASSIGN_OR_RETURN(OwnedEvent event, CreateEvent(/*timed=*/true));
  RM_CUDA(cudaEventRecord(event.get(), stream_));
  entries_.push_back({work, amount, std::move(event)});
  return absl::OkStatus();
}

absl::StatusOr<std::vector<ProfiledWork>> StepProfile::End() {
  is_on_ = false;
  std::vector<ProfiledWork> works;
  RM_CUDA(cudaEventSynchronize(entries_.back().event.get()));
  for (size_t i = 1; i < entries_.size(); ++i) {
    float milliseconds = 0;
    RM_CUDA(cudaEventElapsedTime(&milliseconds, entries_[i - 1].event.get(), entries_[i].event.get()));
    auto it = std::ranges::find(works, entries_[i].work, &ProfiledWork::name);
    if (it == works.end()) it = works.insert(works.end(), ProfiledWork{entries_[i].work, 0, 0, 0});
    it->milliseconds += static_cast<double>(milliseconds);
    it->flops += entries_[i].amount.flops;
    it->bytes += entries_[i].amount.bytes;
  }
  return works;
}

}  // namespace ringmaster::trainer
