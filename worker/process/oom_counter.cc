#include "worker/process/oom_counter.h"

#include <fstream>
#include <string>

#include "common/control_group.h"

namespace ringmaster {
namespace {

// "oom_kill 3" as a line of the file.
std::optional<int64_t> ReadCount(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string name;
  int64_t value = 0;
  while (file >> name >> value) {
    if (name == "oom_kill") return value;
  }
  return std::nullopt;
}

}  // namespace

std::optional<int64_t> ReadOomKills(const std::filesystem::path& membership, const std::filesystem::path& mount) {
  for (const auto& [folder, v1] : ControlGroupFolders(membership, mount, "memory")) {
    if (const auto count = ReadCount(folder / (v1 ? "memory.oom_control" : "memory.events"))) return count;
  }
  return std::nullopt;
}

}  // namespace ringmaster
