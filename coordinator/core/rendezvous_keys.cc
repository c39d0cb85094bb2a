#include "coordinator/core/rendezvous_keys.h"

#include "absl/strings/str_cat.h"

namespace ringmaster::coordinator {

absl::Status RendezvousKeys::Check(const std::string& key, const std::string& value) const {
  if (const std::string* found = Find(key); found != nullptr) {
    if (*found == value) return absl::OkStatus();
    return absl::AlreadyExistsError(
        absl::StrCat("key \"", key, "\" was set before, to another value of ", found->size(), " bytes"));
  }
  if (values_.size() >= kMostKeys || bytes_ + key.size() + value.size() > kMostBytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("this epoch holds ", values_.size(), " keys with ", bytes_, " bytes; no room for \"", key, "\""));
  }
  return absl::OkStatus();
}

const std::string* RendezvousKeys::Find(const std::string& key) const {
  const auto it = values_.find(key);
  return it == values_.end() ? nullptr : &it->second;
}

void RendezvousKeys::Set(const std::string& key, const std::string& value) {
  if (values_.emplace(key, value).second) bytes_ += key.size() + value.size();
}

void RendezvousKeys::Clear() {
  values_.clear();
  bytes_ = 0;
}

}  // namespace ringmaster::coordinator
