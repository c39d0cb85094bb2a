#include "collectives/file_rendezvous.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/file_descriptor.h"
#include "common/status_macros.h"

namespace ringmaster {
namespace {

// Names that no key has: FileName() lets no dot through.
constexpr char kOver[] = "epoch.over";
constexpr char kPartial[] = "partial";

// A different name for every key, whatever its bytes are: "world/0" -> "world%2F0".
std::string FileName(const std::string& key) {
  std::string name;
  for (const char c : key) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
    if (plain) {
      name += c;
    } else {
      absl::StrAppendFormat(&name, "%%%02X", static_cast<unsigned char>(c));
    }
  }
  return name;
}

absl::Status CheckName(const std::string& key, const std::string& name) {
  if (name.empty()) return absl::InvalidArgumentError("the key is empty");
  if (name.size() > NAME_MAX) return absl::InvalidArgumentError(absl::StrCat("key ", key, " is too long for the name of a file"));
  return absl::OkStatus();
}

absl::Status Failure(const char* what, const std::filesystem::path& path, int error) {
  const std::string text = absl::StrCat("rendezvous directory: ", what, " ", path.string(), ": ", std::strerror(error));
  // Files are never removed one by one: a missing place means a missing directory.
  return error == ENOENT ? absl::AbortedError(text) : absl::InternalError(text);
}

absl::Status WriteFile(const std::filesystem::path& path, const std::string& value) {
  const FileDescriptor file(open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600));
  if (!file.valid()) return Failure("cannot create", path, errno);
  for (size_t done = 0; done < value.size();) {
    const ssize_t count = write(file.get(), value.data() + done, value.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Failure("cannot write", path, errno);
    done += static_cast<size_t>(count);
  }
  return absl::OkStatus();
}

// NOT_FOUND: there is no such file.
absl::StatusOr<std::string> ReadFile(const std::filesystem::path& path) {
  const FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return errno == ENOENT ? absl::NotFoundError(path.string()) : Failure("cannot open", path, errno);
  std::string value;
  char block[4096];
  while (true) {
    const ssize_t count = read(file.get(), block, sizeof(block));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Failure("cannot read", path, errno);
    if (count == 0) return value;
    value.append(block, static_cast<size_t>(count));
  }
}

// Forgets what the watch has told: the files themselves say how things stand.
void Drain(int watch) {
  char events[4096];
  while (read(watch, events, sizeof(events)) > 0) {
  }
}

}  // namespace

absl::Status FileRendezvous::CheckEpoch() const {
  struct stat status;
  if (stat((directory_ / kOver).c_str(), &status) == 0) return absl::AbortedError("the epoch is over");
  if (stat(directory_.c_str(), &status) != 0) return Failure("cannot see", directory_, errno);
  return absl::OkStatus();
}

absl::Status FileRendezvous::Publish(const std::string& key, const std::string& value) {
  const std::string name = FileName(key);
  RM_RETURN_IF_ERROR(CheckName(key, name));
  RM_RETURN_IF_ERROR(CheckEpoch());
  // Two objects of one process may publish at the same time: the address tells them apart.
  const std::filesystem::path partial =
      directory_ / absl::StrFormat("%s.%d.%p.%d", kPartial, getpid(), static_cast<void*>(this), published_++);
  absl::Status status = WriteFile(partial, value);
  if (status.ok() && link(partial.c_str(), (directory_ / name).c_str()) != 0) {
    const int error = errno;
    if (error != EEXIST) {
      status = Failure("cannot publish", directory_ / name, error);
    } else if (const absl::StatusOr<std::string> other = ReadFile(directory_ / name); !other.ok()) {
      status = other.status();
    } else if (*other != value) {
      status = absl::AlreadyExistsError(absl::StrCat("key ", key, " has another value: was it published by two ranks?"));
    }
  }
  unlink(partial.c_str());
  return status;
}

absl::StatusOr<std::string> FileRendezvous::Await(const std::string& key, absl::Duration timeout) {
  const absl::Time deadline = clock_.Now() + timeout;
  const std::string name = FileName(key);
  RM_RETURN_IF_ERROR(CheckName(key, name));
  // The watch comes before the first look, so nothing can appear unseen between look and wait.
  const FileDescriptor watch(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!watch.valid()) return Failure("inotify for", directory_, errno);
  if (inotify_add_watch(watch.get(), directory_.c_str(), IN_CREATE | IN_DELETE_SELF | IN_ONLYDIR) < 0) {
    return Failure("cannot watch", directory_, errno);
  }
  while (true) {
    RM_RETURN_IF_ERROR(CheckEpoch());
    absl::StatusOr<std::string> value = ReadFile(directory_ / name);
    if (!absl::IsNotFound(value.status())) return value;
    const absl::Duration left = deadline - clock_.Now();
    if (left <= absl::ZeroDuration()) {
      return absl::DeadlineExceededError(absl::StrCat("nobody published key ", key, " within ", absl::FormatDuration(timeout)));
    }
    pollfd events{.fd = watch.get(), .events = POLLIN, .revents = 0};
    const timespec longest = absl::ToTimespec(std::min(left, absl::Hours(1)));
    if (ppoll(&events, 1, &longest, nullptr) < 0 && errno != EINTR) return Failure("cannot wait for", directory_ / name, errno);
    Drain(watch.get());
  }
}

absl::Status FileRendezvous::EndEpoch() {
  const absl::Status status = WriteFile(directory_ / kOver, "");
  struct stat over;
  return stat((directory_ / kOver).c_str(), &over) == 0 ? absl::OkStatus() : status;
}

}  // namespace ringmaster
