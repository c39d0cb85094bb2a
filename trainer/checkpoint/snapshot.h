// The state of one step, kept while training goes on: what a saver writes.
#ifndef RINGMASTER_TRAINER_CHECKPOINT_SNAPSHOT_H_
#define RINGMASTER_TRAINER_CHECKPOINT_SNAPSHOT_H_

#include <vector>

#include "absl/status/status.h"
#include "trainer/checkpoint/layout.h"
#include "trainer/tensor/arena.h"

namespace ringmaster::trainer {

// The training thread calls Allocate once and Take; the saver's thread WarmUp once, before the first Take, and Await and pieces()
// between a Take and the next. Errors: RESOURCE_EXHAUSTED, there is not so much memory; INTERNAL, the device failed.
class Snapshot {
 public:
  virtual ~Snapshot() = default;

  virtual absl::Status Allocate() = 0;
  // What would make the first Take slow.
  virtual absl::Status WarmUp() = 0;
  // The state as it is now. Training may change it when this has returned.
  virtual absl::Status Take() = 0;
  // Returns when all of what was taken is where pieces() point.
  virtual absl::Status Await() = 0;
  virtual const std::vector<TensorPiece>& pieces() const = 0;
};

// A copy of pieces in memory of this host.
class HostSnapshot final : public Snapshot {
 public:
  // What they point to outlives this.
  explicit HostSnapshot(std::vector<TensorPiece> source);

  absl::Status Allocate() override;
  absl::Status WarmUp() override { return absl::OkStatus(); }
  absl::Status Take() override;
  absl::Status Await() override { return absl::OkStatus(); }
  const std::vector<TensorPiece>& pieces() const override { return copied_; }

 private:
  const std::vector<TensorPiece> source_;
  std::vector<TensorPiece> copied_;
  Arena memory_;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CHECKPOINT_SNAPSHOT_H_
