// Communicator over any Transport: carries out a plan (collectives/plan), adds what arrives, and turns what goes wrong into one
// message. One thread (the caller's) alternates sends and receives on all streams, so both directions of all links are busy.
#ifndef RINGMASTER_COLLECTIVES_HOST_COMMUNICATOR_H_
#define RINGMASTER_COLLECTIVES_HOST_COMMUNICATOR_H_

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "collectives/communicator.h"
#include "collectives/frames.h"
#include "collectives/plan/plan.h"
#include "collectives/selection/calibrate.h"
#include "collectives/transport/transport.h"
#include "common/clock.h"
#include "common/mutex.h"

namespace ringmaster {

enum class Algorithm : uint8_t {
  kAutomatic,  // by operation, size and, once tuned, what the cost model expects
  kDirect,
  kRing,
  kTwoStep,
  kStar,
  kBruck,
};

// In which order contributions are added.
enum class ReductionOrder : uint8_t {
  kCanonical,  // by rank: the same bits in all runs
  kFastest,    // as they arrive: the bits depend on timing, but are the same on all ranks; f16 and bf16 round at every addition.
               // Averages, small vectors and groups of two stay canonical: there the order costs nothing
};

// Equal on all ranks of a group but for stage_bytes and hearing.
struct HostCommunicatorOptions {
  Algorithm algorithm = Algorithm::kAutomatic;
  ReductionOrder order = ReductionOrder::kCanonical;
  uint32_t chunk_bytes = 1 << 20;     // longest data frame; a power of two, at least 8
  uint32_t direct_bytes = 16 * 1024;  // vectors up to here are exchanged whole
  // What is kept of each peer's contributions until those of all have come, in a group of more than two; a power of two.
  uint32_t stage_bytes = 256 * 1024;
  // How long beyond the deadline of an operation a silent rank has to say whom it waits for itself.
  absl::Duration hearing = absl::Milliseconds(20);
};

class HostCommunicator final : public Communicator {
 public:
  HostCommunicator(std::unique_ptr<Transport> transport, const Clock& clock, const HostCommunicatorOptions& options);
  ~HostCommunicator() override = default;

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  void Abort(std::string_view reason) override;
  std::string Explain(const Call& call) const override;

  // From now on Algorithm::kAutomatic follows the cost model. All ranks call it at the same point, with the same figures, before
  // the first operation that counts: numbers of operations and messages begin anew.
  void Tune(selection::Calibration calibration);

  // The share of one of several communicators of the same group in an operation that is cut between them (collectives/channels): of
  // every part of `call` (communicator.h) the same range. Not for V operations.
  struct Share {
    int64_t begin = 0;  // element of a part
    int64_t count = 0;
    uint64_t sequence = 0;  // of the operation
    int index = 0;          // of `shares`
    int shares = 1;
  };
  absl::Status RunShare(const Call& call, const Share& share, absl::Duration timeout);

  // Between operations: breaks with the status that the last operation of `other`, a communicator of the same group, ended with,
  // and tells peers the same.
  void BreakAs(const HostCommunicator& other);

  // Abort() where another communicator of the same group waits until peers have heard of it.
  void AbortToo(std::string_view reason);

 protected:
  absl::Status Execute(const Call& call, absl::Duration timeout) override;
  absl::Status ExchangePointToPoint(std::span<const Call> calls, absl::Duration timeout) override;

 private:
  static constexpr size_t kCallBytes = sizeof(FrameHead) + sizeof(WireCall);
  static constexpr size_t kDataHeadBytes = sizeof(FrameHead) + kDataPadding;

  // What a stream moves in one direction before the other one has its turn. Large turns: two ranks that fill and empty their
  // streams at the same time get in each other's way (a socket is locked while bytes are copied).
  static constexpr size_t kTurnBytes = size_t{1} << 20;

  // One direction to or from one peer during one operation. `prefix` holds the heads of the frame that is moving (a Call, a data
  // head or both), `payload` its data.
  struct Stream {
    char prefix[kCallBytes + kDataHeadBytes] = {};
    size_t prefix_bytes = 0;
    size_t prefix_done = 0;
    char* payload = nullptr;
    size_t payload_bytes = 0;
    size_t payload_done = 0;
    size_t next_segment = 0;
    size_t next_call = 0;       // of the calls on this stream
    int64_t staged_end = 0;     // sending: what is gone from the stage when this frame is; 0: it is not from there
    bool opens = false;         // the next frame is the Call of a collective
    bool in_segment = false;    // receiving: the frame is the next segment
    bool prefix_calls = false;  // receiving: `prefix` begins with a Call
    bool called = false;        // receiving: a Call has arrived and is ours
    bool mismatched = false;    // receiving: what comes now is the text of a kMismatch
    bool closed = false;
    bool end_known = false;  // receiving: the peer has closed, and all that we need came before
    bool complete = false;
    bool between_frames() const { return prefix_done == prefix_bytes && payload_done == payload_bytes; }
    void NewFrame() { prefix_bytes = prefix_done = payload_bytes = payload_done = 0; }
    void Restart() {
      NewFrame();
      next_segment = next_call = 0;
      opens = in_segment = prefix_calls = called = mismatched = closed = end_known = complete = false;
    }
  };

