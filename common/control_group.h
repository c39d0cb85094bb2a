// Where the files of this process's control group lie.
#ifndef RINGMASTER_COMMON_CONTROL_GROUP_H_
#define RINGMASTER_COMMON_CONTROL_GROUP_H_

#include <filesystem>
#include <string_view>
#include <vector>

namespace ringmaster {

struct ControlGroupFolder {
  std::filesystem::path path;
  bool v1 = false;  // the files have version 1's names
};

// The group that has `controller` ("cpu", "memory") first, then the groups around it, the mount's top last: inside a container a
// group's path is often that of the host, and its files lie at the top. Folders need not exist.
// membership: /proc/self/cgroup, with lines "4:memory:/group" (v1) or "0::/group" (v2); mount: /sys/fs/cgroup.
std::vector<ControlGroupFolder> ControlGroupFolders(const std::filesystem::path& membership, const std::filesystem::path& mount,
                                                    std::string_view controller);

}  // namespace ringmaster

#endif  // RINGMASTER_COMMON_CONTROL_GROUP_H_
