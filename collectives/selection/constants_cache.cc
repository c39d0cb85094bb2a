#include "collectives/selection/constants_cache.h"

#include <errno.h>
#include <unistd.h>

#include <array>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/crc32c.h"
#include "common/status_macros.h"

namespace ringmaster::selection {
namespace {

constexpr char kFirstLine[] = "ringmaster-constants 1";
constexpr size_t kFigures = 9;
// Slower than any link, processor or memory: a second a message, a second a kilobyte.
constexpr double kAbsurd = 1e6;

std::array<double*, kFigures> FiguresOf(Constants& constants) {
  return {&constants.host.latency_us,     &constants.host.us_per_byte, &constants.network.latency_us,
          &constants.network.us_per_byte, &constants.add_us_per_byte,  &constants.flag_us,
          &constants.copy_us_per_byte,    &constants.cross_memory_us,  &constants.cross_memory_us_per_byte};
}

std::string PathOf(const std::string& directory, const std::string& key) {
  return absl::StrCat(directory, "/", absl::Hex(Crc32c(key.data(), key.size()), absl::kZeroPad8), ".constants");
}

std::string Crc(const std::string& text) { return absl::StrCat(absl::Hex(Crc32c(text.data(), text.size()), absl::kZeroPad8)); }

absl::Status Damaged(const std::string& path, const char* how) { return absl::DataLossError(absl::StrCat(path, ": ", how)); }

}  // namespace

absl::StatusOr<MeasuredConstants> LoadConstants(const std::string& directory, const std::string& key, absl::Time now) {
  const std::string path = PathOf(directory, key);
  std::ifstream file(path);
  if (!file) return absl::NotFoundError(path);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const std::vector<std::string> lines = absl::StrSplit(text, '\n');
  if (lines.size() != 6 || lines[0] != kFirstLine || !lines[5].empty()) return Damaged(path, "not a file of constants");
  if (lines[4] != Crc(text.substr(0, text.size() - lines[4].size() - 1))) return Damaged(path, "its checksum is wrong");
  if (lines[1] != key) return absl::FailedPreconditionError(absl::StrCat(path, " is of ", lines[1], ", wanted ", key));
  int64_t seconds = 0;
  if (!absl::SimpleAtoi(lines[2], &seconds)) return Damaged(path, "no time");
  MeasuredConstants measured{.constants = {}, .when = absl::FromUnixSeconds(seconds)};
  const absl::Duration age = now - measured.when;
  if (age < -absl::Hours(1) || age > kConstantsLast) {
    return absl::FailedPreconditionError(absl::StrCat(path, " is ", absl::FormatDuration(age), " old"));
  }
  const std::vector<std::string> words = absl::StrSplit(lines[3], ' ');
  const auto figures = FiguresOf(measured.constants);
  if (words.size() != figures.size()) return Damaged(path, "other figures than this version's");
  for (size_t index = 0; index < figures.size(); ++index) {
    if (!absl::SimpleAtod(words[index], figures[index])) return Damaged(path, "a figure is no number");
    const bool may_be_missing = figures[index] == &measured.constants.cross_memory_us_per_byte;
    const double least = may_be_missing ? -1 : 0;
    if (!(*figures[index] >= least && *figures[index] < kAbsurd)) return Damaged(path, "a figure that cannot be");
  }
  return measured;
}

absl::Status StoreConstants(const std::string& directory, const std::string& key, const MeasuredConstants& measured) {
  Constants constants = measured.constants;
  const std::string figures = absl::StrJoin(
      FiguresOf(constants), " ", [](std::string* text, const double* figure) { absl::StrAppendFormat(text, "%.17g", *figure); });
  std::string text = absl::StrCat(kFirstLine, "\n", key, "\n", absl::ToUnixSeconds(measured.when), "\n", figures, "\n");
  absl::StrAppend(&text, Crc(text), "\n");
  std::error_code ignored;  // the writing says why
  std::filesystem::create_directories(directory, ignored);
  const std::string path = PathOf(directory, key), temporary = absl::StrCat(path, ".", getpid());
  errno = 0;
  std::ofstream file(temporary, std::ios::trunc);
  file << text;
  file.close();
  if (!file || std::rename(temporary.c_str(), path.c_str()) != 0) {
    const absl::Status status = absl::UnavailableError(absl::StrCat("cannot write ", path, ": ", strerror(errno)));
    std::remove(temporary.c_str());
    return status;
  }
  return absl::OkStatus();
}

}  // namespace ringmaster::selection
