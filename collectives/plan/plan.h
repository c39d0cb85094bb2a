// What one rank sends, receives and adds in one collective, as data: a schedule without I/O that HostCommunicator carries out over
// any Transport and that tests run on an abstract machine. Thread-compatible; a Plan is reused so that a steady state allocates
// nothing.
//
// Positions are elements: of this rank's input for what is sent from it, else of the whole vector that all ranks share. Every pair
// of ranks is a byte stream, so to[peer] of one rank and from[that rank] of its peer list ranges of the same sizes in the same
// order.
//
// Every reduction adds contributions in rank order 0, 1, .. size-1, whichever algorithm: the bits of the result are the same on all
// ranks, in all runs and for all algorithms.
#ifndef RINGMASTER_COLLECTIVES_PLAN_PLAN_H_
#define RINGMASTER_COLLECTIVES_PLAN_PLAN_H_

#include <cstdint>
#include <span>
#include <vector>

namespace ringmaster::plan {

struct Range {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return end - begin; }
  bool operator==(const Range&) const = default;
};

// One frame on one stream.
struct Segment {
  enum class Kind : uint8_t {
    kInput,         // sent: this rank's own data
    kReduced,       // sent: what this rank has reduced into the result; waits for the reduction to pass range.end
    kStaged,        // sent: what this rank has reduced for others alone (Plan::stage_result); waits likewise
    kForwarded,     // sent: a final range that came from `forward_from`; waits until range.end has arrived
    kGathered,      // sent: operands of the whole group's reduction (Plan::gather_from); waits until range.end has arrived
    kContribution,  // received: an operand of this rank's reduction
    kFinal,         // received: belongs into the result as it is
    kOperands,      // received: kGathered of a peer
  };
  Kind kind;
  Range range;                 // empty only where a message is
  bool opens_message = false;  // a call goes before this frame: messages between two ranks, several of which make one exchange
};

struct Plan {
  std::vector<std::vector<Segment>> to;    // by peer
  std::vector<std::vector<Segment>> from;  // by peer
  Range reduce;                            // what this rank reduces; empty = nothing
  std::vector<int> operands;               // whose contributions, in the order of addition; this rank's own number = its own input
  int forward_from = -1;                   // whose final ranges are sent on
  // Whose kOperands come, in the order in which they are needed; none: operands are not gathered. Positions of what is gathered are
  // those of size() vectors of the whole length: this rank's own input, then that of rank + 1, and so on around.
  std::vector<int> gather_from;
  bool overwrites_input = false;  // in place, the result overwrites what is also sent: no element is reduced before that
  bool stage_result = false;      // what is reduced here is kept only until it is sent, at most two chunks of it
  bool first_link = true;         // the first operand is an input, not a partial result of other ranks
  bool last_link = true;          // the reduction ends here: its result is not a partial one
  bool partners_only = false;     // ranks without frames for each other do not compare their calls either
  Range copy_from;                // of the own input ..
  Range copy_to;                  // .. goes into the own result
};

struct Layout {
  int rank = 0;
  int size = 1;
  int64_t count = 0;                     // elements of the index space
  int64_t chunk = 1 << 15;               // longest segment, elements
  std::span<const int64_t> bounds = {};  // size + 1 positions where the parts of the ranks begin and end; none: equal parts
};

// Slice `rank` of `count` elements: whole multiples of `align` but for the last.
Range SliceOf(int64_t count, int rank, int size, int64_t align);

// Direct exchange: everyone sends everything to everyone. (p-1) n bytes per rank, one hop: small vectors.
void DirectAllReduce(const Layout& layout, Plan* plan);
// Direct reduce-scatter, then direct all-gather: rank r adds slice r and sends it to all. 2 (p-1)/p n bytes per rank (the lower
// bound, Patarasuk and Yuan 2009), two hops, pipelined by chunk: large vectors.
void TwoStepAllReduce(const Layout& layout, Plan* plan);
// All send to rank 0, which adds and sends the result to all. 2 (p-1) messages altogether instead of p (p-1) or more, two hops,
// (p-1) n bytes into and out of one rank: where sending a message costs more than its bytes.
void StarAllReduce(const Layout& layout, Plan* plan);
// All-gather of the operands in steps of doubling distance (Bruck et al. 1997), then every rank adds all: as many bytes as a direct
// exchange in ceil(log2 p) messages a rank, one hop each: many ranks with cores of their own, where a message costs more than a
// hop.
void BruckAllReduce(const Layout& layout, Plan* plan);
// A pipelined ring: chunk c travels 0 -> 1 -> .. -> p-1, every rank adds its own to what came; then the result travels on,
// p-1 -> 0 -> .. -> p-2. 2 n bytes per inner link, 2 (p-1) hops, two streams per rank however many ranks there are. (The usual ring
// starts every slice at another rank: its order of addition, hence its bits, depend on the slice.)
void RingAllReduce(const Layout& layout, Plan* plan);

// The parts of all ranks. (p-1)/p n bytes per rank, one hop.
void DirectReduceScatter(const Layout& layout, Plan* plan);
void DirectAllGather(const Layout& layout, Plan* plan);
// Part p of this rank's input, which begins at send_bounds[p], becomes part `rank` of the result of rank p.
void DirectAllToAll(const Layout& layout, std::span<const int64_t> send_bounds, std::span<const int64_t> receive_bounds,
                    Plan* plan);

// The root sends to all: one hop, (p-1) n bytes out of the root.
void DirectBroadcast(const Layout& layout, int root, Plan* plan);
// A pipelined chain root -> root+1 -> ..: n bytes per link.
void RingBroadcast(const Layout& layout, int root, Plan* plan);
// All send to the root, which adds: one hop, (p-1) n bytes into the root.
void DirectReduce(const Layout& layout, int root, Plan* plan);
// Rank r adds slice r and sends it to the root: 2 (p-1)/p n bytes into the root, the additions shared.
void TwoStepReduce(const Layout& layout, int root, Plan* plan);
// The parts of all ranks, to and from the root: (p-1)/p n bytes.
void DirectGather(const Layout& layout, int root, Plan* plan);
void DirectScatter(const Layout& layout, int root, Plan* plan);

// Nothing yet: for messages, which the caller appends.
void Exchange(const Layout& layout, Plan* plan);

}  // namespace ringmaster::plan

#endif  // RINGMASTER_COLLECTIVES_PLAN_PLAN_H_
