#include "cli/spec/field_checks.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace ringmaster::cli {

// The nearest enclosing field that was written, so that a missing one is reported where it belongs.
Location FieldChecks::PlaceOf(std::string path) const {
  while (!path.empty()) {
    if (const auto it = locations_.find(path); it != locations_.end()) return it->second;
    const size_t dot = path.find_last_of(".[");
    path = dot == std::string::npos ? "" : path.substr(0, dot);
  }
  return Location{source_, 1, 1};
}

void FieldChecks::Fail(const std::string& path, const std::string& message) {
  diagnostics_.Add(PlaceOf(path), absl::StrCat(path, ": ", message));
}

void FieldChecks::Missing(const std::string& path, const std::string& hint) { Fail(path, absl::StrCat("is missing; ", hint)); }

bool FieldChecks::Between(const std::string& path, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return true;
  if (high == std::numeric_limits<int64_t>::max()) {
    Fail(path, absl::StrCat("expected at least ", low, ", found ", value));
  } else {
    Fail(path, absl::StrCat("expected ", low, " to ", high, ", found ", value));
  }
  return false;
}

void FieldChecks::Fraction(const std::string& path, double value, const std::string& expected, bool ok) {
  if (!ok || !std::isfinite(value)) Fail(path, absl::StrFormat("expected %s, found %g", expected, value));
}

}  // namespace ringmaster::cli
