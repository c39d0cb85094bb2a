// What we use of NCCL and of the CUDA runtime, as an interface: the paths for errors, time-outs and aborts are tested without a
// GPU.
//
// Thread-safe, except that one communicator and one stream are used by one thread at a time. The device is a property of the
// calling thread (SetDevice). Nothing here waits for the GPU or a peer, save Abort, Free, DestroyStream, Destroy and what is called
// with a communicator of Duplicate's.
//
// A communicator of Init's does not block: after Init, Duplicate and Finalize nothing else may be called with it until State says
// kReady. One of Duplicate's does its operations and its Finalize in the caller, who may be held up for as long as peers or the
// device are, until the communicator that it was made from is aborted: then the call returns an error.
//
// Errors: the call, NCCL's or CUDA's text for its code, and NCCL's last error line.
//   FAILED_PRECONDITION  no driver, no library, or no such device; NCCL says that the call is wrong here
//   INVALID_ARGUMENT     NCCL refused an argument
//   UNAVAILABLE          a peer is gone (ncclRemoteError, ncclSystemError)
//   RESOURCE_EXHAUSTED   no memory on the device
//   INTERNAL             everything else; the device may have to be given up with the process
#ifndef RINGMASTER_COLLECTIVES_NCCL_NCCL_API_H_
#define RINGMASTER_COLLECTIVES_NCCL_NCCL_API_H_

#include <array>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "collectives/types.h"

namespace ringmaster {

// Never looked into here.
using NcclComm = struct NcclCommHandle*;
using CudaStream = struct CudaStreamHandle*;
using CudaEvent = struct CudaEventHandle*;

using NcclId = std::array<char, 128>;

enum class NcclState : uint8_t { kReady, kInProgress };

class NcclApi {
 public:
  virtual ~NcclApi() = default;

  // "NCCL 2.28.9".
  virtual std::string Version() const = 0;

  // The device of the calling thread from here on.
  virtual absl::StatusOr<int> DeviceCount() = 0;
  virtual absl::Status SetDevice(int device) = 0;
  virtual absl::StatusOr<void*> Allocate(int64_t bytes) = 0;
  virtual absl::Status Free(void* memory) = 0;
  virtual absl::StatusOr<CudaStream> CreateStream() = 0;
  virtual absl::Status DestroyStream(CudaStream stream) = 0;
  // `timed`: for MicrosecondsBetween.
  virtual absl::StatusOr<CudaEvent> CreateEvent(bool timed) = 0;
  virtual absl::Status DestroyEvent(CudaEvent event) = 0;
  virtual absl::Status RecordEvent(CudaEvent event, CudaStream stream) = 0;
  virtual absl::StatusOr<bool> EventDone(CudaEvent event) = 0;
  // What is enqueued on `stream` from here on waits for `event`.
  virtual absl::Status WaitForEvent(CudaStream stream, CudaEvent event) = 0;
  virtual absl::StatusOr<double> MicrosecondsBetween(CudaEvent begin, CudaEvent end) = 0;
  // Between host and device in either direction, or within a device.
  virtual absl::Status Copy(void* to, const void* from, int64_t bytes, CudaStream stream) = 0;
  virtual absl::Status Zero(void* memory, int64_t bytes, CudaStream stream) = 0;

  // Starts a listener in this process, which must outlive the creation of the communicator; an id serves once.
  virtual absl::StatusOr<NcclId> GetUniqueId() = 0;
  virtual absl::StatusOr<NcclComm> Init(int size, const NcclId& id, int rank) = 0;
  // Collective: one more communicator of the same ranks, which shares the resources of `comm`. NCCL writes *blocking before `comm`
  // is kReady again, or its Abort has returned; read it no sooner.
  virtual absl::Status Duplicate(NcclComm comm, NcclComm* blocking) = 0;
  // An error here is asynchronous: the communicator is of no more use but for Abort.
  virtual absl::StatusOr<NcclState> State(NcclComm comm) = 0;
  // Before Destroy.
  virtual absl::Status Finalize(NcclComm comm) = 0;
  virtual absl::Status Destroy(NcclComm comm) = 0;
  // Ends what runs on the device, also of duplicates, and frees the communicator. May block for ever: call it on a thread of its
  // own.
  virtual absl::Status Abort(NcclComm comm) = 0;

  // Operations of the calling thread between these two are carried out together.
  virtual absl::Status GroupStart() = 0;
  virtual absl::Status GroupEnd() = 0;
  // Counts as in Communicator: of one part. Buffers are in device memory.
  virtual absl::Status AllReduce(const void* send, void* receive, int64_t count, DataType type, Reduction reduction, NcclComm comm,
                                 CudaStream stream) = 0;
  virtual absl::Status ReduceScatter(const void* send, void* receive, int64_t count, DataType type, Reduction reduction,
                                     NcclComm comm, CudaStream stream) = 0;
  virtual absl::Status AllGather(const void* send, void* receive, int64_t count, DataType type, NcclComm comm,
                                 CudaStream stream) = 0;
  virtual absl::Status Broadcast(const void* send, void* receive, int64_t count, DataType type, int root, NcclComm comm,
                                 CudaStream stream) = 0;
  virtual absl::Status Reduce(const void* send, void* receive, int64_t count, DataType type, Reduction reduction, int root,
                              NcclComm comm, CudaStream stream) = 0;
  virtual absl::Status Send(const void* send, int64_t count, DataType type, int peer, NcclComm comm, CudaStream stream) = 0;
  virtual absl::Status Receive(void* receive, int64_t count, DataType type, int peer, NcclComm comm, CudaStream stream) = 0;
};

}  // namespace ringmaster

#endif  // RINGMASTER_COLLECTIVES_NCCL_NCCL_API_H_
