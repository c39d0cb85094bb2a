#include "cli/spec/suggest.h"

#include <algorithm>
#include <cctype>

namespace ringmaster::cli {
namespace {

// Case and the two usual word separators are never what a person got wrong on purpose.
std::string Plain(std::string_view name) {
  std::string plain;
  for (char c : name) {
    if (c != '_' && c != '-') plain.push_back(static_cast<char>(std::tolower(static_cast<unsigned char>(c))));
  }
  return plain;
}

}  // namespace

int EditDistance(std::string_view a, std::string_view b) {
  const size_t columns = b.size() + 1;
  std::vector<int> before_last(columns), last(columns), row(columns);
  for (size_t j = 0; j < columns; ++j) last[j] = static_cast<int>(j);
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = static_cast<int>(i);
    for (size_t j = 1; j < columns; ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) row[j] = std::min(row[j], before_last[j - 2] + 1);
    }
    before_last.swap(last);
    last.swap(row);
  }
  return last[b.size()];
}

std::string NearestName(std::string_view found, const std::vector<std::string>& known) {
  const std::string plain = Plain(found);
  std::string nearest;
  int best = static_cast<int>(plain.size()) / 3 + 1;
  for (const std::string& name : known) {
    const std::string candidate = Plain(name);
    int distance = EditDistance(plain, candidate);
    // An abbreviation or one word too many: "lr" stays far, "batch" for "global_batch" is near.
    if (distance > 1 && plain.size() >= 4 &&
        (candidate.find(plain) != std::string::npos || plain.find(candidate) != std::string::npos)) {
      distance = std::min(distance, 1);
    }
    if (distance < best || (distance == best && nearest.empty())) {
      best = distance;
      nearest = name;
    }
  }
  return nearest;
}

}  // namespace ringmaster::cli
