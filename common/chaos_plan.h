// What `ringmaster chaos` does to a job: a list of faults, each for one rank at one step. The command writes it into a directory,
// its trainers read it there (RINGMASTER_CHAOS names the directory), and each fault leaves a line in the record beside it. Pure.
#ifndef RINGMASTER_COMMON_CHAOS_PLAN_H_
#define RINGMASTER_COMMON_CHAOS_PLAN_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace ringmaster {

// Where in a trainer's life a fault strikes.
enum class ChaosPoint {
  kStart,  // before it joins; steps do not matter
  kData,   // of the step
  kCompute,
  kCollective,  // about to enter the collective that all others enter
  kSave,        // in the writing of a checkpoint of this step or a later one
  kExit,        // all steps are done
};

struct ChaosKind {
  const char* name;  // the fault that the coordinator should find, as docs/failure_model.md names it
  ChaosPoint point;
  bool ends_job;  // nothing can follow: the job fails or is at its end
};
std::span<const ChaosKind> ChaosKinds();
const ChaosKind* FindChaosKind(std::string_view name);  // null: there is no such

struct ChaosFault {
  int number = 0;  // in the plan
  std::string name;
  int rank = 0;
  int64_t step = 0;  // completed steps when it strikes
  bool operator==(const ChaosFault&) const = default;
};

inline constexpr char kChaosPlanFile[] = "plan";
inline constexpr char kChaosRecordFile[] = "record.jsonl";

// One fault every `every` steps, in a random order and of random ranks, all drawn from the seed. Those that end the job come last.
std::vector<ChaosFault> DrawChaosPlan(std::vector<std::string> names, int ranks, int64_t every, uint64_t seed);

// "0 stuck_in_data 2 100" a line.
std::string FormatChaosPlan(std::span<const ChaosFault> plan);
// INVALID_ARGUMENT: no such line; the message has its number.
absl::StatusOr<std::vector<ChaosFault>> ParseChaosPlan(std::string_view text);

}  // namespace ringmaster

#endif  // RINGMASTER_COMMON_CHAOS_PLAN_H_
