#include "trainer/checkpoint/layout.h"

#include <algorithm>
#include <functional>
#include <numeric>

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

int64_t ElementsOf(const std::vector<int64_t>& shape) {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

int64_t ElementsOf(const std::vector<TensorPiece>& pieces) {
  int64_t elements = 0;
  for (const TensorPiece& piece : pieces) elements += piece.size();
  return elements;
}

std::vector<TensorPiece> PartOfPieces(const std::vector<TensorPiece>& pieces, int rank, int ranks) {
  const int64_t total = ElementsOf(pieces);
  const int64_t begin = total * rank / ranks;
  const int64_t end = total * (rank + 1) / ranks;
  std::vector<TensorPiece> part;
  int64_t start = 0;
  for (const TensorPiece& piece : pieces) {
    const int64_t from = std::max<int64_t>(begin - start, 0);
    const int64_t to = std::min(end - start, piece.size());
    start += piece.size();
    if (from >= to) continue;
    part.push_back(piece);
    part.back().begin = piece.begin + from;
    part.back().end = piece.begin + to;
    if (piece.values != nullptr) part.back().values = piece.values + from;
  }
  return part;
}

std::string StepName(int64_t step) { return absl::StrFormat("step-%08d", step); }

std::string TemporaryName(int64_t step, int64_t epoch) { return absl::StrFormat("step-%08d.tmp-%d", step, epoch); }

std::string ShardName(int rank, int ranks) { return absl::StrFormat("w-%02dof%02d.safetensors", rank, ranks); }

std::optional<int64_t> StepOfName(std::string_view name) {
  if (!name.starts_with(kStepPrefix)) return std::nullopt;
  return ParseNumber(name.substr(kStepPrefix.size()));
}

std::optional<Attempt> AttemptOfTemporaryName(std::string_view name) {
  const size_t mark = name.find(kTemporaryMark);
  if (mark == std::string_view::npos) return std::nullopt;
  const std::optional<int64_t> step = StepOfName(name.substr(0, mark));
  const std::optional<int64_t> epoch = ParseNumber(name.substr(mark + kTemporaryMark.size()));
  if (!step || !epoch) return std::nullopt;
  return Attempt{*epoch, *step};
}

}  // namespace ringmaster::trainer
