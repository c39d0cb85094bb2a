#include "cli/doctor_checks.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <thread>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/capture_output.h"
#include "cli/job_text.h"
#include "cli/local_address.h"
#include "common/file_descriptor.h"
#include "common/usable_cores.h"

namespace ringmaster::cli {
namespace {

std::string Errno() { return std::strerror(errno); }

// A listening socket on `port` of every address of this machine; invalid if refused (errno tells).
FileDescriptor Listen(uint16_t port) {
  FileDescriptor fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int yes = 1;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_ANY);
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 || listen(fd.get(), 4) != 0)
    return FileDescriptor();
  return fd;
}

int PortOf(const FileDescriptor& fd) {
  sockaddr_in address = {};
  socklen_t size = sizeof(address);
  getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size);
  return ntohs(address.sin_port);
}

}  // namespace

Finding CheckFreePort() {
  const FileDescriptor fd = Listen(0);
  if (fd.valid()) return {"free port", Health::kOk, absl::StrCat("the system gives ports, such as ", PortOf(fd))};
  return {"free port", Health::kFail, absl::StrCat("no TCP port can be bound: ", Errno()),
          "look at `sysctl net.ipv4.ip_local_port_range` and at security policies of this machine"};
}

Finding CheckListenPort(const std::string& address) {
  int port = 0;
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos || !absl::SimpleAtoi(address.substr(colon + 1), &port) || port < 1 || port > 65535) {
    return {"coordinator port", Health::kFail, absl::StrCat("expected HOST:PORT, found \"", address, "\""),
            "write it as 10.0.0.1:7077"};
  }
  const FileDescriptor fd = Listen(static_cast<uint16_t>(port));
  if (fd.valid()) return {"coordinator port", Health::kOk, absl::StrCat("port ", port, " is free on this machine")};
  if (errno == EADDRINUSE) {
    return {"coordinator port", Health::kOk,
            absl::StrCat("port ", port, " is in use on this machine (`ss -ltnp sport = :", port, "` says by whom)")};
  }
  return {"coordinator port", Health::kFail, absl::StrCat("port ", port, ": ", Errno()),
          "ports below 1024 need privileges; 7077 does not"};
}

Finding CheckCoordinator(JobClient* client, const std::string& address) {
  const auto version = client->GetVersion();
  if (version.ok()) return {"coordinator", Health::kOk, absl::StrCat("version ", version->version(), " answers at ", address)};
  return {"coordinator", Health::kFail, std::string(version.status().message()),
          "start it with `ringmaster coordinator --listen HOST:PORT`; if it runs, a firewall or a wrong address is between"};
}

Finding JudgeClockSkew(absl::Duration skew, absl::Duration round_trip) {
  const std::string detail = absl::StrFormat("%+.1f ms against the coordinator (round trip %.1f ms)",
                                             absl::ToDoubleMilliseconds(skew), absl::ToDoubleMilliseconds(round_trip));
  // Only logs and file times use the calendar, so skew confuses people, not the protocol.
  if (absl::AbsDuration(skew) > absl::Seconds(1) + round_trip)
    return {"clock", Health::kWarn, detail, "run an NTP client (chrony, systemd-timesyncd): times in logs will not line up"};
  return {"clock", Health::kOk, detail};
}

Finding CheckClockSkew(JobClient* client, const Clock& clock) {
  const absl::Time before = clock.WallNow();
  const auto version = client->GetVersion();
  const absl::Time after = clock.WallNow();
  if (!version.ok())
    return {"clock", Health::kWarn, "not compared: the coordinator does not answer", "mend the line \"coordinator\" first"};
  const absl::Time theirs = absl::FromUnixSeconds(version->wall_time().seconds()) + absl::Nanoseconds(version->wall_time().nanos());
  return JudgeClockSkew(before + (after - before) / 2 - theirs, after - before);
}

Finding CheckReachability(JobClient* client, const std::string& coordinator) {
  const auto local = LocalAddressTowards(coordinator);
  if (!local.ok())
    return {"reachability", Health::kFail, std::string(local.status().message()), "check the address and the route to it"};
  const FileDescriptor fd = Listen(0);
  if (!fd.valid())
    return {"reachability", Health::kFail, absl::StrCat("no port to be called at: ", Errno()), "mend the line \"free port\" first"};
  const std::string address =
      absl::StrCat(absl::StrContains(*local, ':') ? absl::StrCat("[", *local, "]") : *local, ":", PortOf(fd));
  const auto response = client->DialBack(address);
  if (!response.ok())
    return {"reachability", Health::kWarn, std::string(response.status().message()), "mend the line \"coordinator\" first"};
  if (response->reachable())
    return {"reachability", Health::kOk, absl::StrCat("the coordinator reaches this machine at ", address)};
  return {"reachability", Health::kFail, absl::StrCat("the coordinator cannot connect to ", address, ": ", response->detail()),
          "open this machine's firewall for its peers, or give workers an address they reach: `ringmaster worker --address IP`"};
}

