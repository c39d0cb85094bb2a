// What FakeNcclApi keeps of groups, communicators, streams and the operations on them.
#ifndef RINGMASTER_COLLECTIVES_NCCL_FAKE_NCCL_STATE_H_
#define RINGMASTER_COLLECTIVES_NCCL_FAKE_NCCL_STATE_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "collectives/nccl/fake_nccl_api.h"

namespace ringmaster::testing {

// One operation of one rank. Collectives of a group meet under their number, messages under sender and receiver.
struct FakeNcclApi::Part {
  Call call;
  std::shared_ptr<Comm> comm;
  uint64_t number = 0;
  bool arrived = false;
  bool done = false;
};

// The ranks of one communicator.
struct FakeNcclApi::World {
  int size = 0;
  int came = 0;
  int alive = 0;                                                          // of those that came
  std::vector<std::weak_ptr<Comm>> ranks;                                 // nothing: has not come, or is gone
  std::map<uint64_t, std::vector<std::shared_ptr<Part>>> meetings;        // collectives that wait for ranks, by number
  std::map<std::pair<int, int>, std::deque<std::vector<char>>> messages;  // by sender and receiver
  std::map<int, NcclComm*> duplicates;                                    // to be written, by rank, when all have come
  bool complete() const { return came == size; }
};

struct FakeNcclApi::Comm {
  std::shared_ptr<World> world;
  int rank = 0;
  uint64_t collectives = 0;
  bool is_blocking = false;
  bool is_duplicating = false;
  int callers = 0;                                                // held up in an operation
  std::shared_ptr<bool> aborted = std::make_shared<bool>(false);  // duplicates share it
};

// What one call or one group has put on a stream; true when it is done.
struct FakeNcclApi::Stream {
  std::deque<std::function<bool()>> work;
  uint64_t pushed = 0;
  uint64_t done = 0;
};

struct FakeNcclApi::Event {
  std::shared_ptr<Stream> stream;  // null: never recorded, which counts as done
  uint64_t until = 0;
  bool done() const { return stream == nullptr || stream->done >= until; }
};

}  // namespace ringmaster::testing

#endif  // RINGMASTER_COLLECTIVES_NCCL_FAKE_NCCL_STATE_H_
