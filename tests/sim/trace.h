// What happened, line by line: a digest always, the text when asked for. The same seed gives the same bytes.
#ifndef RINGMASTER_TESTS_SIM_TRACE_H_
#define RINGMASTER_TESTS_SIM_TRACE_H_

#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tests/sim/timeline.h"

namespace ringmaster::sim {

class Trace {
 public:
  Trace(const Timeline& timeline, std::string* text) : timeline_(timeline), text_(text) {}

  template <typename... Parts>
  void Note(const Parts&... parts) {
    const std::string line = absl::StrCat(absl::ToInt64Microseconds(timeline_.elapsed()), " ", parts..., "\n");
    for (const char c : line) digest_ = (digest_ ^ static_cast<unsigned char>(c)) * 0x100000001B3;  // FNV-1a
    if (text_ != nullptr) text_->append(line);
  }
  uint64_t digest() const { return digest_; }

 private:
  const Timeline& timeline_;
  std::string* const text_;  // null: not kept
  uint64_t digest_ = 0xCBF29CE484222325;
};

}  // namespace ringmaster::sim

#endif  // RINGMASTER_TESTS_SIM_TRACE_H_
