// What an operation would take by each algorithm that can carry it out, from a few measured constants. Pure arithmetic: the same
// constants give the same choice on all ranks. The predictions rank algorithms; they are no promise of a time.
//
// n bytes of the vector, p ranks, c bytes of a chunk; a and b: latency and time per byte of a link, g: time to add a byte, s: time
// until another rank sees a flag, m: time to copy a byte. A host's network carries what all of its ranks send and receive, so the
// busiest host and direction count; within a host a byte of a stream is copied twice by its ranks.
//
//   direct        a + (bytes of one exchange of n between all pairs) b + (p-1) n g
//   two step      2 a + (two exchanges of n/p between all pairs) b + (p-1)/p n g               Patarasuk and Yuan 2009
//   star          2 a + (what rank 0 sends) b + (p-1) n g
//   bruck         log2(p) a + (bytes of one exchange of n between all pairs) b + (p-1) n g     Bruck et al. 1997
//   chain         2 (p-1) (a + c b) + (what its busiest link carries behind a chunk) b + n g   pipelined by chunk
//   one shot      s + n m + (p-1) n g
//   two shot      2 s for each chunk + 2 n m + (p-1)/p n g
//   cross memory  2 s + system calls + 2 (p-1)/p n / (rate of process_vm_readv) + (p-1)/p n g
//   registered    2 s + (p-1)/p n g + n m
//
// A message between hosts takes 5 us of the processors of both (traffic.h): what a rank does for those behind the first of each
// step adds up. All ways but the star and Bruck's steps send a call from each rank to every other. Where ranks share cores a
// message takes half as long again as loopback, there is no other latency, and what all ranks of a core send and copy adds up: on
// two cores 3 to 8 ranks took the same time for each of the 4 to 112 messages of every way. Where ranks have many streams each, as
// two steps have, their bytes cost more: the cache does not hold them.
//
// Broadcasts and rooted reductions are the obvious parts of these.
#ifndef RINGMASTER_COLLECTIVES_SELECTION_COST_MODEL_H_
#define RINGMASTER_COLLECTIVES_SELECTION_COST_MODEL_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "collectives/call.h"

namespace ringmaster::selection {

enum class Way { kDirect, kTwoStep, kStar, kBruck, kChain, kOneShot, kTwoShot, kPairExchange, kCrossMemory, kRegistered };

const char* NameOf(Way way);

// Where chunks are passed on from rank to rank, all ranks but the first wait for the first chunk.
inline constexpr int64_t kChainChunk = 128 << 10;

struct LinkCost {
  double latency_us = 0;
  double us_per_byte = 0;
};

// Trivially copyable: rank 0 sends what it has measured to all.
struct Constants {
  LinkCost host{.latency_us = 4, .us_per_byte = 2.5e-4};      // a stream between ranks of one host
  LinkCost network{.latency_us = 30, .us_per_byte = 8.5e-3};  // between hosts: 1 Gbit/s
  double add_us_per_byte = 8e-5;                              // per operand after the first
  double flag_us = 0.2;
  double copy_us_per_byte = 5e-5;
  double cross_memory_us = 1;            // a call
  double cross_memory_us_per_byte = -1;  // negative: peers' memory cannot be read
};

struct Layout {
  std::vector<int> hosts;      // by rank: which host; equal numbers are one host
  bool shared_memory = false;  // the communicator works in memory that all ranks share
  int64_t chunk_bytes = 128 << 10;
  int64_t post_bytes = 4 << 10;  // shared memory: an operand that fits into a post
  bool registered = false;       // the buffers lie in registered memory
  double ranks_per_core = 1;     // on the host that has most

  int size() const { return static_cast<int>(hosts.size()); }
};

struct Prediction {
  Way way = Way::kDirect;
  double us = 0;
  bool possible = true;
  std::string remark = {};  // why not, or what it suffers from
};

// Cheapest first, what is impossible last. Empty: an operation for which there is one algorithm alone, and a barrier, which goes
// the way of an all-reduce of one byte.
std::vector<Prediction> Predict(const Call& call, const Layout& layout, const Constants& constants);

// A table, a line for each algorithm: name, expected time, "chosen" or why not. `chosen`: what runs, where that is not simply the
// cheapest: a size near a threshold, or an algorithm that somebody asked for.
std::string ExplainChoice(const Call& call, const Layout& layout, const Constants& constants,
                          std::optional<Way> chosen = std::nullopt);

// The figures that decide for streams, found by asking the model: rooted and rootless reductions up to `direct_bytes` go directly,
// all-reduces above that and up to `star_bytes` as a star, those above as `large` says.
struct StreamChoice {
  int64_t direct_bytes = 0;  // a power of two, or 0
  Way small = Way::kDirect;  // or kBruck: how all-reduces up to there go
  int64_t star_bytes = 0;    // likewise
  Way large = Way::kTwoStep;
  int64_t chunk_bytes = 0;        // of two steps: a power of two, at most the layout's
  int64_t chain_chunk_bytes = 0;  // likewise
};
StreamChoice ChooseForStreams(const Layout& layout, const Constants& constants);

}  // namespace ringmaster::selection

#endif  // RINGMASTER_COLLECTIVES_SELECTION_COST_MODEL_H_
