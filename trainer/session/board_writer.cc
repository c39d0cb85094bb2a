#include "trainer/session/board_writer.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cstring>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/environment.h"

namespace ringmaster::trainer {
namespace {

absl::Status Wrong(absl::string_view found, absl::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat(environment::kProgressBoardFd, " is \"", found, "\": ", why,
                   "; expected an inherited descriptor of a progress board. Unset it to run without a worker."));
}

}  // namespace

absl::StatusOr<std::unique_ptr<BoardWriter>> BoardWriter::Open(const char* descriptor) {
  if (descriptor == nullptr) return std::unique_ptr<BoardWriter>(new BoardWriter(nullptr));
  int fd = -1;
  if (!absl::SimpleAtoi(descriptor, &fd) || fd < 0) return Wrong(descriptor, "no descriptor number");
  struct stat status;
  if (fstat(fd, &status) != 0) return Wrong(descriptor, strerror(errno));
  if (status.st_size < static_cast<off_t>(ProgressBoard::kBytes)) {
    return Wrong(descriptor, absl::StrCat("its file has ", status.st_size, " bytes, a board has ", ProgressBoard::kBytes));
  }
  void* const mapping = mmap(nullptr, ProgressBoard::kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (mapping == MAP_FAILED) return Wrong(descriptor, absl::StrCat("mmap: ", strerror(errno)));
  std::unique_ptr<BoardWriter> writer(new BoardWriter(mapping));
  const uint64_t magic = writer->board_->magic.load();
  const uint32_t version = writer->board_->version.load();
  if (magic != ProgressBoard::kMagic || version != ProgressBoard::kVersion) {
    return Wrong(descriptor,
                 absl::StrCat("magic ", absl::Hex(magic), " version ", version, " found, magic ", absl::Hex(ProgressBoard::kMagic),
                              " version ", ProgressBoard::kVersion, " needed: are worker and trainer of one release?"));
  }
  return writer;
}

BoardWriter::BoardWriter(void* mapping)
    : mapping_(mapping),
      private_board_(mapping == nullptr ? std::make_unique<ProgressBoard>() : nullptr),
      board_(mapping == nullptr ? private_board_.get() : static_cast<ProgressBoard*>(mapping)) {}

BoardWriter::~BoardWriter() {
  if (mapping_ != nullptr) munmap(mapping_, ProgressBoard::kBytes);
}

}  // namespace ringmaster::trainer
