// The trainer's end of the progress board (common/progress_board.h): maps what the worker handed down.
#ifndef RINGMASTER_TRAINER_SESSION_BOARD_WRITER_H_
#define RINGMASTER_TRAINER_SESSION_BOARD_WRITER_H_

#include <memory>

#include "absl/status/statusor.h"
#include "common/progress_board.h"

namespace ringmaster::trainer {

// Owns the mapping. The main thread stores into board() with memory_order_relaxed; nothing here is a system call after Open.
class BoardWriter {
 public:
  // `descriptor`: the value of RINGMASTER_PROGRESS_BOARD_FD; null = not set, then the board is private memory that nobody reads, so
  // that a trainer also runs by hand. INVALID_ARGUMENT: no number, no descriptor, too small, or not a board of this version.
  static absl::StatusOr<std::unique_ptr<BoardWriter>> Open(const char* descriptor);
  ~BoardWriter();
  BoardWriter(const BoardWriter&) = delete;
  BoardWriter& operator=(const BoardWriter&) = delete;

  ProgressBoard& board() { return *board_; }
  void SetPhase(TrainerPhase phase) { board_->phase.store(phase, std::memory_order_relaxed); }

 private:
  explicit BoardWriter(void* mapping);

  void* const mapping_;  // null: private_board_ is the board
  std::unique_ptr<ProgressBoard> private_board_;
  ProgressBoard* const board_;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_SESSION_BOARD_WRITER_H_
