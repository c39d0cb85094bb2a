#include "trainer/cuda/product_choices.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <iterator>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/crc32c.h"
#include "common/file_descriptor.h"
#include "common/status_macros.h"
#include "trainer/checkpoint/files.h"

namespace ringmaster::trainer {
namespace {

constexpr char kFirstLine[] = "ringmaster-product 1";

std::string Checksum(const std::string& text) { return absl::StrCat(absl::Hex(Crc32c(text.data(), text.size()), absl::kZeroPad8)); }

absl::Status Failed(const char* what, const std::string& path) {
  return absl::ErrnoToStatus(errno, absl::StrCat("cannot ", what, " ", path));
}

absl::Status WriteWhole(int file, const std::string& text, const std::string& path) {
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t written = write(file, text.data() + done, text.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return Failed("write", path);
    done += static_cast<size_t>(written);
  }
  return fsync(file) == 0 ? absl::OkStatus() : Failed("sync", path);
}

}  // namespace

ProductChoices::ProductChoices(std::string directory) : directory_(std::move(directory)) {}

std::string ProductChoices::PathOf(const std::string& product) const {
  std::string name(product);
  for (char& letter : name) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(letter)) && letter != '.') letter = '-';
  }
  return absl::StrCat(directory_, "/", name);
}

absl::StatusOr<std::optional<std::string>> ProductChoices::Find(const std::string& product) const {
  const std::string path = PathOf(product);
  errno = 0;
  std::ifstream file(path);
  if (!file && errno == ENOENT) return std::nullopt;
  if (!file) return Failed("open", path);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const auto damaged = [&](const std::string& how) {
    return absl::DataLossError(
        absl::StrCat(path, ": ", how, "; without the file the product is chosen anew, perhaps with other bits"));
  };
  const std::vector<std::string> lines = absl::StrSplit(text, '\n');
  if (lines.size() != 5 || lines[0] != kFirstLine || !lines[4].empty()) return damaged("no choice of a product's algorithm");
  if (lines[3] != Checksum(text.substr(0, text.size() - lines[3].size() - 1))) return damaged("its checksum is wrong");
  if (lines[1] != product) return damaged(absl::StrCat("it is of ", lines[1], ", expected ", product));
  return absl::HexStringToBytes(lines[2]);
}

absl::StatusOr<std::string> ProductChoices::Keep(const std::string& product, const std::string& algorithm) const {
  const std::unique_ptr<CheckpointFiles> files = NewPosixFiles();
  RM_RETURN_IF_ERROR(files->MakeDirectories(directory_));
  const std::string path = PathOf(product);
  std::string text = absl::StrCat(kFirstLine, "\n", product, "\n", absl::BytesToHexString(algorithm), "\n");
  absl::StrAppend(&text, Checksum(text), "\n");

  // A link is made whole or not at all, and only where none is.
  std::string temporary = absl::StrCat(directory_, "/.new-XXXXXX");
  FileDescriptor file(mkostemp(temporary.data(), O_CLOEXEC));
  if (!file.valid()) return Failed("create", temporary);
  absl::Status kept = WriteWhole(file.get(), text, temporary);
  if (kept.ok() && fchmod(file.get(), 0644) != 0) kept = Failed("open to others", temporary);
  if (kept.ok() && link(temporary.c_str(), path.c_str()) != 0 && errno != EEXIST) {
    kept = Failed("make, on a file system with hard links,", path);
  }
  unlink(temporary.c_str());
  RM_RETURN_IF_ERROR(kept);
  RM_RETURN_IF_ERROR(files->SyncDirectory(directory_));

  RM_ASSIGN_OR_RETURN(std::optional<std::string> counts, Find(product));
  if (!counts.has_value()) return absl::NotFoundError(absl::StrCat(path, " was removed while it was written"));
  return *std::move(counts);
}

}  // namespace ringmaster::trainer
