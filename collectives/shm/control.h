// The shared memory of a group whose ranks run on one host: who has posted which operation, how far everyone is, and the bytes in
// between. One segment for the group; every structure starts out as zeros, so a fresh memfd is a fresh group.
//
// Segment: Control | RankState[size] | slots[2][size] | staging[size] | rings[size][size], see class Segment.
//
// Every operation of all ranks begins with a post: the rank writes its call (and a small operand with it) into the slot of the
// sequence number's parity, then the number itself; and it waits for the posts of all others. So calls that differ are found before
// anything is used, and two slots are enough: who posts number s + 2 has seen all posts of s + 1, and a rank posts s + 1 only after
// it has finished s.
#ifndef RINGMASTER_COLLECTIVES_SHM_CONTROL_H_
#define RINGMASTER_COLLECTIVES_SHM_CONTROL_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "collectives/shm/posted_call.h"

namespace ringmaster::shm {

inline constexpr int kMaxRanks = 64;  // of one host: Control::sleepers has a bit for each
inline constexpr size_t kLine = 128;  // two cache lines: processors fetch them in pairs

inline uint64_t Bit(int rank) { return uint64_t{1} << rank; }

struct alignas(64) Slot {
  std::atomic<uint64_t> sequence;
  PostedCall call;
  char data[32];  // the first bytes of the operand; the rest follows
};
static_assert(sizeof(Slot) == 64);

// What one rank tells the others. All counters only grow. Each on lines of its own: they are written and awaited at different
// times.
struct RankState {
  alignas(kLine) std::atomic<uint64_t> staged;    // chunks that lie in its staging area
  alignas(kLine) std::atomic<uint64_t> reduced;   // chunks of its slice that are final
  alignas(kLine) std::atomic<uint64_t> consumed;  // chunks of others that it has taken all it needs from
  alignas(kLine) std::atomic<uint64_t> finished;  // operations
  alignas(kLine) std::atomic<uint32_t> bell;      // futex: rung for a rank that sleeps
  std::atomic<uint64_t> blocked_receiving;        // bit by rank: it waits in a receive for a ring that is empty,
  std::atomic<uint64_t> blocked_sending;          // in a send for a ring that is full
  PostedCall blocked_call;                        // that call
  std::atomic<const char*> send;                  // buffers of the posted call, in its own address space
  std::atomic<char*> receive;
  uint32_t sent[2][kMaxRanks];  // by parity of the post that says kHasSent, by peer: messages to it so far
  int64_t pid;
  char words[2][512];  // why this rank broke the group: by its operation, by its Abort()
};

struct Control {
  alignas(kLine) std::atomic<uint64_t> sleepers;  // bit by rank: waits in its futex
  alignas(kLine) std::atomic<uint64_t> result;  // of a one-shot all-reduce: its sequence number x kMaxRanks + whose staging has it
  alignas(kLine) std::atomic<uint64_t> broken;  // BrokenWord, 0 = whole; the first one stays
  std::atomic<uint32_t> fences;                 // ranks that cannot use membarrier: then every post needs a fence
  std::atomic<uint32_t> no_cross_memory;        // ranks that cannot read the memory of all others
};

// Why a group is broken.
enum class Cause : uint8_t { kNone, kPeerClosed, kPeerSilent, kMismatch, kAborted, kFailed };

struct BrokenWord {
  Cause cause = Cause::kNone;
  uint8_t culprit = 0;  // rank
  uint8_t teller = 0;   // rank whose words say more
  uint8_t words = 0;    // which of its words

  uint64_t Pack() const {
    return static_cast<uint64_t>(cause) | uint64_t{culprit} << 8 | uint64_t{teller} << 16 | uint64_t{words} << 24;
  }
  static BrokenWord Unpack(uint64_t word) {
    return {static_cast<Cause>(word & 0xff), static_cast<uint8_t>(word >> 8), static_cast<uint8_t>(word >> 16),
            static_cast<uint8_t>(word >> 24 & 1)};
  }
};

// A byte stream from one rank to another: the writer owns `head`, the reader `tail`. Messages begin at multiples of 64 bytes, so no
// element lies across the end. The bytes follow.
struct Ring {
  alignas(kLine) std::atomic<uint64_t> head;  // bytes ever written
  alignas(kLine) std::atomic<uint64_t> tail;  // bytes ever taken
};

// Finds everything in a segment. `base` is where this process has mapped it; cheap to copy.
class Segment {
 public:
  // `slot_bytes`: a small operand; `chunk_bytes` x `chunks`: the staging area of a rank; `ring_bytes`: of each pair. Multiples of
  // 128; the same on all ranks. Three chunks at least: a rank stages one while it reduces another and peers still read a third.
  struct Sizes {
    size_t slot_bytes = 8 << 10;
    size_t chunk_bytes = 512 << 10;
    uint64_t chunks = 3;
    size_t ring_bytes = 128 << 10;
  };

  static size_t BytesFor(int size, const Sizes& sizes) { return Segment(nullptr, size, sizes).bytes(); }

  Segment(char* base, int size, const Sizes& sizes)
      : base_(base),
        sizes_(sizes),
        size_(static_cast<size_t>(size)),
        slot_stride_(Up(offsetof(Slot, data) + sizes.slot_bytes, kLine)),
        slots_(Up(sizeof(Control), kLine) + size_ * sizeof(RankState)),
        staging_(Up(slots_ + 2 * size_ * slot_stride_, kHugePage)),
        rings_(staging_ + size_ * sizes.chunks * sizes.chunk_bytes) {}

  const Sizes& sizes() const { return sizes_; }
  size_t bytes() const { return Up(rings_ + size_ * size_ * ring_stride(), kHugePage); }
  Control& control() const { return At<Control>(0); }
  RankState& state(int rank) const { return At<RankState>(Up(sizeof(Control), kLine) + Index(rank) * sizeof(RankState)); }
  Slot& slot(uint64_t sequence, int rank) const { return At<Slot>(slots_ + ((sequence & 1) * size_ + Index(rank)) * slot_stride_); }
  // Chunk number `chunk` (ever) of the staging area of `rank`.
  char* staging(int rank, uint64_t chunk) const {
    return base_ + staging_ + (Index(rank) * sizes_.chunks + chunk % sizes_.chunks) * sizes_.chunk_bytes;
  }
  Ring& ring(int from, int to) const { return At<Ring>(rings_ + (Index(from) * size_ + Index(to)) * ring_stride()); }
  char* ring_data(int from, int to) const { return reinterpret_cast<char*>(&ring(from, to) + 1); }

 private:
  static constexpr size_t kHugePage = size_t{2} << 20;
  static constexpr size_t Up(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }
  static size_t Index(int rank) { return static_cast<size_t>(rank); }
  size_t ring_stride() const { return sizeof(Ring) + sizes_.ring_bytes; }
  template <typename T>
  T& At(size_t offset) const {
    return *reinterpret_cast<T*>(base_ + offset);
  }

  char* base_;
  Sizes sizes_;
  size_t size_;
  size_t slot_stride_;
  size_t slots_;
  size_t staging_;
  size_t rings_;
};

}  // namespace ringmaster::shm

#endif  // RINGMASTER_COLLECTIVES_SHM_CONTROL_H_