  // What peers are told when an operation fails.
  struct LastWords {
    FrameTag tag = FrameTag::kAborted;
    int culprit = 0;
    std::string mismatch = {};  // kMismatch: the text
  };

  // Why the operation in progress fails.
  struct Failure {
    LastWords words;
    absl::Status status;
  };

  // A call with its data, as it lies in a stream.
  struct alignas(64) Message {
    static constexpr size_t kMostData = 4096;
    FrameHead call_head;
    WireCall call;
    FrameHead data_head;
    char padding[kDataPadding] = {};
    char data[kMostData];
  };

  // Where the plan's positions lie.
  struct Buffers {
    const void* send = nullptr;  // position `send_begin` of the input
    void* receive = nullptr;     // position `receive_begin` of the result
    int64_t send_begin = 0;
    int64_t receive_begin = 0;
  };

  // All of a call, but for V operations, that decides what a plan looks like.
  struct PlanKey {
    Operation operation = Operation::kSend;  // which has no plan of its own
    DataType type = DataType::kU8;
    Reduction reduction = Reduction::kSum;
    int64_t count = -1;
    int32_t root = 0;
    bool operator==(const PlanKey&) const = default;
  };

  // What lies where: the plan of a share knows its own elements alone, one part behind the other.
  struct Stride {
    int64_t planned = 0;  // elements of a part in the plan; 0: positions are as in the buffers
    int64_t whole = 0;    // in the buffers
    int64_t begin = 0;    // of the share
    int64_t InBuffers(int64_t position) const {
      return planned == 0 ? position : position / planned * whole + begin + position % planned;
    }
  };

  enum class Turn : uint8_t { kIdle, kMoved, kFinished };
  enum class Use : uint8_t { kFree, kBusy, kBroken };

  static size_t Bytes(int64_t count) { return static_cast<size_t>(count); }

  // Peers in the order in which they have their turns.
  int PeerAt(int step) const { return rank_ + step < size_ ? rank_ + step : rank_ + step - size_; }

  // host_communicator_choice.cc
  Algorithm Choose(const Call& call) const;

  // host_communicator.cc
  absl::Status RunToTheEnd(absl::Duration timeout);
  absl::Status GoOn(Turn turn);
  absl::Status Begin();
  absl::Status End(absl::Status status);
  void Break(absl::Status status, LastWords words, bool until_heard);

  // host_communicator_prepare.cc
  void Prepare(const Call& call);
  Buffers BuffersOf(const Call& call) const;
  void PrepareAnew(const Call& call);
  void MakePlan(const Call& call, size_t accumulator);

  // host_communicator_exchange.cc
  void PrepareExchange(std::span<const Call> calls);

  // host_communicator_at_once.cc
  void PrepareAtOnce(const Call& call);
  bool ExchangeAtOnce();

  // host_communicator_streams.cc
  void StartStreams();
  void CopyOwnPart();
  Turn PumpAll();
  bool PumpSend(int peer);
  bool LoadNextSend(int peer);
  void Sent(int peer, Transfer sent);
  bool Available(const plan::Segment& segment) const;
  size_t FrameBytes(const plan::Segment& segment) const;
  const char* InputAt(int64_t position) const;
  char* ResultAt(int64_t position) const;
  const WireCall& CallTo(int peer, size_t index) const;
  const WireCall& CallFrom(int peer, size_t index) const;

  // host_communicator_receive.cc
  bool PumpReceive(int peer);
  void LoadNextReceive(int peer);
  char* PayloadInto(int peer) const;
  void Received(int peer, Transfer received);
  void AcceptPrefix(int peer, size_t before, std::string_view payload);
  void ExpectLastWords(int peer, std::string_view payload);
  void AcceptPayload(int peer, size_t bytes);
  size_t ReceiveWindow(int peer) const;

  // host_communicator_reduce.cc
  void ReduceArrived();
  void ReduceInRankOrder();
  void ReduceAsTheyCome();
  bool MayReduceAsTheyCome(Reduction reduction) const;

