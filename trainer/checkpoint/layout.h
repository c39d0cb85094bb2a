// Names and ranges: where a checkpoint lies, which part of which tensor a rank holds and stores. Pure; thread-safe.
//
//   DIRECTORY/JOB_ID/step-00000100/          a checkpoint: MANIFEST.pb, w-00of02.safetensors, w-01of02.safetensors
//   DIRECTORY/JOB_ID/step-00000100.tmp-3/    one that epoch 3 is writing
//   DIRECTORY/JOB_ID/latest                  link to the newest committed one
#ifndef RINGMASTER_TRAINER_CHECKPOINT_LAYOUT_H_
#define RINGMASTER_TRAINER_CHECKPOINT_LAYOUT_H_

#include <compare>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/tensor/tensor_cut.h"

namespace ringmaster::trainer {

inline constexpr char kManifestName[] = "MANIFEST.pb";
inline constexpr char kLatestName[] = "latest";

// A tensor of the state, as far as this rank holds it.
struct StateTensor {
  std::string name;
  std::vector<int64_t> shape;  // of the whole tensor, row-major
  std::span<float> values;     // of the part
  TensorCut cut = {};          // the part
  bool is_counted = true;      // false: another rank holds the same part and stores it
};

int64_t ElementsOf(const std::vector<int64_t>& shape);

// A contiguous range of a whole tensor, flattened, that a rank stores.
struct TensorPiece {
  std::string name;
  std::vector<int64_t> shape;  // of the whole tensor
  int64_t begin = 0;           // elements of the whole tensor
  int64_t end = 0;
  const float* values = nullptr;  // of the range; null where only the sizes matter

  int64_t size() const { return end - begin; }
};

int64_t ElementsOf(const std::vector<TensorPiece>& pieces);

// What rank `rank` of `ranks` stores of what all of them hold: its equal part of the concatenation.
std::vector<TensorPiece> PartOfPieces(const std::vector<TensorPiece>& pieces, int rank, int ranks);

std::string StepName(int64_t step);                        // "step-00000100"
std::string TemporaryName(int64_t step, int64_t epoch);    // "step-00000100.tmp-3"
std::string ShardName(int rank, int ranks);                // "w-00of02.safetensors"
std::optional<int64_t> StepOfName(std::string_view name);  // of a StepName alone

// What a TemporaryName says, in the order in which attempts begin.
struct Attempt {
  int64_t epoch = 0;
  int64_t step = 0;

  auto operator<=>(const Attempt&) const = default;
};
std::optional<Attempt> AttemptOfTemporaryName(std::string_view name);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CHECKPOINT_LAYOUT_H_
