#include "worker/process/process_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "common/file_descriptor.h"

namespace ringmaster {

namespace {

using Directory = std::unique_ptr<DIR, int (*)(DIR*)>;

std::optional<ProcessEntry> ReadStat(const char* pid_text) {
  char path[64];
  std::snprintf(path, sizeof(path), "/proc/%s/stat", pid_text);
  FileDescriptor file(open(path, O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return std::nullopt;
  char text[512];
  const ssize_t bytes = read(file.get(), text, sizeof(text) - 1);
  if (bytes <= 0) return std::nullopt;
  text[bytes] = '\0';
  // "pid (name) state ppid pgrp session ...": the name may hold anything, so the fields are counted from the last ')'.
  const char* fields = std::strrchr(text, ')');
  if (fields == nullptr) return std::nullopt;
  ProcessEntry entry;
  int group = 0;
  if (std::sscanf(fields + 1, " %c %d %d %d", &entry.state, &entry.parent, &group, &entry.session) != 4) return std::nullopt;
  entry.pid = std::atoi(pid_text);
  return entry;
}

}  // namespace

bool IsStopped(pid_t pid) {
  const std::optional<ProcessEntry> entry = FindProcess(pid);
  return entry.has_value() && (entry->state == 'T' || entry->state == 't');
}

std::optional<ProcessEntry> FindProcess(pid_t pid) { return ReadStat(std::to_string(pid).c_str()); }

std::optional<std::vector<pid_t>> OwnChildren() {
  const Directory threads(opendir("/proc/self/task"), closedir);
  std::vector<pid_t> children;
  bool told = false;
  while (const dirent* thread = threads == nullptr ? nullptr : readdir(threads.get())) {
    const std::string path = std::string("/proc/self/task/") + thread->d_name + "/children";
    const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path.c_str(), "re"), std::fclose);
    if (file == nullptr) continue;
    told = true;
    for (pid_t child = 0; std::fscanf(file.get(), "%d", &child) == 1;) children.push_back(child);
  }
  return told ? std::optional(std::move(children)) : std::nullopt;
}

std::vector<ProcessEntry> ListProcesses() {
  std::vector<ProcessEntry> processes;
  const Directory directory(opendir("/proc"), closedir);
  if (directory == nullptr) return processes;
  while (const dirent* item = readdir(directory.get())) {
    if (item->d_name[0] < '1' || item->d_name[0] > '9') continue;
    if (const auto entry = ReadStat(item->d_name)) processes.push_back(*entry);
  }
  return processes;
}

std::vector<ProcessEntry> Descendants(const std::vector<ProcessEntry>& processes, pid_t root) {
  std::vector<ProcessEntry> found;
  std::vector<pid_t> parents = {root};
  while (!parents.empty()) {
    const pid_t parent = parents.back();
    parents.pop_back();
    for (const ProcessEntry& process : processes) {
      if (process.parent != parent || process.pid == root) continue;
      found.push_back(process);
      parents.push_back(process.pid);
    }
  }
  return found;
}

}  // namespace ringmaster
