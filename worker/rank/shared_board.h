// The worker's side of a progress board (common/progress_board.h): a sealed memfd that one rank inherits and this reads.
#ifndef RINGMASTER_WORKER_RANK_SHARED_BOARD_H_
#define RINGMASTER_WORKER_RANK_SHARED_BOARD_H_

#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "common/file_descriptor.h"
#include "common/progress_board.h"
#include "proto/job.pb.h"

namespace ringmaster {

class SharedBoard {
 public:
  // RESOURCE_EXHAUSTED: the system gives no memory or descriptor. The size is sealed: a rank cannot make our reads fault.
  static absl::StatusOr<std::unique_ptr<SharedBoard>> Create();
  ~SharedBoard();
  SharedBoard(const SharedBoard&) = delete;
  SharedBoard& operator=(const SharedBoard&) = delete;

  int fd() const { return fd_.get(); }
  const ProgressBoard& board() const { return *board_; }

  // The rank writes what it likes: values are read as they are, a phase out of range becomes "unknown", NaN stays unset.
  v1::Progress Read() const;

 private:
  SharedBoard(FileDescriptor fd, const ProgressBoard* board) : fd_(std::move(fd)), board_(board) {}

  const FileDescriptor fd_;
  const ProgressBoard* const board_;
};

v1::Progress ToProgress(const ProgressBoard& board);

}  // namespace ringmaster

#endif  // RINGMASTER_WORKER_RANK_SHARED_BOARD_H_
