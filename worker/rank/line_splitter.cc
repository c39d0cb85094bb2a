#include "worker/rank/line_splitter.h"

#include <cstdint>

namespace ringmaster {

namespace {

// Bytes of the well-formed UTF-8 sequence at the start of `bytes`; 0 = not well-formed (Unicode 15, table 3-7).
size_t SequenceLength(absl::string_view bytes) {
  const auto at = [&](size_t i) { return i < bytes.size() ? static_cast<uint8_t>(bytes[i]) : uint8_t{0}; };
  const auto continues = [&](size_t i) { return (at(i) & 0xC0) == 0x80; };
  const uint8_t lead = at(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return continues(1) ? 2 : 0;
  if (lead >= 0xE0 && lead <= 0xEF) {
    if (lead == 0xE0 && at(1) < 0xA0) return 0;  // overlong
    if (lead == 0xED && at(1) > 0x9F) return 0;  // surrogate
    return continues(1) && continues(2) ? 3 : 0;
  }
  if (lead >= 0xF0 && lead <= 0xF4) {
    if (lead == 0xF0 && at(1) < 0x90) return 0;  // overlong
    if (lead == 0xF4 && at(1) > 0x8F) return 0;  // above U+10FFFF
    return continues(1) && continues(2) && continues(3) ? 4 : 0;
  }
  return 0;
}

// Where to cut a piece of at most `limit` bytes without dividing a character.
size_t CutPosition(absl::string_view bytes, size_t limit) {
  for (size_t back = 0; back < 4; ++back) {
    if ((static_cast<uint8_t>(bytes[limit - back]) & 0xC0) != 0x80) return limit - back;
  }
  return limit;
}

}  // namespace

std::string ToValidUtf8(absl::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  while (!bytes.empty()) {
    const size_t length = SequenceLength(bytes);
    if (length == 0) {
      text += "\xEF\xBF\xBD";
      bytes.remove_prefix(1);
    } else {
      text.append(bytes.data(), length);
      bytes.remove_prefix(length);
    }
  }
  return text;
}

std::vector<std::string> LineSplitter::Add(absl::string_view bytes) {
  std::vector<std::string> lines;
  while (!bytes.empty()) {
    const size_t end = bytes.find('\n');
    const bool complete = end != absl::string_view::npos;
    const absl::string_view piece = bytes.substr(0, end);
    partial_.append(piece.data(), piece.size());
    bytes.remove_prefix(complete ? end + 1 : bytes.size());
    size_t begin = 0;
    while (partial_.size() - begin > kMaxLineBytes) {
      const absl::string_view rest = absl::string_view(partial_).substr(begin);
      const size_t cut = CutPosition(rest, kMaxLineBytes);
      lines.push_back(ToValidUtf8(rest.substr(0, cut)));
      begin += cut;
    }
    partial_.erase(0, begin);
    if (!complete) continue;
    if (!partial_.empty() && partial_.back() == '\r') partial_.pop_back();
    lines.push_back(ToValidUtf8(partial_));
    partial_.clear();
  }
  return lines;
}

std::vector<std::string> LineSplitter::Finish() {
  std::vector<std::string> lines;
  if (!partial_.empty()) lines.push_back(ToValidUtf8(partial_));
  partial_.clear();
  return lines;
}

}  // namespace ringmaster
