#include "cli/bench/bench_options.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/status_macros.h"

namespace ringmaster::cli {
namespace {

template <typename Enum>
absl::StatusOr<Enum> ParseName(const std::string& text, int values, const char* what) {
  std::vector<std::string> names;
  for (int value = 0; value < values; ++value) {
    const auto candidate = static_cast<Enum>(value);
    if (text == NameOf(candidate)) return candidate;
    names.push_back(NameOf(candidate));
  }
  return absl::InvalidArgumentError(absl::StrCat(what, " is \"", text, "\"; it must be one of ", absl::StrJoin(names, ", ")));
}

absl::StatusOr<int64_t> ParseBytes(absl::string_view text) {
  int64_t unit = 1;
  if (!text.empty()) {
    if (text.back() == 'K') unit = int64_t{1} << 10;
    if (text.back() == 'M') unit = int64_t{1} << 20;
    if (text.back() == 'G') unit = int64_t{1} << 30;
    if (unit > 1) text.remove_suffix(1);
  }
  int64_t number = 0;
  if (!absl::SimpleAtoi(text, &number) || number < 0 || number > (int64_t{1} << 40) / unit) {
    return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is no number of bytes such as 8, 64K or 1G"));
  }
  return number * unit;
}

}  // namespace

absl::StatusOr<Operation> ParseOperation(const std::string& text) {
  RM_ASSIGN_OR_RETURN(const Operation operation, ParseName<Operation>(text, kOperations, "--op"));
  if (IsPointToPoint(operation)) return absl::InvalidArgumentError("--op send and receive are measured by all_to_all");
  return operation;
}

absl::StatusOr<DataType> ParseType(const std::string& text) { return ParseName<DataType>(text, kDataTypes, "--dtype"); }

absl::StatusOr<Reduction> ParseReduction(const std::string& text) { return ParseName<Reduction>(text, kReductions, "--reduction"); }

absl::StatusOr<std::vector<int64_t>> ParseSizes(const std::string& text) {
  std::vector<int64_t> sizes;
  if (!absl::StrContains(text, ':')) {
    for (const absl::string_view part : absl::StrSplit(text, ',')) {
      RM_ASSIGN_OR_RETURN(const int64_t size, ParseBytes(part));
      sizes.push_back(size);
    }
    return sizes;
  }
  const std::vector<absl::string_view> parts = absl::StrSplit(text, ':');
  if (parts.size() > 3) return absl::InvalidArgumentError(absl::StrCat("--sizes is ", text, "; expected FIRST:LAST[:FACTOR]"));
  RM_ASSIGN_OR_RETURN(const int64_t first, ParseBytes(parts[0]));
  RM_ASSIGN_OR_RETURN(const int64_t last, ParseBytes(parts[1]));
  int64_t factor = 2;
  if (parts.size() == 3 && (!absl::SimpleAtoi(parts[2], &factor) || factor < 2)) {
    return absl::InvalidArgumentError(absl::StrCat("--sizes is ", text, "; the factor must be 2 or more"));
  }
  if (first < 1 || last < first)
    return absl::InvalidArgumentError(absl::StrCat("--sizes is ", text, "; it must rise from 1 byte or more"));
  for (int64_t size = first; size <= last; size *= factor) sizes.push_back(size);
  return sizes;
}

double BusFactor(Operation operation, int ranks) {
  const double others = static_cast<double>(ranks - 1) / ranks;
  switch (operation) {
    case Operation::kAllReduce: return 2 * others;
    case Operation::kBroadcast:
    case Operation::kReduce:
    case Operation::kBarrier: return 1;
    default: return others;
  }
}

}  // namespace ringmaster::cli
