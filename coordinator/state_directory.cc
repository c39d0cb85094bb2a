#include "coordinator/state_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace ringmaster::coordinator {
namespace {

std::string FirstLine(const std::filesystem::path& file) {
  char text[256];
  const FileDescriptor fd(open(file.c_str(), O_RDONLY | O_CLOEXEC));
  const ssize_t bytes = fd.valid() ? read(fd.get(), text, sizeof(text)) : 0;
  std::string line(text, bytes > 0 ? static_cast<size_t>(bytes) : 0);
  return line.substr(0, line.find('\n'));
}

absl::Status Failed(const std::filesystem::path& path, const char* what) {
  return absl::UnavailableError(absl::StrCat("state directory: ", what, " ", path.string(), ": ", std::strerror(errno)));
}

}  // namespace

absl::StatusOr<StateDirectory> StateDirectory::Open(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return absl::UnavailableError(absl::StrCat("state directory ", path.string(), ": ", error.message()));
  StateDirectory directory;
  directory.path_ = path;
  directory.lock_ = FileDescriptor(open((path / "lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (!directory.lock_.valid()) return Failed(path / "lock", "cannot open");
  if (flock(directory.lock_.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return Failed(path / "lock", "cannot lock");
    const std::string address = FirstLine(path / "coordinator.address");
    return absl::FailedPreconditionError(absl::StrCat(
        "state directory ", path.string(), " belongs to a running coordinator (pid ", FirstLine(path / "lock"), ", address ",
        address.empty() ? "not known yet" : address, "): submit to it with --coordinator, or give another --state-dir"));
  }
  const std::string pid = absl::StrCat(getpid(), "\n");
  if (ftruncate(directory.lock_.get(), 0) != 0 || write(directory.lock_.get(), pid.data(), pid.size()) < 0) {
    return Failed(path / "lock", "cannot write");
  }
  unlink((path / "coordinator.address").c_str());  // of a former owner
  return directory;
}

absl::Status StateDirectory::PublishAddress(const std::string& address) {
  const std::filesystem::path file = path_ / "coordinator.address";
  const std::filesystem::path temporary = path_ / "coordinator.address.new";
  const std::string line = address + "\n";
  FileDescriptor fd(open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!fd.valid() || write(fd.get(), line.data(), line.size()) != static_cast<ssize_t>(line.size())) {
    return Failed(temporary, "cannot write");
  }
  if (rename(temporary.c_str(), file.c_str()) != 0) return Failed(file, "cannot rename to");
  return absl::OkStatus();
}

}  // namespace ringmaster::coordinator
