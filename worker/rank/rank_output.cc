#include "worker/rank/rank_output.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace ringmaster {

namespace {

constexpr const char* kSuffix[] = {".out", ".err"};

}  // namespace

std::filesystem::path RankLogStem(const std::filesystem::path& work_directory, const std::string& job, int64_t epoch, int rank) {
  return work_directory / job / absl::StrCat("rank-", rank, ".epoch-", epoch);
}

absl::Status RankOutput::Open(const std::filesystem::path& stem) {
  stem_ = stem;
  std::error_code error;
  std::filesystem::create_directories(stem.parent_path(), error);
  for (int stream : {0, 1}) {
    const std::string path = stem.string() + kSuffix[stream];
    files_[stream] = FileDescriptor(open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
    if (!files_[stream].valid()) {
      return absl::UnavailableError(absl::StrCat("log file ", path, ": ", std::strerror(errno), "; lines are only forwarded"));
    }
  }
  return absl::OkStatus();
}

std::vector<std::string> RankOutput::Add(bool is_stderr, absl::string_view bytes, absl::Status* write_error) {
  FileDescriptor& file = files_[is_stderr ? 1 : 0];
  absl::string_view rest = bytes;
  while (file.valid() && !rest.empty()) {
    const ssize_t written = write(file.get(), rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      *write_error = absl::UnavailableError(absl::StrCat("log file ", stem_.string(), kSuffix[is_stderr ? 1 : 0], ": ",
                                                         std::strerror(errno), "; lines are only forwarded"));
      file.Reset();
      break;
    }
    rest.remove_prefix(static_cast<size_t>(written));
  }
  std::vector<std::string> lines = splitters_[is_stderr ? 1 : 0].Add(bytes);
  if (is_stderr) KeepTail(lines);
  return lines;
}

std::vector<std::string> RankOutput::Finish(bool is_stderr) {
  std::vector<std::string> lines = splitters_[is_stderr ? 1 : 0].Finish();
  if (is_stderr) KeepTail(lines);
  return lines;
}

void RankOutput::KeepTail(const std::vector<std::string>& lines) {
  for (const std::string& line : lines) {
    tail_.push_back(line.size() <= kTailLineBytes ? line : ToValidUtf8(absl::string_view(line).substr(0, kTailLineBytes)));
    if (tail_.size() > kTailLines) tail_.pop_front();
  }
}

}  // namespace ringmaster