Finding JudgeDirectory(const std::string& what, const std::string& directory, int64_t free_bytes, absl::Duration sync) {
  const std::string detail =
      absl::StrFormat("%s: %s free, fsync takes %.1f ms", directory, ShortBytes(free_bytes), absl::ToDoubleMilliseconds(sync));
  if (free_bytes < int64_t{64} << 20)
    return {what, Health::kFail, detail, "make room: below 64 MiB records and checkpoints soon fail to be written"};
  if (free_bytes < int64_t{1} << 30) return {what, Health::kWarn, detail, "make room: checkpoints need it"};
  if (sync > absl::Milliseconds(500))
    return {what, Health::kWarn, detail, "slow disk: every change of a job waits for it; choose a local one"};
  return {what, Health::kOk, detail};
}

Finding CheckDirectory(const std::string& what, const std::filesystem::path& directory, const Clock& clock) {
  std::error_code error;
  std::filesystem::path existing = directory;
  while (!std::filesystem::is_directory(existing, error) && existing.has_relative_path()) existing = existing.parent_path();
  const std::string probe = existing / absl::StrCat(".ringmaster-doctor-", getpid());
  const FileDescriptor fd(open(probe.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600));
  if (!fd.valid())
    return {what, Health::kFail, absl::StrCat(existing.string(), ": cannot be written: ", Errno()),
            "choose another directory or mend its permissions"};
  const absl::Time start = clock.Now();
  const bool synced = write(fd.get(), "x", 1) == 1 && fsync(fd.get()) == 0;
  const absl::Duration took = clock.Now() - start;
  const std::string problem = Errno();
  unlink(probe.c_str());
  struct statvfs space = {};
  if (!synced || statvfs(existing.c_str(), &space) != 0)
    return {what, Health::kFail, absl::StrCat(existing.string(), ": ", problem), "choose a directory on a disk that works"};
  return JudgeDirectory(what, existing.string(), static_cast<int64_t>(space.f_bavail * space.f_frsize), took);
}

Finding JudgeFileLimit(uint64_t soft, uint64_t hard) {
  const std::string detail = absl::StrCat(soft, " open files at once (hard limit ", hard, ")");
  if (soft < 256) return {"file limit", Health::kFail, detail, "raise it: `ulimit -n 4096`"};
  if (soft < 1024) return {"file limit", Health::kWarn, detail, "many ranks on one host need more: `ulimit -n 4096`"};
  return {"file limit", Health::kOk, detail};
}

Finding CheckFileLimit() {
  rlimit limit = {};
  getrlimit(RLIMIT_NOFILE, &limit);
  return JudgeFileLimit(limit.rlim_cur, limit.rlim_max);
}

Finding CheckCores() {
  const int usable = UsableCores();
  const int all = static_cast<int>(std::thread::hardware_concurrency());
  return {"cores", Health::kOk, usable == all ? absl::StrCat(usable, " usable") : absl::StrCat(usable, " usable of ", all)};
}

Finding CheckSharedMemory() {
  const FileDescriptor fd(memfd_create("ringmaster-doctor", MFD_CLOEXEC));
  if (!fd.valid() || ftruncate(fd.get(), 4096) != 0) {
    return {"shared memory", Health::kFail, absl::StrCat("memfd_create: ", Errno()),
            "a security policy of this container forbids it: progress boards need it"};
  }
  struct statvfs space = {};
  if (statvfs("/dev/shm", &space) != 0)
    return {"shared memory", Health::kWarn, absl::StrCat("/dev/shm: ", Errno()), "mount a tmpfs at /dev/shm"};
  const int64_t free_bytes = static_cast<int64_t>(space.f_bavail * space.f_frsize);
  const std::string detail = absl::StrCat("memfd works, /dev/shm has ", ShortBytes(free_bytes), " free");
  if (free_bytes < int64_t{64} << 20) return {"shared memory", Health::kWarn, detail, "give the container more: --shm-size 1g"};
  return {"shared memory", Health::kOk, detail};
}

Finding CheckHostName() {
  char name[256] = {};
  gethostname(name, sizeof(name) - 1);
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(name, nullptr, &hints, &found);
  if (error != 0) {
    return {"host name", Health::kWarn, absl::StrCat(name, " does not resolve: ", gai_strerror(error)),
            "add it to /etc/hosts, or give workers --address IP"};
  }
  char text[INET6_ADDRSTRLEN] = {};
  getnameinfo(found->ai_addr, found->ai_addrlen, text, sizeof(text), nullptr, 0, NI_NUMERICHOST);
  freeaddrinfo(found);
  return {"host name", Health::kOk, absl::StrCat(name, " is ", text)};
}

Finding CheckTrainerBinary(const std::filesystem::path& trainer) {
  if (access(trainer.c_str(), X_OK) != 0) {
    return {"trainer", Health::kFail, absl::StrCat(trainer.string(), ": ", Errno()),
            "copy ringmaster-trainer beside the ringmaster executable"};
  }
  const absl::StatusOr<CapturedOutput> output = CaptureOutput({trainer.string(), "--version"});
  if (!output.ok()) {
    return {"trainer", Health::kFail, std::string(output.status().message()), "look at process limits (ulimit -u)"};
  }
  const std::string said(absl::StripTrailingAsciiWhitespace(output->text));
  if (output->exit_code == 0) return {"trainer", Health::kOk, said};
  return {"trainer", Health::kFail, said.empty() ? absl::StrCat("it ends with exit code ", output->exit_code) : said,
          "a missing libdnnl.so.2 comes with `apt-get install libdnnl2`"};
}

}  // namespace ringmaster::cli
