// Names and ranges: where a checkpoint lies, which part of which global tensor each rank stores. Pure; thread-safe.
//
//   DIRECTORY/JOB_ID/step-00000100/          a checkpoint: MANIFEST.pb, w-00of02.safetensors, w-01of02.safetensors
//   DIRECTORY/JOB_ID/step-00000100.tmp-3/    one that epoch 3 is writing
//   DIRECTORY/JOB_ID/latest                  link to the newest committed one
#ifndef RINGMASTER_TRAINER_CHECKPOINT_LAYOUT_H_
#define RINGMASTER_TRAINER_CHECKPOINT_LAYOUT_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ringmaster::trainer {

inline constexpr char kManifestName[] = "MANIFEST.pb";
inline constexpr char kLatestName[] = "latest";

// A tensor as a whole, wherever its parts are stored. `values` may be empty where only the sizes matter.
struct GlobalTensor {
  std::string name;
  std::vector<int64_t> shape;  // row-major
  int64_t size = 0;            // elements
  std::span<float> values;
};

struct TensorRange {
  size_t tensor = 0;  // index into the list of global tensors
  int64_t begin = 0;  // elements
  int64_t end = 0;
};

// The ranges of rank `rank` of `ranks`: its equal part of the concatenation of all tensors, without empty ones.
std::vector<TensorRange> RangesOfRank(const std::vector<GlobalTensor>& tensors, int rank, int ranks);

std::string StepName(int64_t step);                        // "step-00000100"
std::string TemporaryName(int64_t step, int64_t epoch);    // "step-00000100.tmp-3"
std::string ShardName(int rank, int ranks);                // "w-00of02.safetensors"
std::optional<int64_t> StepOfName(std::string_view name);  // of a StepName alone
// The epoch of a TemporaryName.
std::optional<int64_t> EpochOfTemporaryName(std::string_view name);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CHECKPOINT_LAYOUT_H_
