// Records in one SQLite file (WAL, synchronous=FULL): a record is on disk when Append returns. Each carries a CRC32C over its
// number and bytes, because SQLite itself does not notice flipped bits.
#ifndef RINGMASTER_COORDINATOR_STORE_SQLITE_JOB_STORE_H_
#define RINGMASTER_COORDINATOR_STORE_SQLITE_JOB_STORE_H_

#include <filesystem>
#include <memory>

#include "absl/status/statusor.h"
#include "coordinator/store/job_store.h"

namespace ringmaster::coordinator {

// The file is made when it does not exist.
//   DATA_LOSS           it is not a store, or damaged
//   RESOURCE_EXHAUSTED  no space
//   UNAVAILABLE         it cannot be opened
absl::StatusOr<std::unique_ptr<JobStore>> OpenSqliteJobStore(const std::filesystem::path& file);

}  // namespace ringmaster::coordinator

#endif  // RINGMASTER_COORDINATOR_STORE_SQLITE_JOB_STORE_H_
