// Bytes in, lines out.
#ifndef RINGMASTER_WORKER_RANK_LINE_SPLITTER_H_
#define RINGMASTER_WORKER_RANK_LINE_SPLITTER_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace ringmaster {

// Lines come without their end ("\n" or "\r\n"), as valid UTF-8 (a wrong byte becomes U+FFFD: protobuf refuses anything else).
// A line longer than kMaxLineBytes comes in pieces of that length.
class LineSplitter {
 public:
  static constexpr size_t kMaxLineBytes = 64 * 1024;

  std::vector<std::string> Add(absl::string_view bytes);
  // What is left without a line end; call at the end of the stream.
  std::vector<std::string> Finish();

 private:
  std::string partial_;
};

std::string ToValidUtf8(absl::string_view bytes);

}  // namespace ringmaster

#endif  // RINGMASTER_WORKER_RANK_LINE_SPLITTER_H_
