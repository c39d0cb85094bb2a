// The communicator of a group whose ranks run on one host: operations through shared memory, without a system call while nobody has
// to wait long.
//
//   one shot       the operand travels in the slot of the post; every rank takes what it needs. One wait: small operations.
//   two shot       chunk by chunk through staging areas: every rank reduces its slice and publishes it. Private buffers.
//   cross memory   the same without staging: slices are read from the peers' memory (process_vm_readv). Large private buffers.
//   registered     the buffers lie in memory that all ranks have mapped (Register): each rank reduces its slice of all inputs
//                  straight into all outputs. No copy at all.
//   rings          a byte stream for each pair: operations with a part for each peer, sends and receives.
//
// All of them add contributions in rank order, so the bits do not depend on the choice. Threads: see communicator.h; one more
// thread per communicator sleeps until a peer dies (peer_watch.h).
#ifndef RINGMASTER_COLLECTIVES_SHM_SHM_COMMUNICATOR_H_
#define RINGMASTER_COLLECTIVES_SHM_SHM_COMMUNICATOR_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "collectives/communicator.h"
#include "collectives/selection/cost_model.h"
#include "collectives/shm/group_memory.h"
#include "collectives/shm/group_sync.h"
#include "collectives/shm/peer_watch.h"
#include "collectives/thread_team.h"
#include "common/clock.h"
#include "common/file_descriptor.h"

namespace ringmaster {

// Equal on all ranks of a group.
struct ShmTuning {
  int64_t one_shot_bytes = 4 << 10;  // all-reduce up to here in one shot, whatever the number of ranks
  // Registered all-reduce from here to one_shot_bytes straight from inputs to results: a second meeting costs less than the copies,
  // but where ranks share cores.
  int64_t registered_bytes = 512;
  // Private all-reduce from here by cross memory. kMeasured: from 4 MiB where that is faster when the group forms, or never; never
  // where ranks share cores.
  static constexpr int64_t kMeasured = -1;
  int64_t cross_memory_bytes = kMeasured;
  int64_t cross_memory_piece = 512 << 10;  // of all peers, read at a time: stays in the cache
};

struct ShmCommunicatorOptions {
  shm::GroupSyncOptions sync;
  ShmTuning tuning = {};
  // Threads that copy and add beside the caller's, on cores that nobody else needs; ranks may have different numbers of them.
  int helpers = 0;
};

class ShmCommunicator final : public Communicator {
 public:
  // Collective: all ranks of the group call it with their view of the same memory and connections to all peers. Returns when every
  // rank has come. Errors: those of an operation.
  static absl::StatusOr<std::unique_ptr<Communicator>> Create(shm::GroupMemory memory, std::vector<FileDescriptor> sockets,
                                                              const Clock& clock, ShmCommunicatorOptions options,
                                                              absl::Duration timeout);
  ~ShmCommunicator() override;

  int rank() const override { return sync_.rank(); }
  int size() const override { return sync_.size(); }
  void Abort(std::string_view reason) override { sync_.Abort(reason); }
  absl::StatusOr<RegisteredBuffer> Register(int64_t bytes, absl::Duration timeout) override;
  std::string Explain(const Call& call) const override;

 protected:
  absl::Status Execute(const Call& call, absl::Duration timeout) override;
  absl::Status ExchangePointToPoint(std::span<const Call> calls, absl::Duration timeout) override;

 private:
  static constexpr uint64_t kPrivate = std::numeric_limits<uint64_t>::max();  // in place of the offsets of registered buffers
  static constexpr uint64_t kProbeWord = 0x52494e474d454d31;
  enum class Way : uint8_t { kOneShot, kTwoShot, kPairExchange, kCrossMemory, kRegistered, kRings };

  // Bytes of the vector that begin at `begin`.
  struct Range {
    size_t begin = 0;
    size_t bytes = 0;
  };

  ShmCommunicator(shm::GroupMemory memory, std::vector<FileDescriptor> sockets, const Clock& clock, ShmCommunicatorOptions options);

