// One rank's stdout and stderr: the files of this attempt, the lines to forward, the last lines of stderr.
#ifndef RINGMASTER_WORKER_RANK_RANK_OUTPUT_H_
#define RINGMASTER_WORKER_RANK_RANK_OUTPUT_H_

#include <deque>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/file_descriptor.h"
#include "worker/rank/line_splitter.h"

namespace ringmaster {

// WORK_DIRECTORY/JOB_ID/rank-R.epoch-E, without ".out" or ".err".
std::filesystem::path RankLogStem(const std::filesystem::path& work_directory, const std::string& job, int64_t epoch, int rank);

// Driver's thread only.
class RankOutput {
 public:
  static constexpr size_t kTailLines = 20;
  static constexpr size_t kTailLineBytes = 1024;  // longer lines are cut in the tail alone

  // Creates STEM.out and STEM.err and the directory. On an error this object still splits and keeps the tail.
  //   UNAVAILABLE  the files cannot be created; names the path and the reason
  absl::Status Open(const std::filesystem::path& stem);

  // `write_error` tells of the first write that failed (a full disk); later ones are silent, the lines still flow.
  std::vector<std::string> Add(bool is_stderr, absl::string_view bytes, absl::Status* write_error);
  std::vector<std::string> Finish(bool is_stderr);

  std::vector<std::string> StderrTail() const { return {tail_.begin(), tail_.end()}; }

 private:
  void KeepTail(const std::vector<std::string>& lines);

  std::filesystem::path stem_;
  FileDescriptor files_[2];  // stdout, stderr
  LineSplitter splitters_[2];
  std::deque<std::string> tail_;
};

}  // namespace ringmaster

#endif  // RINGMASTER_WORKER_RANK_RANK_OUTPUT_H_
