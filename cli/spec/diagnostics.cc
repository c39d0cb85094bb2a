#include "cli/spec/diagnostics.h"

#include <algorithm>
#include <tuple>

#include "absl/strings/str_cat.h"

namespace ringmaster::cli {

std::string Location::ToString() const { return line > 0 ? absl::StrCat(source, ":", line, ":", column) : source; }

void Diagnostics::Add(const Location& location, const std::string& message) { findings_.push_back({location, message}); }

absl::Status Diagnostics::ToStatus() const {
  if (findings_.empty()) return absl::OkStatus();
  std::vector<Finding> sorted = findings_;
  std::stable_sort(sorted.begin(), sorted.end(), [](const Finding& a, const Finding& b) {
    return std::tie(a.location.line, a.location.column) < std::tie(b.location.line, b.location.column);
  });
  constexpr size_t kShown = 20;
  std::string text;
  for (size_t i = 0; i < sorted.size() && i < kShown; ++i) {
    absl::StrAppend(&text, i == 0 ? "" : "\n", sorted[i].location.ToString(), ": ", sorted[i].message);
  }
  if (sorted.size() > kShown) absl::StrAppend(&text, "\n... and ", sorted.size() - kShown, " more");
  return absl::InvalidArgumentError(text);
}

}  // namespace ringmaster::cli
