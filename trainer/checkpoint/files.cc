#include "trainer/checkpoint/files.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/file_descriptor.h"
#include "common/status_macros.h"
#include "trainer/checkpoint/posix_output.h"

namespace ringmaster::trainer {
namespace {

absl::Status Failed(const char* what, const std::string& path) {
  return absl::ErrnoToStatus(errno, absl::StrCat("cannot ", what, " ", path));
}

absl::Status Failed(const char* what, const std::string& path, const std::error_code& error) {
  return absl::ErrnoToStatus(error.value(), absl::StrCat("cannot ", what, " ", path));
}

class PosixFiles final : public CheckpointFiles {
 public:
  absl::Status MakeDirectories(const std::string& path) override {
    std::error_code error;
    std::filesystem::create_directories(path, error);
    return error ? Failed("create directory", path, error) : absl::OkStatus();
  }

  absl::StatusOr<std::unique_ptr<OutputFile>> Create(const std::string& path) override {
    FileDescriptor fd(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    if (!fd.valid()) return Failed("create", path);
    return std::make_unique<PosixOutput>(std::move(fd), path);
  }

  absl::Status Rename(const std::string& from, const std::string& to) override {
    return rename(from.c_str(), to.c_str()) == 0 ? absl::OkStatus() : Failed(absl::StrCat("rename ", from, " to").c_str(), to);
  }

  absl::Status SyncDirectory(const std::string& path) override {
    const FileDescriptor fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd.valid() || fsync(fd.get()) != 0) return Failed("sync directory", path);
    return absl::OkStatus();
  }

  absl::Status ReplaceSymlink(const std::string& target, const std::string& link) override {
    const std::string temporary = link + ".tmp";
    RM_RETURN_IF_ERROR(RemoveFile(temporary));
    if (symlink(target.c_str(), temporary.c_str()) != 0) return Failed("create link", temporary);
    return Rename(temporary, link);
  }

  absl::Status RemoveFile(const std::string& path) override {
    return unlink(path.c_str()) == 0 || errno == ENOENT ? absl::OkStatus() : Failed("remove", path);
  }

  absl::Status RemoveTree(const std::string& path) override {
    std::error_code error;
    std::filesystem::remove_all(path, error);
    return error ? Failed("remove", path, error) : absl::OkStatus();
  }

  bool Exists(const std::string& path) override { return access(path.c_str(), F_OK) == 0; }

  absl::StatusOr<std::vector<std::string>> List(const std::string& directory) override {
    std::vector<std::string> names;
    std::error_code error;
    std::filesystem::directory_iterator it(directory, error);
    for (; !error && it != std::filesystem::directory_iterator(); it.increment(error)) names.push_back(it->path().filename());
    if (error) return Failed("list", directory, error);
    std::sort(names.begin(), names.end());
    return names;
  }
};

}  // namespace

std::unique_ptr<CheckpointFiles> NewPosixFiles() { return std::make_unique<PosixFiles>(); }

}  // namespace ringmaster::trainer
