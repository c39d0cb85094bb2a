// Ends waits in poll() from any thread: a descriptor that is readable from Set() to Clear().
#ifndef RINGMASTER_COMMON_CANCEL_EVENT_H_
#define RINGMASTER_COMMON_CANCEL_EVENT_H_

#include <sys/eventfd.h>

#include "common/check.h"
#include "common/file_descriptor.h"

namespace ringmaster {

// Thread-safe.
class CancelEvent {
 public:
  CancelEvent() : fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) { RM_CHECK(fd_.valid()) << "no descriptor is left"; }

  int fd() const { return fd_.get(); }
  void Set() { eventfd_write(fd_.get(), 1); }
  void Clear() {
    eventfd_t count;
    eventfd_read(fd_.get(), &count);
  }

 private:
  const FileDescriptor fd_;
};

}  // namespace ringmaster

#endif  // RINGMASTER_COMMON_CANCEL_EVENT_H_
