#include "worker/process/oom_counter.h"

#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"

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
  std::ifstream file(membership);
  std::string line;
  while (std::getline(file, line)) {
    // "4:memory:/group" (v1) or "0::/group" (v2)
    const std::vector<std::string> fields = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (fields.size() != 3) continue;
    const bool v1 = fields[1] == "memory";
    if (!v1 && !fields[1].empty()) continue;
    const std::filesystem::path top = v1 ? mount / "memory" : mount;
    const char* name = v1 ? "memory.oom_control" : "memory.events";
    for (const std::filesystem::path& group : {top / std::filesystem::path(fields[2]).relative_path(), top}) {
      if (const auto count = ReadCount(group / name)) return count;
    }
  }
  return std::nullopt;
}

}  // namespace ringmaster
