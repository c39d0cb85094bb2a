// RM_CHECK(condition) << "detail": for our own bugs only, never for anything that came over a wire or from a file.
#ifndef RINGMASTER_COMMON_CHECK_H_
#define RINGMASTER_COMMON_CHECK_H_

#include <sstream>

namespace ringmaster::internal {

// Prints the collected message with its source line and aborts when destroyed.
class CheckFailure {
 public:
  CheckFailure(const char* file, int line, const char* condition);
  [[noreturn]] ~CheckFailure();
  std::ostream& stream() { return message_; }

 private:
  std::ostringstream message_;
};

// Gives both arms of RM_CHECK's conditional the type void.
struct Voidify {
  void operator&(std::ostream&) const {}
};

}  // namespace ringmaster::internal

#define RM_CHECK(condition)          \
  (condition) ? static_cast<void>(0) \
              : ::ringmaster::internal::Voidify() & ::ringmaster::internal::CheckFailure(__FILE__, __LINE__, #condition).stream()

#endif  // RINGMASTER_COMMON_CHECK_H_
