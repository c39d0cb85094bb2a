// An NcclApi without GPUs: ranks are threads of one process, "device memory" is the process's own. Faults come on demand.
//
// Thread-safe. Streams have no threads: their work is done by whoever asks for the state of an event or of a communicator, so a
// rank that never calls holds up its peers as a dead one would. Sends are buffered. Freed memory and destroyed handles are checked
// as far as the process's sanitizers do; a communicator that is aborted under a caller ends the process. One object for all ranks;
// it must outlive all of their aborts.
#ifndef RINGMASTER_COLLECTIVES_NCCL_FAKE_NCCL_API_H_
#define RINGMASTER_COLLECTIVES_NCCL_FAKE_NCCL_API_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "collectives/call.h"
#include "collectives/nccl/nccl_api.h"
#include "common/mutex.h"

namespace ringmaster::testing {

class FakeNcclApi final : public NcclApi {
 public:
  FakeNcclApi();
  ~FakeNcclApi() override;

  // Faults.
  void FailInit(int rank, absl::Status status);       // at once, from Init
  void FailDuplicate(int rank, absl::Status status);  // at once
  void HangOperations(int rank);                      // of duplicates, in the caller, until an abort
  int hanging() const;                                // such callers
  void FailLater(int rank, absl::Status status);      // State of this rank of every communicator from now on
  void HangAborts();                                  // Abort returns only after ReleaseAborts
  void ReleaseAborts();
  int aborts() const;  // that have begun
  int inits() const;   // likewise

  std::string Version() const override { return "fake NCCL"; }
  absl::StatusOr<int> DeviceCount() override { return 8; }
  absl::Status SetDevice(int device) override;
  absl::StatusOr<void*> Allocate(int64_t bytes) override;
  absl::Status Free(void* memory) override;
  absl::StatusOr<CudaStream> CreateStream() override;
  absl::Status DestroyStream(CudaStream stream) override;
  absl::StatusOr<CudaEvent> CreateEvent(bool timed) override;
  absl::Status DestroyEvent(CudaEvent event) override;
  absl::Status RecordEvent(CudaEvent event, CudaStream stream) override;
  absl::StatusOr<bool> EventDone(CudaEvent event) override;
  absl::Status WaitForEvent(CudaStream stream, CudaEvent event) override;
  absl::StatusOr<double> MicrosecondsBetween(CudaEvent begin, CudaEvent end) override { return 1.0; }
  absl::Status Copy(void* to, const void* from, int64_t bytes, CudaStream stream) override;
  absl::Status Zero(void* memory, int64_t bytes, CudaStream stream) override;

  absl::StatusOr<NcclId> GetUniqueId() override;
  absl::StatusOr<NcclComm> Init(int size, const NcclId& id, int rank) override;
  absl::Status Duplicate(NcclComm comm, NcclComm* blocking) override;
  absl::StatusOr<NcclState> State(NcclComm comm) override;
  absl::Status Finalize(NcclComm comm) override;
  absl::Status Destroy(NcclComm comm) override;
  absl::Status Abort(NcclComm comm) override;
  absl::Status GroupStart() override;
  absl::Status GroupEnd() override;
  absl::Status AllReduce(const void* send, void* receive, int64_t count, DataType type, Reduction reduction, NcclComm comm,
                         CudaStream stream) override;
  absl::Status ReduceScatter(const void* send, void* receive, int64_t count, DataType type, Reduction reduction, NcclComm comm,
                             CudaStream stream) override;
  absl::Status AllGather(const void* send, void* receive, int64_t count, DataType type, NcclComm comm, CudaStream stream) override;
  absl::Status Broadcast(const void* send, void* receive, int64_t count, DataType type, int root, NcclComm comm,
                         CudaStream stream) override;
  absl::Status Reduce(const void* send, void* receive, int64_t count, DataType type, Reduction reduction, int root, NcclComm comm,
                      CudaStream stream) override;
  absl::Status Send(const void* send, int64_t count, DataType type, int peer, NcclComm comm, CudaStream stream) override;
  absl::Status Receive(void* receive, int64_t count, DataType type, int peer, NcclComm comm, CudaStream stream) override;

 private:
  struct World;
  struct Comm;
  struct Part;
  struct Stream;
  struct Event;

  absl::Status Add(const Call& call, NcclComm comm, CudaStream stream);
  absl::Status Push(CudaStream stream, std::function<bool()> work);
  void Pump() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool Advance(const std::shared_ptr<Part>& part) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Free(NcclComm handle, const Comm& comm) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::shared_ptr<Comm> Find(NcclComm comm) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  NcclComm NewComm(const std::shared_ptr<World>& world, int rank) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void FinishDuplicates(World& world) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status HoldUp(Comm& comm) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  mutable Mutex mu_;
  CondVar changed_;
  uint64_t next_handle_ ABSL_GUARDED_BY(mu_) = 1;
  std::map<uint64_t, std::shared_ptr<World>> worlds_ ABSL_GUARDED_BY(mu_);  // by id
  std::map<NcclComm, std::shared_ptr<Comm>> comms_ ABSL_GUARDED_BY(mu_);
  std::map<void*, std::unique_ptr<char[]>> memory_ ABSL_GUARDED_BY(mu_);  // a device's goes with the process
  std::map<CudaStream, std::shared_ptr<Stream>> streams_ ABSL_GUARDED_BY(mu_);
  std::map<CudaEvent, std::shared_ptr<Event>> events_ ABSL_GUARDED_BY(mu_);
  std::map<int, absl::Status> init_failures_ ABSL_GUARDED_BY(mu_);
  std::map<int, absl::Status> duplicate_failures_ ABSL_GUARDED_BY(mu_);
  std::map<int, absl::Status> later_failures_ ABSL_GUARDED_BY(mu_);
  std::set<int> hung_ranks_ ABSL_GUARDED_BY(mu_);
  int hanging_ ABSL_GUARDED_BY(mu_) = 0;
  bool aborts_hang_ ABSL_GUARDED_BY(mu_) = false;
  int aborts_ ABSL_GUARDED_BY(mu_) = 0;
  int inits_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace ringmaster::testing

#endif  // RINGMASTER_COLLECTIVES_NCCL_FAKE_NCCL_API_H_
