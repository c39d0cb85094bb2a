#include "worker/rank/shared_board.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstring>
#include <limits>
#include <new>

#include "absl/strings/str_cat.h"

namespace ringmaster {

namespace {

const char* PhaseName(TrainerPhase phase) {
  switch (phase) {
    case TrainerPhase::kStarting: return "starting";
    case TrainerPhase::kJoining: return "joining";
    case TrainerPhase::kLoading: return "loading";
    case TrainerPhase::kData: return "data";
    case TrainerPhase::kForward: return "forward";
    case TrainerPhase::kBackward: return "backward";
    case TrainerPhase::kCommunication: return "communication";
    case TrainerPhase::kOptimizer: return "optimizer";
    case TrainerPhase::kValidation: return "validation";
    case TrainerPhase::kCheckpoint: return "checkpoint";
    case TrainerPhase::kFinished: return "finished";
  }
  return "unknown";
}

// As docs/failure_model.md names it.
const char* TroubleName(TrainerTrouble trouble) {
  switch (trouble) {
    case TrainerTrouble::kNone: return "";
    case TrainerTrouble::kDiskFull: return "disk_full";
    case TrainerTrouble::kCheckpointFailed: return "checkpoint_failed";
    case TrainerTrouble::kMismatchedCall: return "mismatched_call";
  }
  return "";
}

}  // namespace

absl::StatusOr<std::unique_ptr<SharedBoard>> SharedBoard::Create() {
  FileDescriptor fd(memfd_create("ringmaster-progress", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  void* memory = MAP_FAILED;
  if (fd.valid() && ftruncate(fd.get(), ProgressBoard::kBytes) == 0 &&
      fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0) {
    memory = mmap(nullptr, ProgressBoard::kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  }
  if (memory == MAP_FAILED) return absl::ResourceExhaustedError(absl::StrCat("progress board: ", std::strerror(errno)));
  auto* board = new (memory) ProgressBoard();
  // Not measured yet: a command that never writes shows nothing.
  const double unset = std::numeric_limits<double>::quiet_NaN();
  board->train_loss = unset;
  board->validation_loss = unset;
  board->validation_accuracy = unset;
  return std::unique_ptr<SharedBoard>(new SharedBoard(std::move(fd), board));
}

SharedBoard::~SharedBoard() { munmap(const_cast<ProgressBoard*>(board_), ProgressBoard::kBytes); }

v1::Progress SharedBoard::Read() const { return ToProgress(*board_); }

v1::Progress ToProgress(const ProgressBoard& board) {
  v1::Progress progress;
  progress.set_step(board.step);
  progress.set_total_steps(board.total_steps);
  progress.set_phase(PhaseName(board.phase));
  if (const double loss = board.train_loss; !std::isnan(loss)) progress.set_train_loss(loss);
  if (const double loss = board.validation_loss; !std::isnan(loss)) progress.set_validation_loss(loss);
  if (const double accuracy = board.validation_accuracy; !std::isnan(accuracy)) progress.set_validation_accuracy(accuracy);
  progress.set_validation_step(board.validation_step);
  const double rate = board.units_per_second;
  if (board.unit_is_tokens != 0) {
    progress.set_tokens_per_second(rate);
  } else {
    progress.set_samples_per_second(rate);
  }
  progress.set_communication_share(board.communication_share);
  progress.set_learning_rate(board.learning_rate);
  progress.set_gradient_norm(board.gradient_norm);
  progress.set_collectives(board.collective_sequence);
  progress.set_trouble(TroubleName(board.trouble));
  progress.set_last_call(board.last_call);
  if (const int32_t rank = board.waits_for; rank >= 0) progress.set_waits_for(rank);
  return progress;
}

}  // namespace ringmaster
