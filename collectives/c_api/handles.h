// What the opaque handles of the C API hold, and how its functions turn a Status into a code.
#ifndef RINGMASTER_COLLECTIVES_C_API_HANDLES_H_
#define RINGMASTER_COLLECTIVES_C_API_HANDLES_H_

#include <memory>
#include <new>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "collectives/c_api/ringmaster.h"
#include "collectives/communicator.h"
#include "collectives/rendezvous.h"
#include "collectives/work_queue.h"
#include "common/real_clock.h"

namespace ringmaster::c_api {

// Shared by a communicator and those split from it.
struct World {
  RealClock clock;
  std::unique_ptr<Rendezvous> rendezvous;
};

// Keeps the message for rm_last_error of this thread.
int Report(const absl::Status& status);

// The edge: nothing that is thrown passes into C.
template <typename Body>
int Guarded(const Body& body) {
  try {
    return Report(body());
  } catch (const std::bad_alloc&) {
    return Report(absl::ResourceExhaustedError("out of memory"));
  } catch (const std::exception& error) {
    return Report(absl::InternalError(error.what()));
  }
}

}  // namespace ringmaster::c_api

struct rm_communicator {
  std::shared_ptr<ringmaster::c_api::World> world;
  std::unique_ptr<ringmaster::Communicator> communicator;
  std::optional<ringmaster::WorkQueue> queue;  // from the first issued operation on, all go through it
  ringmaster::Work last;                       // issued
  std::string message;                         // of the last failure
};

struct rm_work {
  std::shared_ptr<ringmaster::c_api::World> world;  // the clock of waits
  ringmaster::Work work;
};

struct rm_buffer {
  ringmaster::RegisteredBuffer buffer;
};

#endif  // RINGMASTER_COLLECTIVES_C_API_HANDLES_H_
