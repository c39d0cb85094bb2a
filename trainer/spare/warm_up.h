// What a rank would wait for when it starts, done in advance by a warm spare. On each GPU of the host a context, our kernels,
// cuBLASLt's and NCCL's: the spare does not know which GPU it will be given. About half a GB on each. On CPUs the data, and the
// code that oneDNN writes for products of the job's sizes. One thread.
#ifndef RINGMASTER_TRAINER_SPARE_WARM_UP_H_
#define RINGMASTER_TRAINER_SPARE_WARM_UP_H_

#include <functional>

#include "absl/status/status.h"
#include "collectives/nccl/nccl_api.h"
#include "common/clock.h"
#include "proto/job.pb.h"

namespace ringmaster::trainer {

struct WarmUpParts {
  NcclApi& nccl;
  const Clock& clock;
  std::function<absl::Status(int device)> step;  // a training step there
  std::function<bool()> is_told;                 // the spare is needed: what is not done by now is left
};

// Whatever fails, fails again where it is needed and is said there; the first error is for a log.
absl::Status WarmUpGpus(const WarmUpParts& parts);

// WarmUpParts::step: as this job's model, a GPT of one layer, made and dropped; of one sample where the device has no room for a
// micro-batch. cuBLASLt's kernels differ by the products' sizes. Errors: ReadJobConfig, OpenDataset, CreateCudaTraining.
absl::Status StepOneLayer(const v1::JobSpec& job, int world_size, int device);

// The same on the CPU: forward and backward, of nothing. Errors: ReadJobConfig, OpenDataset, CreateModel.
absl::Status StepOnCpu(const v1::JobSpec& job, int world_size);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_SPARE_WARM_UP_H_
