#include "trainer/checkpoint/posix_output.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace ringmaster::trainer {

absl::Status PosixOutput::Append(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    if (filled_ == 0) RM_RETURN_IF_ERROR(Open());
    const size_t take = std::min(bytes.size(), kBlockBytes - filled_);
    std::copy_n(bytes.data(), take, current().bytes() + filled_);
    filled_ += take;
    bytes = bytes.subspan(take);
    if (filled_ == kBlockBytes) RM_RETURN_IF_ERROR(WriteBlock());
  }
  return absl::OkStatus();
}

absl::Status PosixOutput::SyncAndClose() {
  for (Block& block : blocks_) RM_RETURN_IF_ERROR(Await(block));
  SetDirect(false);
  RM_RETURN_IF_ERROR(WriteAt({current().bytes(), filled_}, offset_));
  if (fsync(fd_.get()) != 0) return Failed("sync");
  // Network file systems report a full disk here.
  if (close(fd_.Release()) != 0) return Failed("close");
  return absl::OkStatus();
}

absl::Status PosixOutput::Open() {
  if (current().bytes() != nullptr) return absl::OkStatus();
  RM_ASSIGN_OR_RETURN(current().memory, Arena::Create(kBlockBytes / sizeof(float)));
  return absl::OkStatus();
}

absl::Status PosixOutput::WriteBlock() {
  const size_t next = (current_ + 1) % blocks_.size();
  // More than one write at a time takes longer on the disks that we know.
  RM_RETURN_IF_ERROR(Await(blocks_[next]));
  if (offset_ == 0) SetDirect(true);
  // Where there is no thread to be had, whoever awaits it writes it.
  current().written = std::async(std::launch::async | std::launch::deferred,
                                 [this, bytes = std::span<const std::byte>(current().bytes(), kBlockBytes), offset = offset_] {
                                   return WriteAt(bytes, offset);
                                 });
  offset_ += static_cast<int64_t>(kBlockBytes);
  filled_ = 0;
  current_ = next;
  return absl::OkStatus();
}

absl::Status PosixOutput::Await(Block& block) { return block.written.valid() ? block.written.get() : absl::OkStatus(); }

void PosixOutput::SetDirect(bool direct) {
  const int flags = fcntl(fd_.get(), F_GETFL);
  // Refused: the file system has no way past the page cache, and writes go through it.
  fcntl(fd_.get(), F_SETFL, direct ? flags | O_DIRECT : flags & ~O_DIRECT);
}

absl::Status PosixOutput::WriteAt(std::span<const std::byte> bytes, int64_t offset) {
  bool may_be_direct = true;
  while (!bytes.empty()) {
    const ssize_t written = pwrite(fd_.get(), bytes.data(), bytes.size(), offset);
    if (written < 0 && errno == EINTR) continue;
    // The rest of a write that was cut short, or a file system that wants another alignment.
    if (written < 0 && errno == EINVAL && std::exchange(may_be_direct, false)) {
      SetDirect(false);
      continue;
    }
    if (written < 0) return Failed("write");
    bytes = bytes.subspan(static_cast<size_t>(written));
    offset += written;
  }
  return absl::OkStatus();
}

absl::Status PosixOutput::Failed(const char* what) const {
  return absl::ErrnoToStatus(errno, absl::StrCat("cannot ", what, " ", path_));
}

}  // namespace ringmaster::trainer
