#include "collectives/flight/flight_recorder.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"

namespace ringmaster {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr auto kRelease = std::memory_order_release;

int64_t CountOf(const Call& call) {
  if (call.send_counts.empty()) return call.count;
  return std::accumulate(call.send_counts.begin(), call.send_counts.end(), int64_t{0});
}

}  // namespace

absl::StatusOr<std::unique_ptr<FlightRecorder>> FlightRecorder::Create(std::string_view group, int rank, int size,
                                                                       const Clock& clock) {
  FileDescriptor memory(memfd_create(kFlightRecordName, MFD_CLOEXEC));
  if (!memory.valid() || ftruncate(memory.get(), kFlightRecordBytes) != 0) {
    return absl::UnavailableError(absl::StrCat("memory for the flight record: ", std::strerror(errno)));
  }
  void* const mapping = mmap(nullptr, kFlightRecordBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, memory.get(), 0);
  if (mapping == MAP_FAILED) return absl::UnavailableError(absl::StrCat("mapping the flight record: ", std::strerror(errno)));
  FlightHead* const head = new (mapping) FlightHead{.magic = 0,
                                                    .version = FlightHead::kVersion,
                                                    .head_bytes = sizeof(FlightHead),
                                                    .entry_bytes = sizeof(FlightEntry),
                                                    .entries = kFlightEntries,
                                                    .rank = rank,
                                                    .size = size,
                                                    .created_ticks = FlightTicks(),
                                                    .created_monotonic_ns = absl::ToUnixNanos(clock.Now()),
                                                    .created_wall_ns = absl::ToUnixNanos(clock.WallNow()),
                                                    .begun = 0,
                                                    .group = {}};
  std::memcpy(head->group, group.data(), std::min(group.size(), sizeof(head->group) - 1));
  head->magic = FlightHead::kMagic;
  return std::unique_ptr<FlightRecorder>(new FlightRecorder(std::move(memory), static_cast<char*>(mapping)));
}

FlightRecorder::FlightRecorder(FileDescriptor memory, char* mapping)
    : memory_(std::move(memory)),
      head_(reinterpret_cast<FlightHead*>(mapping)),
      entries_(new (mapping + sizeof(FlightHead)) FlightEntry[kFlightEntries]) {}

FlightRecorder::~FlightRecorder() { munmap(head_, kFlightRecordBytes); }

uint64_t FlightRecorder::Begin(const Call& call) {
  const uint64_t sequence = head_->begun.load(kRelaxed) + 1;
  FlightEntry& entry = EntryOf(sequence);
  const uint32_t version = entry.version.load(kRelaxed);
  const int64_t count = CountOf(call);
  entry.version.store(version + 1, kRelaxed);
  entry.operation.store(call.operation, kRelease);
  entry.type.store(call.type, kRelease);
  entry.reduction.store(call.reduction, kRelease);
  entry.state.store(FlightState::kStarted, kRelease);
  entry.sequence.store(sequence, kRelease);
  entry.count.store(count, kRelease);
  entry.bytes.store(count * static_cast<int64_t>(BytesPerElement(call.type)), kRelease);
  entry.root.store(call.root, kRelease);
  entry.waits_for.store(-1, kRelease);
  entry.start_ticks.store(FlightTicks(), kRelease);
  entry.end_ticks.store(0, kRelease);
  entry.code.store(0, kRelease);
  entry.version.store(version + 2, kRelease);
  head_->begun.store(sequence, kRelease);
  return sequence;
}

void FlightRecorder::End(uint64_t sequence, absl::StatusCode code) {
  FlightEntry& entry = EntryOf(sequence);
  if (entry.sequence.load(kRelaxed) != sequence) return;  // a group of more operations than the ring holds: overwritten
  const uint32_t version = entry.version.load(kRelaxed);
  entry.version.store(version + 1, kRelaxed);
  entry.state.store(code == absl::StatusCode::kOk ? FlightState::kFinished : FlightState::kFailed, kRelease);
  entry.end_ticks.store(FlightTicks(), kRelease);
  entry.code.store(static_cast<uint32_t>(code), kRelease);
  entry.version.store(version + 2, kRelease);
}

// One field alone, so its readers need no version.
void FlightRecorder::WaitsFor(int rank) {
  const uint64_t sequence = head_->begun.load(kRelaxed);
  if (sequence > 0) EntryOf(sequence).waits_for.store(rank, kRelaxed);
  if (mirror_ != nullptr) mirror_->store(rank, kRelaxed);
}

}  // namespace ringmaster
