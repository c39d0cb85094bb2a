// Rendezvous in a directory, for ranks that one person or program starts without a coordinator: benchmarks, tools, the C API. A key
// is a file; waiting ranks are woken by inotify, so the directory must belong to the kernel that all ranks run on (network
// namespaces may differ; a network file system does not do).
#ifndef RINGMASTER_COLLECTIVES_FILE_RENDEZVOUS_H_
#define RINGMASTER_COLLECTIVES_FILE_RENDEZVOUS_H_

#include <atomic>
#include <filesystem>
#include <string>

#include "collectives/rendezvous.h"
#include "common/clock.h"

namespace ringmaster {

// Thread-safe, and safe between processes. One directory serves one epoch; it must exist, and whoever made it removes it.
class FileRendezvous final : public Rendezvous {
 public:
  FileRendezvous(std::filesystem::path directory, const Clock& clock) : directory_(std::move(directory)), clock_(clock) {}

  // A value appears whole or not at all. INVALID_ARGUMENT: the key is empty or too long for a file's name. ABORTED also: the
  // directory is gone. INTERNAL: the directory cannot be read or written.
  absl::Status Publish(const std::string& key, const std::string& value) override;
  absl::StatusOr<std::string> Await(const std::string& key, absl::Duration timeout) override;

  // Every waiting and every later call of all processes returns ABORTED.
  absl::Status EndEpoch();

 private:
  absl::Status CheckEpoch() const;

  const std::filesystem::path directory_;
  const Clock& clock_;
  std::atomic<int> published_{0};
};

}  // namespace ringmaster

#endif  // RINGMASTER_COLLECTIVES_FILE_RENDEZVOUS_H_
