#include "collectives/transport/byte_ring.h"

#include <algorithm>
#include <cstring>

namespace ringmaster {
namespace {

// After so many bytes the other side hears of them, and copies while this one copies on.
constexpr size_t kStep = 32 << 10;

// True for one caller after the other side said that it waits. The side that sleeps stores `waits` and then reads the position, the
// side that is awake stores the position and then reads `waits`: all four in one order (seq_cst), so one of them sees the other.
bool TakeWaiter(std::atomic<uint32_t>& waits) { return waits.load() != 0 && waits.exchange(0) != 0; }

// Bytes of `parts` from the offset on, at most `most`, moved by copy(bytes of the part, of the ring, how many).
template <typename Copy>
size_t CopyParts(std::span<const iovec> parts, size_t skip, size_t most, uint64_t position, const RingPlace& place, Copy copy) {
  size_t copied = 0;
  for (const iovec& part : parts) {
    if (skip >= part.iov_len) {
      skip -= part.iov_len;
      continue;
    }
    char* memory = static_cast<char*>(part.iov_base) + skip;
    size_t rest = std::min(part.iov_len - skip, most - copied);
    skip = 0;
    while (rest > 0) {
      const auto at = static_cast<size_t>((position + copied) & (place.capacity - 1));
      const size_t bytes = std::min(rest, place.capacity - at);
      copy(memory, place.data + at, bytes);
      memory += bytes;
      rest -= bytes;
      copied += bytes;
    }
    if (copied == most) break;
  }
  return copied;
}

}  // namespace

size_t RingWriter::Room() const {
  return place_.capacity - static_cast<size_t>(std::min<uint64_t>(head_ - place_.ring->tail.load(), place_.capacity));
}

size_t RingWriter::Write(std::span<const iovec> parts, absl::FunctionRef<void()> wake) {
  size_t written = 0;
  while (const size_t room = std::min(Room(), kStep)) {
    const size_t bytes = CopyParts(parts, written, room, head_, place_,
                                   [](const char* memory, char* ring, size_t count) { std::memcpy(ring, memory, count); });
    if (bytes == 0) break;
    written += bytes;
    head_ += bytes;
    place_.ring->head.store(head_);
    if (TakeWaiter(place_.ring->reader_waits)) wake();
  }
  return written;
}

void RingWriter::End(RingEnd end) {
  if (place_.ring->end.load(std::memory_order_relaxed) < static_cast<uint32_t>(end)) {
    place_.ring->end.store(static_cast<uint32_t>(end));
  }
}

size_t RingReader::Filled() const {
  return static_cast<size_t>(std::min<uint64_t>(place_.ring->head.load() - tail_, place_.capacity));
}

size_t RingReader::Read(std::span<const iovec> parts, absl::FunctionRef<void()> wake) {
  size_t taken = 0;
  while (const size_t filled = std::min(Filled(), kStep)) {
    const size_t bytes = CopyParts(parts, taken, filled, tail_, place_,
                                   [](char* memory, const char* ring, size_t count) { std::memcpy(memory, ring, count); });
    if (bytes == 0) break;
    taken += bytes;
    tail_ += bytes;
    place_.ring->tail.store(tail_);
    // A reader that needs more than lies here empties the ring, so a writer that waits is always woken in the end.
    if (Filled() <= place_.capacity / 2 && TakeWaiter(place_.ring->writer_waits)) wake();
  }
  return taken;
}

std::string RingReader::Peek() const {
  std::string bytes(Filled(), 0);
  const iovec part{bytes.data(), bytes.size()};
  CopyParts({&part, 1}, 0, bytes.size(), tail_, place_,
            [](char* memory, const char* ring, size_t count) { std::memcpy(memory, ring, count); });
  return bytes;
}

}  // namespace ringmaster
