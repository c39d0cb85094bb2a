#include "collectives/nccl/nccl_api_loaded.h"

namespace ringmaster {

absl::StatusOr<std::unique_ptr<NcclApi>> LoadNcclApi(const NcclLoadOptions&) {
  return absl::UnimplementedError("this build of Ringmaster has no CUDA: build it where the CUDA toolkit and nccl.h are installed");
}

}  // namespace ringmaster