  // host_communicator_failures.cc
  void FailWith(FrameTag tag, int culprit, absl::Status status);
  void FailWithMismatch(int peer, const std::string& text, const std::string& teller);
  void BlameClosed(int peer);
  void BlameMismatch(int peer, const WireCall& ours, const WireCall& theirs);
  void LookForEnds();
  void ExamineRemainder(int peer, std::string_view bytes);
  size_t BytesToCome(int peer) const;
  void HeardFailure(int peer, FrameHead head, std::string_view following);
  bool ReceiveMismatch(int peer);  // true when a byte moved or the operation has failed
  std::vector<int> SilentRanks() const;
  std::string NamesOf(std::span<const int> peers) const;
  absl::Status SilentStatus() const;
  // A peer that this rank kept waiting because it was kept waiting itself. False when this rank has nobody else to name.
  bool BlameWhoKeptUsWaiting(int accuser);
  std::string During() const;

  // host_communicator_last_words.cc
  size_t SendLastWords(int peer, std::string_view words);
  bool Accuse(int silent);
  void TellPeers(LastWords words, bool until_heard = true);

  // host_communicator_partners.cc
  void StartWithPartners();
  bool Gathered(int64_t end) const;
  void ReduceGathered();
  void ReleaseCalls();
  void ForgetUnsentCalls();

  const std::unique_ptr<Transport> transport_;
  const int rank_;
  const int size_;
  const Patience patience_;
  const Clock& clock_;
  HostCommunicatorOptions options_;        // Tune() sets direct_bytes
  size_t star_bytes_ = 0;                  // all-reduces above direct_bytes up to here go through rank 0
  Algorithm small_ = Algorithm::kDirect;   // those up to direct_bytes
  Algorithm large_ = Algorithm::kTwoStep;  // those above all
  int64_t two_step_chunk_, chain_chunk_;   // bytes, at most options_.chunk_bytes
  std::optional<selection::Calibration> calibration_;
  const size_t stage_bytes_;   // per peer: contributions that arrived and are not yet added
  const size_t result_bytes_;  // what is reduced here for others and is not yet sent: two chunks

  // The operation in progress: its thread's.
  absl::Time began_;  // to wait; before: in the infinite future
  absl::Duration timeout_;
  WireCall call_;  // of an exchange the first
  bool exchange_ = false;
  std::vector<WireCall> calls_to_, calls_from_;                     // kAllToAllV: by peer
  std::vector<std::vector<WireCall>> messages_to_, messages_from_;  // of an exchange, by peer
  Buffers buffers_;
  Stride stride_;
  size_t element_ = 1;       // bytes of an element
  size_t contribution_ = 1;  // bytes of an element of what is reduced here, as it arrives
  size_t staged_ = 1;        // bytes of an element of what is staged here
  plan::Plan plan_;
  PlanKey plan_key_;
  std::vector<int64_t> bounds_, receive_bounds_;  // of the V operations
  size_t at_once_bytes_ = 0;                      // of data, where ExchangeAtOnce() applies
  std::unique_ptr<Message> outgoing_, incoming_;  // its messages
  std::vector<Stream> sends_;                     // by peer
  std::vector<Stream> receives_;                  // by peer
  std::vector<Interest> interests_;
  std::vector<std::unique_ptr<char[]>>
      stages_;  // by peer, a ring of stage_bytes_; this rank's own, of result_bytes_: what it has reduced for others
  std::vector<int64_t> contributed_;  // by peer: bytes of plan_.reduce that arrived
  std::vector<const void*> operands_;
  std::vector<char> gathered_;           // plan_.gather_from
  bool holds_calls_ = false;             // a Call waits for the data with which it will go
  std::vector<std::string> mismatches_;  // by peer: the text of a kMismatch so far
  int64_t reduced_ = 0;                  // elements of plan_.reduce
  bool overwrites_input_ = false;        // the plan does, and the operation is in place:
  std::vector<int64_t> sent_input_;      // by peer: bytes of the input that it has been sent
  bool as_they_come_ = false;            // ReduceAsTheyCome is what reduces,
  std::vector<int64_t> added_;           // by peer: elements of its contribution that it has added,
  int64_t begun_ = 0;                    // and elements of the result that hold a sum already
  int64_t staged_sent_ = 0;              // elements of plan_.reduce that have left the stage
  int64_t forwarded_ = 0;                // bytes of the index space that are final from plan_.forward_from
  std::unique_ptr<Failure> failure_;
  LastWords last_words_;  // told already
  char byte_of_barrier_ = 0;
  uint64_t sequence_ = 0;
  std::vector<uint64_t> sent_, received_;  // by peer: messages

  std::atomic<bool> aborted_{false};
  std::atomic<Use> use_{Use::kFree};
  mutable Mutex mu_;
  absl::Status broken_ ABSL_GUARDED_BY(mu_);  // set before use_ is kBroken
};

}  // namespace ringmaster

#endif  // RINGMASTER_COLLECTIVES_HOST_COMMUNICATOR_H_
