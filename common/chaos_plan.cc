#include "common/chaos_plan.h"

#include <algorithm>
#include <random>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace ringmaster {
namespace {

constexpr ChaosKind kKinds[] = {
    {"killed", ChaosPoint::kCompute, false},
    {"crashed", ChaosPoint::kCompute, false},
    {"exited", ChaosPoint::kCompute, false},
    {"requeued", ChaosPoint::kCompute, false},
    {"stopped", ChaosPoint::kCompute, false},
    {"stuck_in_data", ChaosPoint::kData, false},
    {"stuck_in_compute", ChaosPoint::kCompute, false},
    {"never_entered", ChaosPoint::kCollective, false},
    {"mismatched_call", ChaosPoint::kCollective, false},
    {"network", ChaosPoint::kCollective, false},
    {"slow", ChaosPoint::kCompute, false},
    {"disk_full", ChaosPoint::kSave, false},
    {"checkpoint_failed", ChaosPoint::kSave, false},
    {"stuck_in_checkpoint", ChaosPoint::kSave, false},
    {"never_joined", ChaosPoint::kStart, false},
    {"out_of_memory", ChaosPoint::kCompute, false},
    {"bad_input", ChaosPoint::kCompute, true},
    {"gave_up", ChaosPoint::kCompute, true},
    {"bad_exit", ChaosPoint::kExit, true},
    {"stuck_at_exit", ChaosPoint::kExit, true},
};

// The same numbers with every library: std's distributions differ.
uint64_t Below(std::mt19937_64& random, uint64_t limit) { return random() % limit; }

}  // namespace

std::span<const ChaosKind> ChaosKinds() { return kKinds; }

const ChaosKind* FindChaosKind(std::string_view name) {
  const auto found = std::find_if(std::begin(kKinds), std::end(kKinds), [&](const ChaosKind& kind) { return kind.name == name; });
  return found == std::end(kKinds) ? nullptr : found;
}

std::vector<ChaosFault> DrawChaosPlan(std::vector<std::string> names, int ranks, int64_t every, uint64_t seed) {
  std::mt19937_64 random(seed);
  for (size_t i = names.size(); i > 1; --i) std::swap(names[i - 1], names[Below(random, i)]);
  std::stable_partition(names.begin(), names.end(), [](const std::string& name) { return !FindChaosKind(name)->ends_job; });
  std::vector<ChaosFault> plan;
  for (size_t i = 0; i < names.size(); ++i) {
    const int rank = static_cast<int>(Below(random, static_cast<uint64_t>(ranks)));
    plan.push_back({static_cast<int>(i), names[i], rank, every * static_cast<int64_t>(i + 1)});
  }
  return plan;
}

std::string FormatChaosPlan(std::span<const ChaosFault> plan) {
  std::string text;
  for (const ChaosFault& fault : plan)
    absl::StrAppend(&text, fault.number, " ", fault.name, " ", fault.rank, " ", fault.step, "\n");
  return text;
}

absl::StatusOr<std::vector<ChaosFault>> ParseChaosPlan(std::string_view text) {
  std::vector<ChaosFault> plan;
  int number = 0;
  for (const std::string& line : std::vector<std::string>(absl::StrSplit(absl::string_view(text.data(), text.size()), '\n'))) {
    ++number;
    if (line.empty()) continue;
    const std::vector<std::string> words = absl::StrSplit(line, ' ');
    ChaosFault fault;
    if (words.size() != 4 || !absl::SimpleAtoi(words[0], &fault.number) || FindChaosKind(words[1]) == nullptr ||
        !absl::SimpleAtoi(words[2], &fault.rank) || !absl::SimpleAtoi(words[3], &fault.step)) {
      return absl::InvalidArgumentError(absl::StrCat("line ", number, " of the chaos plan: \"", line,
                                                     "\"; expected NUMBER FAULT RANK STEP, as `ringmaster chaos` writes it"));
    }
    fault.name = words[1];
    plan.push_back(std::move(fault));
  }
  return plan;
}

}  // namespace ringmaster
