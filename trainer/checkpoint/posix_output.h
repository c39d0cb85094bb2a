// A file on its way to the disk. Bytes gather in one block while the one before is written beside the caller; full ones go past the
// page cache (O_DIRECT) where the file system can do that, so that a large checkpoint neither waits in memory for one long sync nor
// drives out what others have cached. A small file is one ordinary write.
#ifndef RINGMASTER_TRAINER_CHECKPOINT_POSIX_OUTPUT_H_
#define RINGMASTER_TRAINER_CHECKPOINT_POSIX_OUTPUT_H_

#include <array>
#include <cstdint>
#include <future>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "common/file_descriptor.h"
#include "trainer/checkpoint/files.h"
#include "trainer/tensor/arena.h"

namespace ringmaster::trainer {

// One thread. An error is of anything appended so far. Besides errno's codes those of Arena::Create.
class PosixOutput final : public OutputFile {
 public:
  // `fd`: empty, open for writing.
  PosixOutput(FileDescriptor fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}

  absl::Status Append(std::span<const std::byte> bytes) override;
  absl::Status SyncAndClose() override;

 private:
  static constexpr size_t kBlockBytes = size_t{16} << 20;

  struct Block {
    Arena memory;  // of huge pages, if there are: the disk's driver takes few large pieces much faster than many small ones
    std::future<absl::Status> written;
    std::byte* bytes() const { return reinterpret_cast<std::byte*>(memory.data()); }
  };

  Block& current() { return blocks_[current_]; }
  // The current block is free to be filled.
  absl::Status Open();
  absl::Status WriteBlock();
  absl::Status Await(Block& block);
  void SetDirect(bool direct);
  absl::Status WriteAt(std::span<const std::byte> bytes, int64_t offset);
  absl::Status Failed(const char* what) const;

  FileDescriptor fd_;
  const std::string path_;
  std::array<Block, 2> blocks_;
  size_t current_ = 0;
  size_t filled_ = 0;   // of the current block
  int64_t offset_ = 0;  // of the current block in the file
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CHECKPOINT_POSIX_OUTPUT_H_
