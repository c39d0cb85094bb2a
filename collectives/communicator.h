// What everything above uses to move tensors between the ranks of one group in one epoch.
//
// Threads: one thread at a time issues operations; all ranks issue the same operations in the same order (point-to-point: both ends
// the same in the same order). Abort() may come from any thread. To go on computing meanwhile, issue them through a WorkQueue
// (collectives/work_queue.h).
//
// Results of reductions are the same bits on all ranks, in all runs, for all algorithms, transports and chunk sizes: contributions
// are added in rank order 0, 1, .. size-1, f16 and bf16 in f32 with one rounding at the end.
//
// Zero elements are allowed everywhere, buffers need only the alignment of their element type and may be larger than 4 GiB. In
// place: `send` may equal `receive`; where one of them holds the parts of all ranks, the other is this rank's part of it. Otherwise
// buffers do not overlap.
//
// Errors of every operation, after which the communicator is broken and every later call returns the same error:
//   UNAVAILABLE        a peer closed its connection; the message names rank, host and pid, the operation and its sequence number
//   DEADLINE_EXCEEDED  `timeout` passed; the message names the ranks waited for
//   ABORTED            Abort() was called here; the message is its reason
//   INVALID_ARGUMENT   peers called another operation, size, type, reduction or root; both calls are in the message
// An operation that cannot be (Validate in collectives/call.h) is refused with INVALID_ARGUMENT before it begins and breaks
// nothing.
#ifndef RINGMASTER_COLLECTIVES_COMMUNICATOR_H_
#define RINGMASTER_COLLECTIVES_COMMUNICATOR_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "collectives/call.h"
#include "collectives/flight/flight_recorder.h"
#include "collectives/registered_buffer.h"
#include "collectives/types.h"

namespace ringmaster {

class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;

  // Carries out one operation; the functions below are shorter ways to say it.
  absl::Status Run(const Call& call, absl::Duration timeout);

  // Operations issued together: sends and receives of the list make progress at the same time, in whatever order they stand
  // (several with one peer: in that order), then the collectives run one after the other. `timeout` is for the exchange and for
  // each of them.
  absl::Status RunGroup(std::span<const Call> calls, absl::Duration timeout);

  // receive[i] = reduction over ranks of send[i], i < count.
  absl::Status AllReduce(const void* send, void* receive, int64_t count, DataType type, Reduction reduction,
                         absl::Duration timeout);

  // `send` holds size() * count elements; rank r receives the reduction of elements [r * count, (r + 1) * count).
  absl::Status ReduceScatter(const void* send, void* receive, int64_t count, DataType type, Reduction reduction,
                             absl::Duration timeout);
  // The same with counts[r] elements for rank r.
  absl::Status ReduceScatterV(const void* send, void* receive, std::span<const int64_t> counts, DataType type, Reduction reduction,
                              absl::Duration timeout);

  // Every rank gives `count` elements; `receive` holds size() * count elements, in rank order.
  absl::Status AllGather(const void* send, void* receive, int64_t count, DataType type, absl::Duration timeout);
  absl::Status AllGatherV(const void* send, void* receive, std::span<const int64_t> counts, DataType type, absl::Duration timeout);

  // `buffer` of `root` on all ranks.
  absl::Status Broadcast(void* buffer, int64_t count, DataType type, int root, absl::Duration timeout);

  // As AllReduce, but only `root` receives.
  absl::Status Reduce(const void* send, void* receive, int64_t count, DataType type, Reduction reduction, int root,
                      absl::Duration timeout);

  // Every rank gives `count` elements; `root` receives size() * count, in rank order.
  absl::Status Gather(const void* send, void* receive, int64_t count, DataType type, int root, absl::Duration timeout);

  // `root` gives size() * count elements; rank r receives [r * count, (r + 1) * count).
  absl::Status Scatter(const void* send, void* receive, int64_t count, DataType type, int root, absl::Duration timeout);

  // `send` holds `count` elements for every rank, `receive` `count` from every rank, both in rank order. In place works on a copy.
  absl::Status AllToAll(const void* send, void* receive, int64_t count, DataType type, absl::Duration timeout);
  absl::Status AllToAllV(const void* send, std::span<const int64_t> send_counts, void* receive,
                         std::span<const int64_t> receive_counts, DataType type, absl::Duration timeout);

  // May return before the peer has received.
  absl::Status Send(const void* send, int64_t count, DataType type, int peer, absl::Duration timeout);
  absl::Status Receive(void* receive, int64_t count, DataType type, int peer, absl::Duration timeout);

  // Returns when every rank has called it.
  absl::Status Barrier(absl::Duration timeout);

  // Wakes a blocked operation here; peers learn of it through their connections. The first reason stays.
  virtual void Abort(std::string_view reason) = 0;

  // Collective: memory of `bytes` on every rank, zeroed, 2 MiB-aligned, which peers on this host can read and write. Operations
  // whose buffers lie at the same offsets of the same registered memory on all ranks need no copies. RESOURCE_EXHAUSTED: there is
  // not so much.
  virtual absl::StatusOr<RegisteredBuffer> Register(int64_t bytes, absl::Duration timeout);

  // Collective: the ranks that give the same `colour` form a new group, ordered by `key`, then by rank here. A negative colour: in
  // no group, nullptr. This communicator lives on and must outlive the new one's creation only.
  // UNIMPLEMENTED: this kind of communicator cannot be split.
  virtual absl::StatusOr<std::unique_ptr<Communicator>> Split(int colour, int key, absl::Duration timeout);

  // Makes the communicator of a subgroup: `members` are ranks of this group, by new rank; `name` is the same on all of them and
  // unique within this group. Whoever creates a communicator that can be split sets it.
  using Regroup = std::function<absl::StatusOr<std::unique_ptr<Communicator>>(std::span<const int> members, const std::string& name,
                                                                              absl::Duration timeout)>;
  void set_regroup(Regroup regroup) { regroup_ = std::move(regroup); }

  // Writes every operation from here on into a flight record (`ringmaster flight-record PID` reads it). Before the first operation.
  void set_recorder(std::unique_ptr<FlightRecorder> recorder) { recorder_ = std::move(recorder); }

  // How `call` would run and why: the algorithm, and what the cost model expects of the others.
  virtual std::string Explain(const Call& call) const = 0;

 protected:
  // `call` is valid and, on host memory, not in place where that is impossible. One operation.
  virtual absl::Status Execute(const Call& call, absl::Duration timeout) = 0;
  // Whether buffers are memory that the processor reads. False: Execute also gets in-place all-to-alls as they are.
  virtual bool OnHost() const { return true; }
  // Sends and receives of one group.
  virtual absl::Status ExchangePointToPoint(std::span<const Call> calls, absl::Duration timeout) = 0;
  // Null where nobody asked for one. A wait that lasts says whom it waits for: recorder()->WaitsFor(peer).
  FlightRecorder* recorder() const { return recorder_.get(); }

 private:
  absl::Status RunPointToPoint(std::span<const Call> calls, absl::Duration timeout);

  std::unique_ptr<FlightRecorder> recorder_;
  Regroup regroup_;
  int splits_ = 0;
};

}  // namespace ringmaster

#endif  // RINGMASTER_COLLECTIVES_COMMUNICATOR_H_
