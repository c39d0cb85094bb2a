// Memory that collectives can use without copies (Communicator::Register). Movable handle; the memory goes with it.
#ifndef RINGMASTER_COLLECTIVES_REGISTERED_BUFFER_H_
#define RINGMASTER_COLLECTIVES_REGISTERED_BUFFER_H_

#include <cstdint>
#include <functional>
#include <utility>

#include "absl/status/statusor.h"

namespace ringmaster {

class RegisteredBuffer {
 public:
  RegisteredBuffer() = default;
  // `release` runs once, when the last owner is gone.
  RegisteredBuffer(void* data, int64_t bytes, std::function<void()> release)
      : data_(data), bytes_(bytes), release_(std::move(release)) {}
  ~RegisteredBuffer() { Release(); }
  RegisteredBuffer(RegisteredBuffer&& other) noexcept { *this = std::move(other); }
  RegisteredBuffer& operator=(RegisteredBuffer&& other) noexcept {
    if (this == &other) return *this;
    Release();
    data_ = std::exchange(other.data_, nullptr);
    bytes_ = std::exchange(other.bytes_, 0);
    release_ = std::exchange(other.release_, nullptr);
    return *this;
  }

  void* data() const { return data_; }
  int64_t bytes() const { return bytes_; }

 private:
  void Release() {
    if (release_) std::exchange(release_, nullptr)();
  }

  void* data_ = nullptr;
  int64_t bytes_ = 0;
  std::function<void()> release_;
};

// Memory of this process alone: what a communicator gives that shares none with its peers.
absl::StatusOr<RegisteredBuffer> AllocatePrivateBuffer(int64_t bytes);

}  // namespace ringmaster

#endif  // RINGMASTER_COLLECTIVES_REGISTERED_BUFFER_H_
