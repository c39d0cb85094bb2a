#include "trainer/chaos/chaos.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/exit_codes.h"
#include "common/file_descriptor.h"
#include "common/status_macros.h"

namespace ringmaster::trainer {
namespace {

constexpr int kOwnCode = 17;
constexpr int kBadExitCode = 5;
constexpr int kSlowMs = 40;  // added to a step
constexpr int64_t kSlowSteps = 75;
constexpr int kSlowDiskMs = 4000;
constexpr size_t kMostMemory = size_t{4} << 30;  // where nothing limits the memory, the machine must live
constexpr size_t kPage = 4096;

void Delay(int ms) { (void)poll(nullptr, 0, ms); }

[[noreturn]] void HangForEver() {
  while (true) pause();
}

// Until the kernel kills us, or the test was set up without a limit. In large pages where there are any: who eats slowly is called
// stuck first.
void EatMemory() {
  void* const memory =
      mmap(nullptr, kMostMemory, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, /*fd=*/-1, /*offset=*/0);
  if (memory == MAP_FAILED) std::_Exit(kExitFailed);
  (void)madvise(memory, kMostMemory, MADV_HUGEPAGE);
  for (size_t at = 0; at < kMostMemory; at += kPage) static_cast<volatile char*>(memory)[at] = 1;
  std::_Exit(kExitFailed);
}

// A signal's own action, also where a library has taken the signal.
void Raise(int signal) {
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Chaos>> Chaos::Open(const std::string& directory, int rank, ProgressBoard& board,
                                                   const Clock& clock) {
  std::ifstream file(absl::StrCat(directory, "/", kChaosPlanFile));
  if (!file) return absl::NotFoundError(absl::StrCat("there is no chaos plan in ", directory, ": ", std::strerror(errno)));
  std::stringstream text;
  text << file.rdbuf();
  RM_ASSIGN_OR_RETURN(std::vector<ChaosFault> plan, ParseChaosPlan(text.str()));
  std::erase_if(plan, [&](const ChaosFault& fault) { return fault.rank != rank; });
  return std::unique_ptr<Chaos>(new Chaos(directory, std::move(plan), board, clock));
}

bool Chaos::At(ChaosPoint point, int64_t step) {
  if (point == ChaosPoint::kCompute && step < slow_until_) Delay(kSlowMs);
  for (const ChaosFault& fault : plan_) {
    const bool any_step = point == ChaosPoint::kStart || point == ChaosPoint::kExit;
    if (FindChaosKind(fault.name)->point != point || (!any_step && fault.step != step) || !Claim(fault, step)) continue;
    if (fault.name == "mismatched_call") return true;
    if (fault.name == "slow") slow_until_ = step + kSlowSteps;
    Strike(fault);
  }
  return false;
}

void Chaos::Strike(const ChaosFault& fault) {
  const std::string& name = fault.name;
  if (name == "killed") Raise(SIGKILL);
  if (name == "crashed") Raise(SIGSEGV);
  if (name == "stopped") Raise(SIGSTOP);
  if (name == "exited") std::_Exit(kOwnCode);
  if (name == "bad_input") std::_Exit(kExitUsage);
  if (name == "gave_up") std::_Exit(kExitDoNotRequeue);
  if (name == "requeued") std::_Exit(kExitRequeue);
  if (name == "bad_exit") std::_Exit(kBadExitCode);
  if (name == "out_of_memory") EatMemory();
  if (name == "network") {
    // As it looks from outside when nothing of what this rank sends arrives: it has entered, and none gets on.
    board_.collective_sequence.fetch_add(1);
    board_.phase = TrainerPhase::kCommunication;
    HangForEver();
  }
  if (name == "stuck_in_data" || name == "stuck_in_compute" || name == "never_entered" || name == "never_joined" ||
      name == "stuck_at_exit") {
    HangForEver();
  }
}

absl::Status Chaos::AtSave(const std::string& path) {
  const int64_t step = board_.step.load();
  for (const ChaosFault& fault : plan_) {
    if (FindChaosKind(fault.name)->point != ChaosPoint::kSave || step < fault.step || !Claim(fault, step)) continue;
    const int error = fault.name == "disk_full" ? ENOSPC : fault.name == "checkpoint_failed" ? EIO : 0;
    if (error != 0) return absl::ErrnoToStatus(error, absl::StrCat(path, ": by chaos"));
    Delay(kSlowDiskMs);
  }
  return absl::OkStatus();
}

bool Chaos::Claim(const ChaosFault& fault, int64_t step) const {
  const std::string mark = absl::StrCat(directory_, "/struck-", fault.number);
  if (!FileDescriptor(open(mark.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644)).valid()) return false;
  const std::string line =
      absl::StrFormat("{\"number\":%d,\"fault\":\"%s\",\"rank\":%d,\"pid\":%d,\"step\":%d,\"time\":%.6f}\n", fault.number,
                      fault.name, fault.rank, getpid(), step, absl::ToDoubleSeconds(clock_.WallNow() - absl::UnixEpoch()));
  const std::string record = absl::StrCat(directory_, "/", kChaosRecordFile);
  const FileDescriptor file(open(record.c_str(), O_CREAT | O_APPEND | O_WRONLY | O_CLOEXEC, 0644));
  // What is not written down does not happen.
  return file.valid() && write(file.get(), line.data(), line.size()) == static_cast<ssize_t>(line.size());
}

namespace {

class ChaosOutput final : public OutputFile {
 public:
  ChaosOutput(std::unique_ptr<OutputFile> real, std::string path, Chaos& chaos)
      : real_(std::move(real)), path_(std::move(path)), chaos_(chaos) {}
  absl::Status Append(std::span<const std::byte> bytes) override {
    RM_RETURN_IF_ERROR(chaos_.AtSave(path_));
    return real_->Append(bytes);
  }
  absl::Status SyncAndClose() override { return real_->SyncAndClose(); }

 private:
  const std::unique_ptr<OutputFile> real_;
  const std::string path_;
  Chaos& chaos_;
};

class ChaosFiles final : public CheckpointFiles {
 public:
  ChaosFiles(std::unique_ptr<CheckpointFiles> real, Chaos& chaos) : real_(std::move(real)), chaos_(chaos) {}
  absl::Status MakeDirectories(const std::string& path) override { return real_->MakeDirectories(path); }
  absl::StatusOr<std::unique_ptr<OutputFile>> Create(const std::string& path) override {
    RM_ASSIGN_OR_RETURN(std::unique_ptr<OutputFile> file, real_->Create(path));
    return std::make_unique<ChaosOutput>(std::move(file), path, chaos_);
  }
  absl::Status Rename(const std::string& from, const std::string& to) override { return real_->Rename(from, to); }
  absl::Status SyncDirectory(const std::string& path) override { return real_->SyncDirectory(path); }
  absl::Status ReplaceSymlink(const std::string& target, const std::string& link) override {
    return real_->ReplaceSymlink(target, link);
  }
  absl::Status RemoveFile(const std::string& path) override { return real_->RemoveFile(path); }
  absl::Status RemoveTree(const std::string& path) override { return real_->RemoveTree(path); }
  bool Exists(const std::string& path) override { return real_->Exists(path); }
  absl::StatusOr<std::vector<std::string>> List(const std::string& directory) override { return real_->List(directory); }

 private:
  const std::unique_ptr<CheckpointFiles> real_;
  Chaos& chaos_;
};

}  // namespace

std::unique_ptr<CheckpointFiles> NewChaosFiles(std::unique_ptr<CheckpointFiles> real, Chaos& chaos) {
  return std::make_unique<ChaosFiles>(std::move(real), chaos);
}

}  // namespace ringmaster::trainer
