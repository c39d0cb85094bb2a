#include "trainer/spare/spare_input.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_split.h"

namespace ringmaster::trainer {

bool SpareInput::IsTold(absl::Duration timeout) const {
  pollfd input = {.fd = fd_, .events = POLLIN, .revents = 0};
  return poll(&input, 1, static_cast<int>(absl::ToInt64Milliseconds(timeout))) > 0;
}

std::vector<std::pair<std::string, std::string>> SpareInput::Read() const {
  std::string bytes;
  char buffer[4096];
  ssize_t count = 0;
  while ((count = read(fd_, buffer, sizeof(buffer))) > 0 || (count < 0 && errno == EINTR)) {
    if (count > 0) bytes.append(buffer, static_cast<size_t>(count));
  }
  std::vector<std::pair<std::string, std::string>> variables;
  for (const absl::string_view variable : absl::StrSplit(bytes, '\0', absl::SkipEmpty())) {
    variables.push_back(absl::StrSplit(variable, absl::MaxSplits('=', 1)));
  }
  return variables;
}

}  // namespace ringmaster::trainer
