#include "cli/spec/local_checks.h"

#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace ringmaster::cli {
namespace {

namespace fs = std::filesystem;

// Findings so far; each method adds at most one about its subject.
class LocalChecks {
 public:
  absl::Status Result() const {
    return problems_.empty() ? absl::OkStatus() : absl::InvalidArgumentError(absl::StrJoin(problems_, "\n"));
  }

  // Returns the size of a readable file that is not empty, or -1.
  int64_t DataFile(const std::string& field, const std::string& path) {
    std::error_code error;
    const fs::file_status status = fs::status(path, error);
    if (!fs::exists(status)) return Problem(field, path, "expected a file, found none: no such file");
    if (!fs::is_regular_file(status)) return Problem(field, path, "expected a file, found a directory or a device");
    if (access(path.c_str(), R_OK) != 0) return Problem(field, path, absl::StrCat("cannot be read: ", std::strerror(errno)));
    const int64_t bytes = static_cast<int64_t>(fs::file_size(path, error));
    if (bytes == 0) return Problem(field, path, "the file is empty");
    return bytes;
  }

  // An IDX file: 0 0 8 DIMENSIONS, then each dimension as 32 bits big-endian, then bytes.
  void IdxFile(const std::string& field, const std::string& path, int dimensions) {
    const int64_t bytes = DataFile(field, path);
    if (bytes < 0) return;
    const std::string head = Head(path, 4 + 4 * static_cast<size_t>(dimensions));
    if (head.size() < 4 || head[0] != 0 || head[1] != 0 || head[2] != 8 || head[3] != dimensions) {
      Problem(field, path,
              absl::StrCat("expected an uncompressed IDX file of unsigned bytes with ", dimensions, " dimensions (magic 0 0 8 ",
                           dimensions, ")", "; its first bytes say otherwise"));
      return;
    }
    int64_t expected = 4 + 4 * dimensions;
    int64_t product = 1;
    for (int i = 0; i < dimensions && head.size() >= 8 + 4 * static_cast<size_t>(i); ++i) {
      int64_t size = 0;
      for (int b = 0; b < 4; ++b)
        size = size * 256 + static_cast<unsigned char>(head[4 + 4 * static_cast<size_t>(i) + static_cast<size_t>(b)]);
      if (size != 0 && product > (int64_t{1} << 40) / size)
        product = int64_t{1} << 40;
      else
        product *= size;
    }
    expected += product;
    if (bytes != expected)
      Problem(field, path, absl::StrCat("its header promises ", expected, " bytes, found ", bytes, ": truncated or damaged"));
  }

  void TokenFile(const std::string& field, const std::string& path) {
    const int64_t bytes = DataFile(field, path);
    if (bytes < 0) return;
    constexpr int64_t kHeaderBytes = 1024;
    int32_t header[3] = {0, 0, 0};
    const std::string head = Head(path, sizeof(header));
    std::memcpy(header, head.data(), head.size());
    if (bytes < kHeaderBytes || header[0] != 20240520 || header[1] != 1) {
      Problem(field, path,
              absl::StrCat("expected a token shard (magic 20240520, version 1), found magic ", header[0], ", version ", header[1]));
    } else if (bytes != kHeaderBytes + 2 * int64_t{header[2]}) {
      Problem(field, path,
              absl::StrCat("its header promises ", header[2], " tokens (", kHeaderBytes + 2 * int64_t{header[2]}, " bytes), found ",
                           bytes, " bytes"));
    }
  }

  // Root may write where no directory can be made (/proc), so it is made and, being new and empty, removed again.
  void WritableDirectory(const std::string& field, const std::string& path) {
    std::vector<fs::path> missing;  // innermost first
    std::error_code error;
    for (fs::path part = path; !fs::exists(part, error) && part.has_relative_path(); part = part.parent_path())
      missing.push_back(part);
    fs::create_directories(path, error);
    if (!fs::is_directory(path) || access(path.c_str(), W_OK | X_OK) != 0) {
      const std::string reason = error ? error.message() : fs::is_directory(path) ? std::strerror(errno) : "it is a file";
      Problem(field, path, absl::StrCat("expected a directory that can be written, found: ", reason));
    }
    for (const fs::path& part : missing) fs::remove(part, error);
  }

