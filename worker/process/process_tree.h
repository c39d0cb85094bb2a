// Who descends from whom, read from /proc. A child subreaper inherits every orphan below it, so a descendant can hide from its
// parent (double fork, setsid) but not from here.
#ifndef RINGMASTER_WORKER_PROCESS_PROCESS_TREE_H_
#define RINGMASTER_WORKER_PROCESS_PROCESS_TREE_H_

#include <sys/types.h>

#include <optional>
#include <vector>

namespace ringmaster {

struct ProcessEntry {
  pid_t pid = 0;
  pid_t parent = 0;
  pid_t session = 0;
  char state = '?';  // as in proc(5); 'Z' = zombie
};

// Whether it is stopped by SIGSTOP or a debugger; false when it is not there.
bool IsStopped(pid_t pid);

// This process's children, zombies included, by the lists that the kernel keeps for each thread: takes as long however much else
// runs on the machine, but children that come or go while a list is read can be left out of it. Nothing: the kernel does not tell
// (CONFIG_PROC_CHILDREN).
std::optional<std::vector<pid_t>> OwnChildren();

// Nothing: it is not there.
std::optional<ProcessEntry> FindProcess(pid_t pid);

// Every process that /proc shows. Processes come and go while it is read: callers repeat until nothing is left.
std::vector<ProcessEntry> ListProcesses();

// Children, grandchildren, ... of `root` among them, without root itself.
std::vector<ProcessEntry> Descendants(const std::vector<ProcessEntry>& processes, pid_t root);

}  // namespace ringmaster

#endif  // RINGMASTER_WORKER_PROCESS_PROCESS_TREE_H_
