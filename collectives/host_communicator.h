// Communicator over any Transport: carries out a plan (collectives/plan), adds what arrives, and turns what goes wrong into one
// message. One thread (the caller's) alternates sends and receives on all streams, so both directions of all links are busy.
#ifndef RINGMASTER_COLLECTIVES_HOST_COMMUNICATOR_H_
#define RINGMASTER_COLLECTIVES_HOST_COMMUNICATOR_H_

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "collectives/communicator.h"
#include "collectives/frames.h"
#include "collectives/plan/plan.h"
#include "collectives/transport/transport.h"
#include "common/clock.h"
#include "common/mutex.h"

namespace ringmaster {

enum class Algorithm : uint8_t {
  kAutomatic,  // by size; see HostCommunicator::MakePlan
  kDirect,
  kRing,
};

// Equal on all ranks of a group.
struct HostCommunicatorOptions {
  Algorithm algorithm = Algorithm::kAutomatic;
  uint32_t chunk_bytes = 128 * 1024;  // longest data frame; a power of two, at least 8
  uint32_t direct_bytes = 16 * 1024;  // vectors up to here are exchanged whole
};

class HostCommunicator final : public Communicator {
 public:
  HostCommunicator(std::unique_ptr<Transport> transport, const Clock& clock, const HostCommunicatorOptions& options);
  ~HostCommunicator() override;

  int rank() const override { return transport_->rank(); }
  int size() const override { return transport_->size(); }
  void Abort(std::string_view reason) override;
  std::string Explain(const Call& call) const override;

 protected:
  absl::Status Execute(const Call& call, absl::Duration timeout) override;
  absl::Status ExchangePointToPoint(std::span<const Call> calls, absl::Duration timeout) override;

 private:
  static constexpr size_t kCallBytes = sizeof(FrameHead) + sizeof(WireCall);
  static constexpr size_t kPrefixBytes = kCallBytes + sizeof(FrameHead);

  // One direction to or from one peer during one operation. `prefix` holds the heads of the frame that is moving (the first frame
  // travels with the Call in front), `payload` its data.
  struct Stream {
    char prefix[kPrefixBytes];
    size_t prefix_bytes = 0;
    size_t prefix_done = 0;
    char* payload = nullptr;
    size_t payload_bytes = 0;
    size_t payload_done = 0;
    size_t next_segment = 0;
    bool called = false;  // receiving: the peer's Call has arrived and is ours
    bool closed = false;
    bool end_known = false;  // receiving: the peer has closed, and all that we need came before
    bool complete = false;
    bool between_frames() const { return prefix_done == prefix_bytes && payload_done == payload_bytes; }
    bool begun() const { return prefix_done > 0; }
  };

  // Why the operation in progress fails, and what peers are told.
  struct Failure {
    FrameTag tag;
    int culprit;
    absl::Status status;
  };

  // Base addresses of the plan's index space.
  struct Buffers {
    const char* send = nullptr;
    char* receive = nullptr;
  };

  static size_t Bytes(int64_t count) { return static_cast<size_t>(count); }

  absl::Status RunOne(const WireCall& call, Buffers buffers, absl::Duration timeout);
  absl::Status RunExclusive(absl::Duration timeout);
  void MakePlan();

  // host_communicator_streams.cc
  void StartStreams();
  bool PumpAll();  // true when a byte moved
  bool PumpSend(int peer);
  bool PumpReceive(int peer);
  bool LoadNextSend(int peer);
  void LoadNextReceive(int peer);
  void AcceptPrefix(int peer, size_t before);
  void AcceptPayload(int peer, size_t bytes);
  void ReduceArrived();
  bool Finished() const;
  bool Available(const plan::Segment& segment) const;
  size_t ReceiveWindow(int peer) const;

  // host_communicator_failures.cc
  void FailWith(FrameTag tag, int culprit, absl::Status status);
  void BlameClosed(int peer);
  void LookForEnds();
  void ExamineRemainder(int peer, std::string_view bytes);
  void HeardFailure(int peer, FrameHead head);
  std::vector<int> SilentRanks() const;
  absl::Status SilentStatus(absl::Duration timeout) const;
  std::string During() const;
  void TellPeers(FrameTag tag, int culprit);

  const std::unique_ptr<Transport> transport_;
  const Clock& clock_;
  const HostCommunicatorOptions options_;
  const size_t stage_bytes_;  // per peer: contributions that arrived and are not yet added

  // The operation in progress: its thread's.
  WireCall call_;
  Buffers buffers_;
  size_t element_ = 1;
  plan::Plan plan_;
  std::vector<Stream> sends_;     // by peer
  std::vector<Stream> receives_;  // by peer
  std::vector<Interest> interests_;
  std::vector<std::unique_ptr<char[]>> stages_;  // by peer, a ring of stage_bytes_
  std::vector<int64_t> contributed_;             // by peer: bytes of plan_.reduce that arrived
  std::vector<const void*> operands_;
  std::unique_ptr<char[]> kept_input_;
  int64_t reduced_ = 0;    // bytes of plan_.reduce
  int64_t forwarded_ = 0;  // bytes of the index space that are final from plan_.forward_from
  std::unique_ptr<Failure> failure_;
  uint64_t sequence_ = 0;

  std::atomic<bool> aborted_{false};
  Mutex mu_;
  bool busy_ ABSL_GUARDED_BY(mu_) = false;  // someone uses the transport
  absl::Status broken_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ringmaster

#endif  // RINGMASTER_COLLECTIVES_HOST_COMMUNICATOR_H_
