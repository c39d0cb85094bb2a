// What everything above uses to move tensors between the ranks of one group in one epoch.
//
// Threads: one thread at a time issues operations; all ranks issue the same operations in the same order. Abort() may come from any
// thread. Results of reductions are bit-identical on all ranks and in all runs: contributions are added in rank order 0, 1, ..
// size-1. Zero elements are allowed everywhere. In place: `send` may equal `receive` (reduce-scatter and all-gather: see there);
// otherwise buffers do not overlap.
//
// Errors of every operation, after which the communicator is broken and every later call returns the same error:
//   UNAVAILABLE        a peer closed its connection; the message names rank, host and pid, the operation and its sequence number
//   DEADLINE_EXCEEDED  `timeout` passed; the message names the ranks waited for
//   ABORTED            Abort() was called here; the message is its reason
//   INVALID_ARGUMENT   peers called another operation, size, type, reduction or root; both calls are in the message
#ifndef RINGMASTER_COLLECTIVES_COMMUNICATOR_H_
#define RINGMASTER_COLLECTIVES_COMMUNICATOR_H_

#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "collectives/types.h"

namespace ringmaster {

class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;

  // receive[i] = reduction over ranks of send[i], i < count.
  virtual absl::Status AllReduce(const void* send, void* receive, int64_t count, DataType type, Reduction reduction,
                                 absl::Duration timeout) = 0;

  // `send` holds size() * count elements; rank r receives the reduction of elements [r * count, (r + 1) * count).
  // In place: receive == send + rank * count elements.
  virtual absl::Status ReduceScatter(const void* send, void* receive, int64_t count, DataType type, Reduction reduction,
                                     absl::Duration timeout) = 0;

  // Every rank gives `count` elements; `receive` holds size() * count elements, in rank order.
  // In place: send == receive + rank * count elements.
  virtual absl::Status AllGather(const void* send, void* receive, int64_t count, DataType type, absl::Duration timeout) = 0;

  // `buffer` of `root` on all ranks.
  virtual absl::Status Broadcast(void* buffer, int64_t count, DataType type, int root, absl::Duration timeout) = 0;

  // Returns when every rank has called it.
  virtual absl::Status Barrier(absl::Duration timeout) = 0;

  // Wakes a blocked operation here; peers learn of it through their connections. The first reason stays.
  virtual void Abort(std::string_view reason) = 0;
};

}  // namespace ringmaster

#endif  // RINGMASTER_COLLECTIVES_COMMUNICATOR_H_
