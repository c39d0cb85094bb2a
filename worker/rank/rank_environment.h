// The environment of a rank: torchrun's contract beside Ringmaster's own names (common/environment.h). A pure function.
#ifndef RINGMASTER_WORKER_RANK_RANK_ENVIRONMENT_H_
#define RINGMASTER_WORKER_RANK_RANK_ENVIRONMENT_H_

#include <map>
#include <string>
#include <vector>

#include "common/ids.h"

namespace ringmaster {

struct RankPlace {
  JobId job;
  Epoch epoch;
  Rank rank;
  Incarnation incarnation;
  int local_rank = 0;
  int local_world_size = 1;
  int world_size = 1;
  int group_rank = 0;
  int group_world_size = 1;
  int restart_count = 0;  // of the job, not of this worker: a new unique id per restart depends on it
  int max_restarts = 0;
  std::string master_address;
  int master_port = 0;
  std::string coordinator;
  std::string relay;
  std::string host;
  std::string address;
  int board_fd = -1;
  int usable_cores = 1;
  std::string gpus = {};  // in the order of local ranks, as CUDA_VISIBLE_DEVICES; empty: as CUDA finds them
};

using Environment = std::map<std::string, std::string>;

// Who wins, weakest first: defaults (OMP_NUM_THREADS, TORCH_NCCL_ASYNC_ERROR_HANDLING, CUDA_VISIBLE_DEVICES) < the operator's
// environment < the contract (RANK, ..., RINGMASTER_*) < the job's env < NCCL_NVLS_ENABLE=0, TORCH_SYMM_MEM_DISABLE_MULTICAST=1,
// NVSHMEM_DISABLE_NVLS=1, which are never to be changed: NVLink multicast can take a whole machine's GPUs down.
Environment BuildRankEnvironment(const RankPlace& place, const Environment& operator_environment,
                                 const Environment& job_environment);

// Without what differs between ranks and epochs of one job: what a process can be started with before its rank is known.
Environment WithoutRank(Environment environment);

// NAME=VALUE strings <-> map. Entries without '=' are left out.
Environment ParseEnvironment(const char* const* variables);
std::vector<std::string> FormatEnvironment(const Environment& environment);

}  // namespace ringmaster

#endif  // RINGMASTER_WORKER_RANK_RANK_ENVIRONMENT_H_
