// Where records are kept: an append-only list of byte strings, numbered from 1. Called by the driver's thread alone.
#ifndef RINGMASTER_COORDINATOR_STORE_JOB_STORE_H_
#define RINGMASTER_COORDINATOR_STORE_JOB_STORE_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace ringmaster::coordinator {

class JobStore {
 public:
  virtual ~JobStore() = default;

  // All of them or none; on stable storage when it returns OK. After an error the store can be used again.
  //   RESOURCE_EXHAUSTED  no space
  //   UNAVAILABLE         any other trouble with the disk
  // Messages name the store and the error.
  virtual absl::Status Append(const std::vector<std::string>& records) = 0;

  // Calls `visit` with number and bytes of every record, in order; stops at its first error and returns it.
  //   DATA_LOSS  a record does not read back as it was written; its number is in the message
  virtual absl::Status Replay(const std::function<absl::Status(int64_t number, const std::string& bytes)>& visit) = 0;

  // Removes these records; the others keep their numbers. All or nothing.
  virtual absl::Status Compact(const std::vector<int64_t>& superseded) = 0;
};

}  // namespace ringmaster::coordinator

#endif  // RINGMASTER_COORDINATOR_STORE_JOB_STORE_H_
