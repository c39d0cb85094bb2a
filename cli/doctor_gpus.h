// What `ringmaster doctor` says of this host's GPUs: which there are, how they are connected, and whether they reach each other.
// Pure but for CheckGpus.
#ifndef RINGMASTER_CLI_DOCTOR_GPUS_H_
#define RINGMASTER_CLI_DOCTOR_GPUS_H_

#include <vector>

#include "absl/status/statusor.h"
#include "cli/doctor_checks.h"
#include "collectives/nccl/peer_access.h"
#include "worker/host/gpu_topology.h"

namespace ringmaster::cli {

// Asks NVML, and copies between every two GPUs.
std::vector<Finding> CheckGpus();

// `device_files`: of NVIDIA's in /dev, GPUs alone.
Finding JudgeGpus(const absl::StatusOr<GpuTopology>& topology, int device_files);
// A table of every two GPUs.
Finding JudgeGpuPaths(const GpuTopology& topology);
Finding JudgePeerCopies(const GpuTopology& topology, const absl::StatusOr<std::vector<PeerCopy>>& copies);

}  // namespace ringmaster::cli

#endif  // RINGMASTER_CLI_DOCTOR_GPUS_H_
