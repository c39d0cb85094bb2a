// Owns one file descriptor and closes it.
#ifndef RINGMASTER_COMMON_FILE_DESCRIPTOR_H_
#define RINGMASTER_COMMON_FILE_DESCRIPTOR_H_

#include <unistd.h>

#include <utility>

namespace ringmaster {

class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor() { Reset(); }
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    if (this != &other) {
      Reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }

  bool valid() const { return fd_ >= 0; }
  int get() const { return fd_; }
  int Release() { return std::exchange(fd_, -1); }
  void Reset() {
    if (fd_ >= 0) close(std::exchange(fd_, -1));
  }

 private:
  int fd_ = -1;
};

}  // namespace ringmaster

#endif  // RINGMASTER_COMMON_FILE_DESCRIPTOR_H_
