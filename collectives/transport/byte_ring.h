// A byte stream from one process to another through memory that both have mapped: one writer, one reader, no locks and no system
// calls. Whoever finds nothing to do says so in the ring before it sleeps, and the other side then wakes it (by what means is the
// caller's affair).
//
// What lies in shared memory comes from outside: a peer that writes nonsense there can spoil its own bytes, nothing else.
//
// Threads: the writing half and the reading half belong to one thread each.
#ifndef RINGMASTER_COLLECTIVES_TRANSPORT_BYTE_RING_H_
#define RINGMASTER_COLLECTIVES_TRANSPORT_BYTE_RING_H_

#include <sys/uio.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "absl/functional/function_ref.h"

namespace ringmaster {

enum class RingEnd : uint32_t {
  kOpen,
  kClosed,  // no byte comes behind those that lie here
  kReset,   // and those are of no use
};

// In shared memory; zeros are an empty ring. Fields that change at different times lie on lines of their own, in pairs of lines
// because processors fetch them so.
struct SharedRing {
  alignas(128) std::atomic<uint64_t> head;  // bytes ever written
  std::atomic<uint32_t> end;                // RingEnd, by the writer
  alignas(128) std::atomic<uint64_t> tail;  // bytes ever taken
  alignas(128) std::atomic<uint32_t> reader_waits;
  alignas(128) std::atomic<uint32_t> writer_waits;
};

// Where a ring lies; cheap to copy. `capacity` is a power of two.
struct RingPlace {
  SharedRing* ring = nullptr;
  char* data = nullptr;
  size_t capacity = 0;
};

class RingWriter {
 public:
  explicit RingWriter(RingPlace place) : place_(place) {}

  // Copies what has room; returns its bytes. `wake` is called when the reader waits.
  size_t Write(std::span<const iovec> parts, absl::FunctionRef<void()> wake);
  bool HasRoom() const { return Room() > 0; }

  // Before sleeping until there is room; look again afterwards.
  void BeginWait() { place_.ring->writer_waits.store(1); }
  void EndWait() { place_.ring->writer_waits.store(0, std::memory_order_relaxed); }

  // The first end stays, but for a reset. The reader must be woken.
  void End(RingEnd end);

 private:
  size_t Room() const;

  RingPlace place_;
  uint64_t head_ = 0;  // as in the ring: what others may write there does not matter
};

class RingReader {
 public:
  explicit RingReader(RingPlace place) : place_(place) {}

  // Copies what is there; returns its bytes. `wake` is called when the writer waits and half of the ring is free.
  size_t Read(std::span<const iovec> parts, absl::FunctionRef<void()> wake);
  bool HasBytes() const { return Filled() > 0; }
  RingEnd end() const { return static_cast<RingEnd>(place_.ring->end.load(std::memory_order_acquire)); }

  // All that has not been taken yet.
  std::string Peek() const;

  void BeginWait() { place_.ring->reader_waits.store(1); }
  void EndWait() { place_.ring->reader_waits.store(0, std::memory_order_relaxed); }

 private:
  size_t Filled() const;

  RingPlace place_;
  uint64_t tail_ = 0;
};

}  // namespace ringmaster

#endif  // RINGMASTER_COLLECTIVES_TRANSPORT_BYTE_RING_H_
