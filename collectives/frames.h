// Bytes between two ranks of a group: frames, each an 8-byte head and what the head announces. Little-endian. A call with its head,
// and the head of data with its padding, are 64 bytes: data that lies in the stream as it lies in a buffer is copied in three
// quarters of the time.
//
// A collective begins with a WireCall frame on every stream (a star and Bruck's steps on those that carry data, together with
// that), so that ranks which call different things find out before they use each other's data; then come the data frames of the
// plan, each with a length that the receiver knows beforehand. A send is the same on one stream. A rank that fails finishes the
// frame it is in, says why in a Failure head, and closes.
#ifndef RINGMASTER_COLLECTIVES_FRAMES_H_
#define RINGMASTER_COLLECTIVES_FRAMES_H_

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>

#include "collectives/call.h"

namespace ringmaster {

static_assert(std::endian::native == std::endian::little, "frames are written as they lie in memory");

enum class FrameTag : uint32_t {
  kCall = 0x434d5201,  // value: sizeof(WireCall)
  kData = 0x434d5202,  // value: bytes that follow kDataPadding
  // Failures; value: the rank that is to blame; of kMismatch the bytes of the text behind it, which names both calls.
  kPeerClosed = 0x434d5211,
  kPeerSilent = 0x434d5212,
  kMismatch = 0x434d5213,
  kCorrupt = 0x434d5214,
  kAborted = 0x434d5215,
};

struct FrameHead {
  FrameTag tag;
  uint32_t value;
};
static_assert(sizeof(FrameHead) == 8);

constexpr size_t kDataPadding = 56;

constexpr uint32_t kLongestMismatch = 1024;

// Equal on both ends of a stream, or the operation fails.
struct WireCall {
  uint64_t sequence = 0;  // of the collectives of the group, of the sends of one rank to another
  int64_t count = 0;      // kAllToAllV: from the sender of this frame to its receiver; the other V operations: of all parts
  uint64_t parts = 0;     // kReduceScatterV, kAllGatherV: a hash of the counts; kAllToAllV: elements in the other direction
  int32_t root = 0;
  Operation operation = Operation::kBarrier;
  DataType type = DataType::kU8;
  Reduction reduction = Reduction::kSum;
  uint8_t algorithm = 0;  // settings of the communicator that both ends of a stream must share
  uint32_t chunk_bytes = 0;
  uint32_t direct_bytes = 0;
  uint64_t padding[2] = {};

  bool operator==(const WireCall&) const = default;
};
static_assert(sizeof(WireCall) == kDataPadding);

// "all_reduce(count 10, f32, sum)".
std::string Describe(const WireCall& call);

}  // namespace ringmaster

#endif  // RINGMASTER_COLLECTIVES_FRAMES_H_