  void Program(const std::string& program, const std::string& directory, const std::string& search_path) {
    if (program.find('/') != std::string::npos) {
      const fs::path path = fs::path(directory) / program;
      if (access(path.c_str(), X_OK) != 0)
        Problem("command[0]", path.string(), absl::StrCat("cannot be executed: ", std::strerror(errno)));
      return;
    }
    for (const std::string& part : std::vector<std::string>(absl::StrSplit(search_path, ':'))) {
      if (access((fs::path(part) / program).c_str(), X_OK) == 0) return;
    }
    Problem("command[0]", program, "no such program in PATH");
  }

  int64_t Problem(const std::string& field, const std::string& path, const std::string& what) {
    problems_.push_back(absl::StrCat(field, ": ", path, ": ", what));
    return -1;
  }

 private:
  static std::string Head(const std::string& path, size_t bytes) {
    std::string head(bytes, '\0');
    std::ifstream file(path, std::ios::binary);
    file.read(head.data(), static_cast<std::streamsize>(bytes));
    head.resize(static_cast<size_t>(file.gcount()));
    return head;
  }

  std::vector<std::string> problems_;
};

void CheckText(const v1::JobSpec& spec, LocalChecks* checks) {
  const v1::TextData& text = spec.data().text();
  int64_t bytes = 0;
  bool all_read = true;
  for (const std::string& file : text.files()) {
    const int64_t size = checks->DataFile("data.text.files", file);
    all_read = all_read && size >= 0;
    bytes += size;
  }
  // A sample is context + 1 bytes, and both splits need one.
  const int64_t needed = spec.model().gpt().context() + 1;
  const auto validation = static_cast<int64_t>(static_cast<double>(bytes) * text.validation_fraction());
  if (all_read && (validation < needed || bytes - validation < needed)) {
    checks->Problem("data.text", absl::StrCat(bytes, " bytes"),
                    absl::StrCat("too little text: ", validation, " bytes fall to validation and ", bytes - validation,
                                 " to training, each needs ", needed, " (model.gpt.context + 1)"));
  }
}

}  // namespace

absl::Status CheckLocally(const v1::JobSpec& spec, const std::string& search_path) {
  LocalChecks checks;
  switch (spec.data().source_case()) {
    case v1::Data::kText: CheckText(spec, &checks); break;
    case v1::Data::kTokens:
      for (const std::string& file : spec.data().tokens().train_files()) checks.TokenFile("data.tokens.train_files", file);
      for (const std::string& file : spec.data().tokens().validation_files())
        checks.TokenFile("data.tokens.validation_files", file);
      break;
    case v1::Data::kIdx:
      checks.IdxFile("data.idx.train_images", spec.data().idx().train_images(), 3);
      checks.IdxFile("data.idx.train_labels", spec.data().idx().train_labels(), 1);
      checks.IdxFile("data.idx.validation_images", spec.data().idx().validation_images(), 3);
      checks.IdxFile("data.idx.validation_labels", spec.data().idx().validation_labels(), 1);
      break;
    case v1::Data::kSyntheticDigits:
    case v1::Data::SOURCE_NOT_SET: break;
  }
  if (!spec.checkpoint().directory().empty()) checks.WritableDirectory("checkpoint.directory", spec.checkpoint().directory());
  if (spec.command_size() > 0) checks.Program(spec.command(0), spec.work_directory(), search_path);
  if (spec.device() == "cuda" && access("/dev/nvidiactl", F_OK) != 0) {
    checks.Problem("device", "cuda", "no NVIDIA GPU on this machine; device: cpu runs everywhere");
  }
  return checks.Result();
}

}  // namespace ringmaster::cli
