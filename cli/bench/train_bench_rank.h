// One rank of `ringmaster bench train` on its GPU, one thread; rank 0 fills in the report.
#ifndef RINGMASTER_CLI_BENCH_TRAIN_BENCH_RANK_H_
#define RINGMASTER_CLI_BENCH_TRAIN_BENCH_RANK_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cli/bench/train_options.h"
#include "cli/bench/train_report.h"
#include "collectives/communicator.h"
#include "collectives/nccl/nccl_api.h"
#include "collectives/rendezvous.h"
#include "common/clock.h"
#include "trainer/cuda/cuda_gpt.h"
#include "trainer/data/batch.h"
#include "trainer/parallel/connect_devices.h"
#include "trainer/parallel/mesh.h"

namespace ringmaster::cli {

inline constexpr int64_t kBenchVocabulary = 50257;  // GPT-2's

class TrainBenchRank {
 public:
  // `config`: of the whole model. Options are checked. All outlive this.
  TrainBenchRank(const TrainBenchOptions& options, const trainer::CudaGptConfig& config, Communicator& host, const Clock& clock,
                 TrainReport& report);

  // Times one GPU alone, all apart, and all together. FAILED_PRECONDITION: fewer GPUs than ranks. Others: CudaModel's,
  // ConnectDevices'.
  absl::Status Run(const absl::StatusOr<NcclApi*>& nccl, Rendezvous& rendezvous);

 private:
  struct Rates {
    double alone = 0;  // tokens/s of rank 0's GPU
    double apart = 0;  // of the slowest, while all are at work
  };

  // Plans what this rank holds of the model when so many share it, and draws its batches.
  absl::Status SetUp(const trainer::MeshShape& mesh);
  // GPT-2's initial weights, the same on all ranks that hold the same; no moments; a few steps.
  absl::Status Begin();
  absl::Status Steps(int64_t count, bool copies_shards = false);
  absl::StatusOr<trainer::LossSum> Passes();
  absl::StatusOr<double> GradientNorm();
  absl::StatusOr<double> TimeAlone();
  absl::StatusOr<double> TimeApart();
  absl::Status TimeTogether(const Rates& rates, const trainer::DeviceGroups& groups);
  absl::Status TimeSnapshots();
  absl::Status Breakdown();

  double tokens_of_step() const { return static_cast<double>(options_.sequences * options_.context * mesh_.ranks()); }

  const TrainBenchOptions& options_;
  trainer::CudaGptConfig config_;
  Communicator& host_;
  const Clock& clock_;
  TrainReport& report_;
  trainer::MeshShape mesh_;  // of those that step together
  std::vector<trainer::Batch> batches_;
  std::unique_ptr<trainer::CudaModel> gpt_;
  int64_t number_ = 1;  // of the next step
  double loss_ = 0;     // of the last step; of a replica one rank has it
};

}  // namespace ringmaster::cli

#endif  // RINGMASTER_CLI_BENCH_TRAIN_BENCH_RANK_H_