  // shm_communicator.cc
  absl::Status Meet(absl::Duration timeout);
  bool Dispatch(const Call& call);
  bool PrivateAllReduce(const Call& call);
  bool SameBuffersEverywhere(uint64_t offsets) const;
  Way Choose(const Call& call) const;
  bool PostAndMeet(const shm::PostedCall& posted, const void* operand, size_t bytes);
  shm::PostedCall WithMessages(shm::PostedCall posted);
  bool SeesTheSame(int peer, const shm::PostedCall& posted);
  bool Mismatch(int peer);
  void RunAlone(const Call& call) const;
  uint64_t RegisteredOffsets(const Call& call) const;
  bool MayBeRegistered(const Call& call, Way way) const;
  bool IsRegistered(const Call& call) const;
  Range PartOf(const Call& call, int rank) const;  // of the vector that lies in rank order
  void Advance(uint64_t chunks);

  // in_shares.cc
  void InShares(size_t bytes, absl::FunctionRef<void(Range share)> work);
  void CopyInShares(char* to, const char* from, size_t bytes);
  void ReduceInShares(std::span<const void* const> operands, std::span<void* const> results, size_t bytes, const Call& call);

  // one_shot.cc
  void FetchNextSlot(size_t bytes) const;
  bool SmallAllReduce(const Call& call);
  bool AllHavePosted() const;
  int WhoHasTheResult() const;
  bool OneShot(const Call& call, const shm::PostedCall& posted);

  // pair_exchange.cc
  bool PairExchange(const Call& call);

  // two_shot.cc
  Range SliceOf(Range range, int rank) const;
  bool TwoShotReduce(const Call& call);
  bool ReduceChunk(const Call& call, Range slice, uint64_t chunk, size_t chunk_begin);

  // measure.cc
  absl::Status Measure(absl::Duration timeout);
  absl::StatusOr<bool> IsCrossMemoryFaster(absl::Duration timeout);

  // direct_memory.cc
  void ProbeCrossMemory();
  void MeasureCrossMemory();
  bool CrossMemoryAllReduce(const Call& call);
  bool ReadPeer(int peer, const char* from, char* to, size_t bytes);
  bool RegisteredOperation(const Call& call, uint64_t offsets);

  // publish.cc
  bool PublishParts(const Call& call);

  // ring_exchange.cc
  struct Piece {
    char* data = nullptr;  // what is read or written
    size_t bytes = 0;
    const Call* announces = nullptr;  // a header: of this call
  };
  struct Stream {
    std::vector<Piece> pieces;
    size_t next = 0;  // piece
    size_t done = 0;  // bytes of it
    bool complete() const { return next == pieces.size(); }
  };
  bool ExchangeParts(const Call& call);
  bool ReduceParts(const Call& call);
  void ClearStreams();
  void Announce(Stream& stream, const Call& call);
  bool PumpStreams(bool with_receives);
  bool WriteRing(int peer);
  bool ReadRing(int peer);
  bool AcceptHeader(int peer, const Call& call, const char* header);
  shm::PostedCall OldestMessage(int from, int to) const;
  bool AwaitStreams(bool all_at_once);
  bool FinishStreams();

  shm::GroupMemory memory_;
  const shm::Segment segment_;
  const ShmTuning tuning_;
  const Clock& clock_;
  shm::GroupSync sync_;
  shm::PeerWatch watch_;
  const int helpers_;
  ThreadTeam team_;
  int64_t cross_memory_bytes_ = 0;  // as measured or told
  int64_t registered_bytes_ = 0;    // as told, or more than one shot where ranks share cores
  absl::Duration meeting_;          // what it takes all ranks to meet, as rank 0 has measured it
  selection::Constants constants_;  // of the cost model, as rank 0 has measured them
  uint64_t chunks_done_ = 0;        // of all operations so far: equal on all ranks
  size_t heap_used_ = 0;            // bytes of registered buffers
  std::vector<const void*> operands_;
  std::vector<void*> results_;
  RegisteredBuffer scratch_;    // cross memory: pieces of all peers; made by the first operation that needs it
  std::vector<Stream> writes_;  // by peer
  std::vector<Stream> reads_;   // by peer
  bool header_refused_ = false;
  // Messages of sends: what has been sent must have been received before the next collective.
  std::vector<uint32_t> sent_;      // by peer, ever
  std::vector<uint32_t> received_;  // by peer, ever
  bool sent_since_post_ = false;
  const uint64_t probe_word_ = kProbeWord;  // peers try to read it
};

}  // namespace ringmaster

#endif  // RINGMASTER_COLLECTIVES_SHM_SHM_COMMUNICATOR_H_
