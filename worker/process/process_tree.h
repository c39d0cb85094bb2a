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

// Of a process with one thread all of its children, zombies included. Takes one file, whatever else runs on the machine. Nothing:
// the kernel does not tell.
std::optional<std::vector<pid_t>> ChildrenOfThisThread();

// Every process that /proc shows. Processes come and go while it is read: callers repeat until nothing is left.
std::vector<ProcessEntry> ListProcesses();

// Children, grandchildren, ... of `root` among them, without root itself.
std::vector<ProcessEntry> Descendants(const std::vector<ProcessEntry>& processes, pid_t root);

}  // namespace ringmaster

#endif  // RINGMASTER_WORKER_PROCESS_PROCESS_TREE_H_
