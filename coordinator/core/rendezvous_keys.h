// The key-value pairs by which the ranks of one epoch find each other. Gone with the epoch.
#ifndef RINGMASTER_COORDINATOR_CORE_RENDEZVOUS_KEYS_H_
#define RINGMASTER_COORDINATOR_CORE_RENDEZVOUS_KEYS_H_

#include <cstddef>
#include <map>
#include <string>

#include "absl/status/status.h"

namespace ringmaster::coordinator {

class RendezvousKeys {
 public:
  static constexpr size_t kMostKeys = 65536;
  static constexpr size_t kMostBytes = size_t{32} << 20;

  //   ALREADY_EXISTS      the key has another value
  //   RESOURCE_EXHAUSTED  too many keys or bytes in this epoch
  absl::Status Check(const std::string& key, const std::string& value) const;
  const std::string* Find(const std::string& key) const;

  void Set(const std::string& key, const std::string& value);
  void Clear();

  bool operator==(const RendezvousKeys&) const = default;

 private:
  std::map<std::string, std::string> values_;
  size_t bytes_ = 0;
};

}  // namespace ringmaster::coordinator

#endif  // RINGMASTER_COORDINATOR_CORE_RENDEZVOUS_KEYS_H_
