#include "trainer/checkpoint/layout.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"

namespace ringmaster::trainer {
namespace {

constexpr std::string_view kStepPrefix = "step-";
constexpr std::string_view kTemporaryMark = ".tmp-";

std::optional<int64_t> ParseNumber(std::string_view digits) {
  int64_t value = 0;
  if (digits.empty() || digits.find_first_not_of("0123456789") != std::string_view::npos ||
      !absl::SimpleAtoi(absl::string_view(digits.data(), digits.size()), &value)) {
    return std::nullopt;
  }
  return value;
}

}  // namespace

std::vector<TensorRange> RangesOfRank(const std::vector<GlobalTensor>& tensors, int rank, int ranks) {
  int64_t total = 0;
  for (const GlobalTensor& tensor : tensors) total += tensor.size;
  const int64_t begin = total * rank / ranks;
  const int64_t end = total * (rank + 1) / ranks;
  std::vector<TensorRange> ranges;
  int64_t start = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const TensorRange range{i, std::max<int64_t>(begin - start, 0), std::min(end - start, tensors[i].size)};
    if (range.begin < range.end) ranges.push_back(range);
    start += tensors[i].size;
  }
  return ranges;
}

std::string StepName(int64_t step) { return absl::StrFormat("step-%08d", step); }

std::string TemporaryName(int64_t step, int64_t epoch) { return absl::StrFormat("step-%08d.tmp-%d", step, epoch); }

std::string ShardName(int rank, int ranks) { return absl::StrFormat("w-%02dof%02d.safetensors", rank, ranks); }

std::optional<int64_t> StepOfName(std::string_view name) {
  if (!name.starts_with(kStepPrefix)) return std::nullopt;
  return ParseNumber(name.substr(kStepPrefix.size()));
}

std::optional<int64_t> EpochOfTemporaryName(std::string_view name) {
  const size_t mark = name.find(kTemporaryMark);
  if (mark == std::string_view::npos || !StepOfName(name.substr(0, mark))) return std::nullopt;
  return ParseNumber(name.substr(mark + kTemporaryMark.size()));
}

}  // namespace ringmaster::trainer
