#include "collectives/flight/read_flight_records.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <optional>

#include "absl/strings/str_cat.h"
#include "common/file_descriptor.h"
#include "common/status_macros.h"

namespace ringmaster {
namespace {

// Copies of the shared structs without atomics; same layout.
struct Head {
  uint64_t magic;
  uint32_t version, head_bytes, entry_bytes, entries;
  int32_t rank, size;
  uint64_t created_ticks;
  int64_t created_monotonic_ns, created_wall_ns;
  uint64_t begun;
  char group[64];
};
static_assert(sizeof(Head) == sizeof(FlightHead));

struct Entry {
  uint32_t version;
  uint8_t operation, type, reduction, state;
  uint64_t sequence;
  int64_t count, bytes;
  int32_t root, waits_for;
  uint64_t start_ticks, end_ticks;
  uint32_t code, reserved;
};
static_assert(sizeof(Entry) == sizeof(FlightEntry));

constexpr int kTries = 8;  // an entry is in the writer's hands for some 10 ns

// Ticks to time: both counters were read when the record was made, and are read now.
class Ticks {
 public:
  Ticks(const Head& head, const Clock& clock)
      : head_(head),
        now_(FlightTicks()),
        ticks_per_ns_(static_cast<double>(now_ - head.created_ticks) /
                      std::max<double>(1, static_cast<double>(absl::ToUnixNanos(clock.Now()) - head.created_monotonic_ns))) {}

  uint64_t now() const { return now_; }
  absl::Duration Between(uint64_t from, uint64_t to) const {
    return to <= from || ticks_per_ns_ <= 0 ? absl::ZeroDuration()
                                            : absl::Nanoseconds(static_cast<double>(to - from) / ticks_per_ns_);
  }
  absl::Time At(uint64_t ticks) const { return absl::FromUnixNanos(head_.created_wall_ns) + Between(head_.created_ticks, ticks); }

 private:
  const Head& head_;
  const uint64_t now_;
  const double ticks_per_ns_;
};

template <typename T>
bool ReadAt(int fd, size_t offset, T* value) {
  return pread(fd, value, sizeof(T), static_cast<off_t>(offset)) == static_cast<ssize_t>(sizeof(T));
}

// Two equal copies with an even version: the writer cannot have been inside, as it makes the version odd before it touches a field.
bool ReadWhole(int fd, size_t offset, Entry* entry) {
  Entry again;
  for (int attempt = 0; attempt < kTries; ++attempt) {
    if (!ReadAt(fd, offset, entry) || !ReadAt(fd, offset, &again)) return false;
    if (entry->version % 2 == 0 && std::memcmp(entry, &again, sizeof(again)) == 0) return true;
  }
  return false;
}

FlightOperation Decode(const Entry& entry, uint64_t sequence, bool whole, const Ticks& ticks) {
  FlightOperation operation{.sequence = sequence, .torn = true};
  if (!whole || entry.sequence != sequence || entry.operation >= kOperations || entry.state > 3 || entry.code > 16)
    return operation;
  operation.torn = false;
  operation.state = static_cast<FlightState>(entry.state);
  operation.operation = static_cast<Operation>(entry.operation);
  operation.type = static_cast<DataType>(entry.type);
  operation.reduction = static_cast<Reduction>(entry.reduction);
  operation.count = entry.count;
  operation.bytes = entry.bytes;
  operation.root = entry.root;
  operation.waits_for = entry.waits_for;
  operation.started = ticks.At(entry.start_ticks);
  operation.duration = ticks.Between(entry.start_ticks, entry.end_ticks == 0 ? ticks.now() : entry.end_ticks);
  operation.code = static_cast<absl::StatusCode>(entry.code);
  return operation;
}

bool IsFlightRecord(const std::filesystem::path& link) {
  std::error_code error;
  const std::string target = std::filesystem::read_symlink(link, error).string();
  return !error && target.starts_with(std::string("/memfd:") + kFlightRecordName);
}

}  // namespace

absl::StatusOr<FlightRecord> ReadFlightRecord(const std::string& path, const Clock& clock) {
  const FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  Head head;
  if (!file.valid()) return absl::NotFoundError(absl::StrCat(path, ": ", std::strerror(errno)));
  if (!ReadAt(file.get(), 0, &head) || head.magic != FlightHead::kMagic) {
    return absl::DataLossError(absl::StrCat(path, " is no flight record"));
  }
  if (head.version != FlightHead::kVersion || head.head_bytes != sizeof(Head) || head.entry_bytes != sizeof(Entry) ||
      head.entries != kFlightEntries) {
    return absl::DataLossError(
        absl::StrCat(path, ": flight record of version ", head.version, "; this program reads version ", FlightHead::kVersion));
  }
  const Ticks ticks(head, clock);
  FlightRecord record{.group = std::string(head.group, strnlen(head.group, sizeof(head.group))),
                      .rank = head.rank,
                      .size = head.size,
                      .begun = head.begun};
  const uint64_t kept = std::min<uint64_t>(head.begun, head.entries);
  for (uint64_t sequence = head.begun - kept + 1; sequence <= head.begun; ++sequence) {
    Entry entry;
    const bool whole = ReadWhole(file.get(), sizeof(Head) + (sequence - 1) % head.entries * sizeof(Entry), &entry);
    record.operations.push_back(Decode(entry, sequence, whole, ticks));
  }
  return record;
}

absl::StatusOr<std::vector<FlightRecord>> ReadFlightRecords(int64_t pid, const Clock& clock) {
  std::error_code error;
  std::filesystem::directory_iterator entry(absl::StrCat("/proc/", pid, "/fd"), error);
  if (error == std::errc::permission_denied) {
    return absl::PermissionDeniedError(absl::StrCat("process ", pid, " belongs to another user"));
  }
  if (error) return absl::NotFoundError(absl::StrCat("there is no process ", pid));
  std::vector<FlightRecord> records;
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    if (!IsFlightRecord(entry->path())) continue;
    RM_ASSIGN_OR_RETURN(FlightRecord record, ReadFlightRecord(entry->path().string(), clock));
    records.push_back(std::move(record));
  }
  if (records.empty()) return absl::NotFoundError(absl::StrCat("process ", pid, " keeps no flight record"));
  return records;
}

}  // namespace ringmaster
