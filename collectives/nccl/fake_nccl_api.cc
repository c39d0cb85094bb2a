#include "collectives/nccl/fake_nccl_api.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "collectives/nccl/fake_nccl_state.h"
#include "common/check.h"

namespace ringmaster::testing {

FakeNcclApi::FakeNcclApi() = default;
FakeNcclApi::~FakeNcclApi() = default;

void FakeNcclApi::FailInit(int rank, absl::Status status) {
  MutexLock lock(&mu_);
  init_failures_[rank] = std::move(status);
}

void FakeNcclApi::FailDuplicate(int rank, absl::Status status) {
  MutexLock lock(&mu_);
  duplicate_failures_[rank] = std::move(status);
}

void FakeNcclApi::HangOperations(int rank) {
  MutexLock lock(&mu_);
  hung_ranks_.insert(rank);
}

int FakeNcclApi::hanging() const {
  MutexLock lock(&mu_);
  return hanging_;
}

void FakeNcclApi::FailLater(int rank, absl::Status status) {
  MutexLock lock(&mu_);
  later_failures_[rank] = std::move(status);
}

void FakeNcclApi::HangAborts() {
  MutexLock lock(&mu_);
  aborts_hang_ = true;
}

void FakeNcclApi::ReleaseAborts() {
  MutexLock lock(&mu_);
  aborts_hang_ = false;
  changed_.SignalAll();
}

int FakeNcclApi::inits() const {
  MutexLock lock(&mu_);
  return inits_;
}

int FakeNcclApi::aborts() const {
  MutexLock lock(&mu_);
  return aborts_;
}

std::shared_ptr<FakeNcclApi::Comm> FakeNcclApi::Find(NcclComm comm) {
  const auto it = comms_.find(comm);
  return it == comms_.end() ? nullptr : it->second;
}

NcclComm FakeNcclApi::NewComm(const std::shared_ptr<World>& world, int rank) {
  auto comm = std::make_shared<Comm>();
  comm->world = world;
  comm->rank = rank;
  world->ranks[static_cast<size_t>(rank)] = comm;
  ++world->came;
  ++world->alive;
  const auto handle = reinterpret_cast<NcclComm>(next_handle_++);
  comms_[handle] = std::move(comm);
  return handle;
}

absl::StatusOr<NcclId> FakeNcclApi::GetUniqueId() {
  MutexLock lock(&mu_);
  NcclId id{};
  const uint64_t number = next_handle_++;
  std::memcpy(id.data(), &number, sizeof(number));
  return id;
}

absl::StatusOr<NcclComm> FakeNcclApi::Init(int size, const NcclId& id, int rank) {
  MutexLock lock(&mu_);
  ++inits_;
  if (const auto it = init_failures_.find(rank); it != init_failures_.end()) return it->second;
  uint64_t number = 0;
  std::memcpy(&number, id.data(), sizeof(number));
  std::shared_ptr<World>& world = worlds_[number];
  if (world == nullptr) {
    world = std::make_shared<World>();
    world->size = size;
    world->ranks.resize(static_cast<size_t>(size));
  }
  return NewComm(world, rank);
}

absl::Status FakeNcclApi::Duplicate(NcclComm handle, NcclComm* blocking) {
  MutexLock lock(&mu_);
  const std::shared_ptr<Comm> comm = Find(handle);
  if (comm == nullptr) return absl::InvalidArgumentError("ncclCommSplit: no such communicator");
  if (const auto it = duplicate_failures_.find(comm->rank); it != duplicate_failures_.end()) return it->second;
  comm->is_duplicating = true;
  World& world = *comm->world;
  world.duplicates[comm->rank] = blocking;
  if (static_cast<int>(world.duplicates.size()) == world.size) FinishDuplicates(world);
  return absl::OkStatus();
}

void FakeNcclApi::FinishDuplicates(World& world) {
  const auto twin = std::make_shared<World>();
  twin->size = world.size;
  twin->ranks.resize(static_cast<size_t>(world.size));
  for (const auto& [rank, blocking] : std::exchange(world.duplicates, {})) {
    const std::shared_ptr<Comm> comm = world.ranks[static_cast<size_t>(rank)].lock();
    if (comm == nullptr) continue;
    *blocking = NewComm(twin, rank);
    Comm& made = *comms_[*blocking];
    made.is_blocking = true;
    made.aborted = comm->aborted;
    comm->is_duplicating = false;
  }
}

// As NCCL does when a peer does not come or the device's queue is full.
absl::Status FakeNcclApi::HoldUp(Comm& comm) {
  if (!comm.is_blocking || !hung_ranks_.contains(comm.rank)) return absl::OkStatus();
  ++comm.callers;
  ++hanging_;
  while (!*comm.aborted) changed_.WaitFor(&mu_, absl::Seconds(60));
  --hanging_;
  --comm.callers;
  return absl::InternalError("this communicator was aborted");
}

absl::StatusOr<NcclState> FakeNcclApi::State(NcclComm handle) {
  MutexLock lock(&mu_);
  Pump();
  const std::shared_ptr<Comm> comm = Find(handle);
  if (comm == nullptr) return absl::InvalidArgumentError("ncclCommGetAsyncError: no such communicator (freed?)");
  if (const auto it = later_failures_.find(comm->rank); it != later_failures_.end()) return it->second;
  return comm->world->complete() && !comm->is_duplicating ? NcclState::kReady : NcclState::kInProgress;
}

absl::Status FakeNcclApi::Finalize(NcclComm comm) {
  MutexLock lock(&mu_);
  return Find(comm) == nullptr ? absl::InvalidArgumentError("ncclCommFinalize: no such communicator") : absl::OkStatus();
}

absl::Status FakeNcclApi::Destroy(NcclComm handle) {
  MutexLock lock(&mu_);
  const std::shared_ptr<Comm> comm = Find(handle);
  if (comm == nullptr) return absl::InvalidArgumentError("ncclCommDestroy: no such communicator");
  Free(handle, *comm);
  return absl::OkStatus();
}

// What the last one leaves undone, nobody will do.
void FakeNcclApi::Free(NcclComm handle, const Comm& comm) {
  comms_.erase(handle);
  if (--comm.world->alive == 0) comm.world->meetings.clear();
}

absl::Status FakeNcclApi::Abort(NcclComm handle) {
  MutexLock lock(&mu_);
  ++aborts_;
  changed_.SignalAll();
  while (aborts_hang_) changed_.WaitFor(&mu_, absl::Seconds(60));
  const std::shared_ptr<Comm> comm = Find(handle);
  if (comm == nullptr) return absl::InvalidArgumentError("ncclCommAbort: no such communicator");
  RM_CHECK(comm->callers == 0) << "a communicator is freed under its caller";
  *comm->aborted = true;
  changed_.SignalAll();
  Free(handle, *comm);
  Pump();
  return absl::OkStatus();
}

}  // namespace ringmaster::testing
