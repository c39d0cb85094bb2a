#include "common/control_group.h"

#include <algorithm>
#include <fstream>
#include <string>

#include "absl/strings/str_split.h"

namespace ringmaster {

std::vector<ControlGroupFolder> ControlGroupFolders(const std::filesystem::path& membership, const std::filesystem::path& mount,
                                                    std::string_view controller) {
  std::vector<ControlGroupFolder> folders;
  std::ifstream file(membership);
  std::string line;
  while (std::getline(file, line)) {
    const std::vector<std::string> fields = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (fields.size() != 3) continue;
    const std::vector<std::string> controllers = absl::StrSplit(fields[1], ',');
    const bool v1 = std::find(controllers.begin(), controllers.end(), controller) != controllers.end();
    if (!v1 && !fields[1].empty()) continue;
    const std::filesystem::path top = v1 ? mount / controller : mount;
    for (auto group = std::filesystem::path(fields[2]).relative_path(); !group.empty(); group = group.parent_path()) {
      folders.push_back({.path = top / group, .v1 = v1});
    }
    folders.push_back({.path = top, .v1 = v1});
  }
  return folders;
}

}  // namespace ringmaster
