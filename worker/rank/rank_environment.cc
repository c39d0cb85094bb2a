#include "worker/rank/rank_environment.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/environment.h"

namespace ringmaster {

Environment BuildRankEnvironment(const RankPlace& place, const Environment& operator_environment,
                                 const Environment& job_environment) {
  const auto number = [](auto value) { return absl::StrCat(value); };
  Environment result = {
      {"TORCH_NCCL_ASYNC_ERROR_HANDLING", "1"},
      {environment::kThreads, number(std::max(1, place.usable_cores / std::max(1, place.local_world_size)))},
      // Spin for about as long as a wake-up costs (50 us), not for milliseconds: workers that share a host, as in tests and
      // containers, would otherwise starve each other.
      {"GOMP_SPINCOUNT", "1000"},
  };
  if (!place.gpus.empty()) result[environment::kVisibleGpus] = place.gpus;
  for (const auto& [name, value] : operator_environment) result[name] = value;

  const Environment contract = {
      {"RANK", number(place.rank.value())},
      {"LOCAL_RANK", number(place.local_rank)},
      {"WORLD_SIZE", number(place.world_size)},
      {"LOCAL_WORLD_SIZE", number(place.local_world_size)},
      {"GROUP_RANK", number(place.group_rank)},
      {"GROUP_WORLD_SIZE", number(place.group_world_size)},
      {"ROLE_NAME", "default"},
      {"ROLE_RANK", number(place.rank.value())},
      {"ROLE_WORLD_SIZE", number(place.world_size)},
      {"MASTER_ADDR", place.master_address},
      {"MASTER_PORT", number(place.master_port)},
      {"TORCHELASTIC_RESTART_COUNT", number(place.restart_count)},
      {"TORCHELASTIC_MAX_RESTARTS", number(place.max_restarts)},
      {"TORCHELASTIC_RUN_ID", place.job.value()},
      {"TORCHELASTIC_USE_AGENT_STORE", "False"},
      {environment::kCoordinator, place.coordinator},
      {environment::kRelay, place.relay},
      {environment::kJob, place.job.value()},
      {environment::kEpoch, number(place.epoch.value())},
      {environment::kIncarnation, number(place.incarnation.value())},
      {environment::kHost, place.host},
      {environment::kAddress, place.address},
      {environment::kProgressBoardFd, number(place.board_fd)},
  };
  for (const auto& [name, value] : contract) result[name] = value;
  for (const auto& [name, value] : job_environment) result[name] = value;

  result["NCCL_NVLS_ENABLE"] = "0";
  result["TORCH_SYMM_MEM_DISABLE_MULTICAST"] = "1";
  result["NVSHMEM_DISABLE_NVLS"] = "1";
  return result;
}

Environment WithoutRank(Environment environment) {
  constexpr const char* kOfRank[] = {"RANK",
                                     "LOCAL_RANK",
                                     "WORLD_SIZE",
                                     "LOCAL_WORLD_SIZE",
                                     "GROUP_RANK",
                                     "GROUP_WORLD_SIZE",
                                     "ROLE_RANK",
                                     "ROLE_WORLD_SIZE",
                                     "MASTER_ADDR",
                                     "MASTER_PORT",
                                     "TORCHELASTIC_RESTART_COUNT",
                                     environment::kEpoch,
                                     environment::kIncarnation};
  for (const char* name : kOfRank) environment.erase(name);
  return environment;
}

Environment ParseEnvironment(const char* const* variables) {
  Environment result;
  for (; *variables != nullptr; ++variables) {
    const char* separator = std::strchr(*variables, '=');
    if (separator == nullptr || separator == *variables) continue;
    result.emplace(std::string(*variables, separator), separator + 1);
  }
  return result;
}

std::vector<std::string> FormatEnvironment(const Environment& environment) {
  std::vector<std::string> variables;
  for (const auto& [name, value] : environment) variables.push_back(absl::StrCat(name, "=", value));
  return variables;
}

}  // namespace ringmaster
