// How often the kernel's out-of-memory killer has struck in our control group. A SIGKILL beside which this number moved was an OOM
// kill; nothing else tells the two apart.
#ifndef RINGMASTER_WORKER_PROCESS_OOM_COUNTER_H_
#define RINGMASTER_WORKER_PROCESS_OOM_COUNTER_H_

#include <cstdint>
#include <filesystem>
#include <optional>

namespace ringmaster {

// membership: /proc/self/cgroup; mount: /sys/fs/cgroup. Reads memory.oom_control (v1) or memory.events (v2); inside a container the
// group's files may lie at the mount's top. Nothing: there is no such counter here.
std::optional<int64_t> ReadOomKills(const std::filesystem::path& membership, const std::filesystem::path& mount);

}  // namespace ringmaster

#endif  // RINGMASTER_WORKER_PROCESS_OOM_COUNTER_H_
