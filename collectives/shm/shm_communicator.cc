#include "collectives/shm/shm_communicator.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "collectives/reduce.h"
#include "common/status_macros.h"

namespace ringmaster {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

// Waking a sleeping core takes longer than most operations.
constexpr absl::Duration kPatienceOfHelpers = absl::Milliseconds(1);

}  // namespace

absl::StatusOr<std::unique_ptr<Communicator>> ShmCommunicator::Create(shm::GroupMemory memory, std::vector<FileDescriptor> sockets,
                                                                      const Clock& clock, ShmCommunicatorOptions options,
                                                                      absl::Duration timeout) {
  std::unique_ptr<ShmCommunicator> made(new ShmCommunicator(std::move(memory), std::move(sockets), clock, std::move(options)));
  made->team_.Start(made->helpers_);
  RM_RETURN_IF_ERROR(made->Meet(timeout));
  return made;
}

ShmCommunicator::ShmCommunicator(shm::GroupMemory memory, std::vector<FileDescriptor> sockets, const Clock& clock,
                                 ShmCommunicatorOptions options)
    : memory_(std::move(memory)),
      segment_(memory_.segment),
      tuning_(options.tuning),
      clock_(clock),
      sync_(segment_, clock, std::move(options.sync)),
      watch_(std::move(sockets)),
      helpers_(std::clamp(options.helpers, 0, ThreadTeam::kMostParts - 1)),
      team_(kPatienceOfHelpers, clock),
      writes_(static_cast<size_t>(sync_.size())),
      reads_(static_cast<size_t>(sync_.size())),
      sent_(static_cast<size_t>(sync_.size())),
      received_(static_cast<size_t>(sync_.size())) {
  operands_.reserve(static_cast<size_t>(size()));
  results_.reserve(static_cast<size_t>(size()));
}

ShmCommunicator::~ShmCommunicator() { watch_.Stop(); }

// The first operations of a group: they find out together what the system lets them do.
absl::Status ShmCommunicator::Meet(absl::Duration timeout) {
  segment_.state(rank()).pid = getpid();
  segment_.state(rank()).send.store(reinterpret_cast<const char*>(&probe_word_));
  sync_.Announce();
  RM_RETURN_IF_ERROR(watch_.Start([this](int peer) { sync_.PeerClosed(peer); }));
  RM_RETURN_IF_ERROR(Barrier(timeout));
  sync_.Start();
  ProbeCrossMemory();
  RM_RETURN_IF_ERROR(Barrier(timeout));
  RM_RETURN_IF_ERROR(Measure(timeout));
  sync_.CountFromHere();
  return absl::OkStatus();
}

absl::Status ShmCommunicator::Execute(const Call& call, absl::Duration timeout) {
  if (size() == 1) {
    if (!sync_.whole()) return sync_.status();
    RunAlone(call);
    return absl::OkStatus();
  }
  if (!sync_.whole()) [[unlikely]]
    return sync_.status();
  sync_.Begin(call, /*collective=*/true, timeout, recorder());
  const bool is_small = call.operation == Operation::kAllReduce &&
                        call.count * static_cast<int64_t>(BytesPerElement(call.type)) <= tuning_.one_shot_bytes;
  if (!(is_small ? SmallAllReduce(call) : Dispatch(call))) [[unlikely]]
    return sync_.status();
  sync_.Finish();
  return absl::OkStatus();
}

bool ShmCommunicator::Dispatch(const Call& call) {
  shm::PostedCall posted = shm::Post(call);
  const Way way = Choose(call);
  if (way == Way::kOneShot) return OneShot(call, posted);
  const bool may_be_registered = MayBeRegistered(call, way);
  if (may_be_registered) posted.where = RegisteredOffsets(call);
  if (way == Way::kCrossMemory) {
    shm::RankState& state = segment_.state(rank());
    state.send.store(static_cast<const char*>(call.send), std::memory_order_relaxed);
    state.receive.store(static_cast<char*>(call.receive), std::memory_order_relaxed);
  }
  if (!PostAndMeet(posted, nullptr, 0)) return false;
  if (may_be_registered && SameBuffersEverywhere(posted.where)) return RegisteredOperation(call, posted.where);
  switch (call.operation) {
    case Operation::kAllReduce: return way == Way::kCrossMemory ? CrossMemoryAllReduce(call) : PrivateAllReduce(call);
    case Operation::kReduce: return TwoShotReduce(call);
    case Operation::kReduceScatter:
    case Operation::kReduceScatterV: return ReduceParts(call);
    case Operation::kAllGather:
    case Operation::kAllGatherV:
    case Operation::kBroadcast: return PublishParts(call);
    default: return ExchangeParts(call);
  }
}

// Through staging areas.
bool ShmCommunicator::PrivateAllReduce(const Call& call) { return size() == 2 ? PairExchange(call) : TwoShotReduce(call); }

// Whether all ranks, which have posted, have registered buffers at the same offsets.
bool ShmCommunicator::SameBuffersEverywhere(uint64_t offsets) const {
  if (offsets == kPrivate) return false;
  bool same = true;
  for (int peer = 0; peer < size(); ++peer) same = same && segment_.slot(sync_.sequence(), peer).call.where == offsets;
  return same;
}

// By sizes that all ranks know alike.
ShmCommunicator::Way ShmCommunicator::Choose(const Call& call) const {
  const int64_t element = static_cast<int64_t>(BytesPerElement(call.type));
  const int64_t part = call.count * element;
  const auto slot = static_cast<int64_t>(segment_.sizes().slot_bytes);
  switch (call.operation) {
    case Operation::kBarrier: return Way::kOneShot;
    case Operation::kAllReduce:
      if (part <= tuning_.one_shot_bytes) return Way::kOneShot;
      if (part >= cross_memory_bytes_) return Way::kCrossMemory;
      return size() == 2 ? Way::kPairExchange : Way::kTwoShot;
    case Operation::kReduce: return part <= tuning_.one_shot_bytes ? Way::kOneShot : Way::kTwoShot;
    case Operation::kAllGather:
    case Operation::kBroadcast: return part <= slot ? Way::kOneShot : Way::kTwoShot;
    case Operation::kGather: return part <= slot ? Way::kOneShot : Way::kRings;
    case Operation::kReduceScatter:
    case Operation::kScatter:
    case Operation::kAllToAll: return part * size() <= slot ? Way::kOneShot : Way::kRings;
    case Operation::kReduceScatterV: return shm::SumOf(call.send_counts) * element <= slot ? Way::kOneShot : Way::kRings;
    case Operation::kAllGatherV: return shm::SumOf(call.send_counts) * element <= slot ? Way::kOneShot : Way::kTwoShot;
    default: return Way::kRings;
  }
}

// Says what this rank calls, and waits until all ranks have called the same.
bool ShmCommunicator::PostAndMeet(const shm::PostedCall& call, const void* operand, size_t bytes) {
  const uint64_t sequence = sync_.sequence();
  shm::Slot& mine = segment_.slot(sequence, rank());
  mine.call = WithMessages(call);
  if (bytes > 0) std::memcpy(mine.data, operand, bytes);
  sync_.Publish(mine.sequence, sequence);
  for (int peer = 0; peer < size(); ++peer) {
    if (peer == rank()) continue;
    if (!sync_.AwaitPost(peer, bytes)) [[unlikely]]
      return false;
    if (!SeesTheSame(peer, call)) [[unlikely]]
      return Mismatch(peer);
  }
  FetchNextSlot(bytes);
  return true;
}

// A post that says how many messages went before it, if any did.
shm::PostedCall ShmCommunicator::WithMessages(shm::PostedCall posted) {
  if (!sent_since_post_) [[likely]]
    return posted;
  sent_since_post_ = false;
  std::copy(sent_.begin(), sent_.end(), segment_.state(rank()).sent[sync_.sequence() % 2]);
  posted.what |= shm::kHasSent;
  return posted;
}

// Whether `peer`, which has posted, is in the same call and all its messages have been received.
bool ShmCommunicator::SeesTheSame(int peer, const shm::PostedCall& posted) {
  const shm::PostedCall& theirs = segment_.slot(sync_.sequence(), peer).call;
  if (!theirs.SameCall(posted)) return false;
  if ((theirs.what & shm::kHasSent) != 0) [[unlikely]] {
    const uint32_t sent = segment_.state(peer).sent[sync_.sequence() % 2][rank()];
    if (sent != received_[static_cast<size_t>(peer)]) return false;
  }
  const auto operation = static_cast<Operation>(posted.what & 0xff);
  const bool has_counts = operation == Operation::kReduceScatterV || operation == Operation::kAllGatherV;
  return !has_counts || theirs.where == posted.where;
}

// A message that nobody has received came before the call of the rank that sent it: then it is the message that differs.
bool ShmCommunicator::Mismatch(int peer) {
  const uint64_t sequence = sync_.sequence();
  shm::PostedCall mine = segment_.slot(sequence, rank()).call;
  shm::PostedCall theirs = segment_.slot(sequence, peer).call;
  const bool counts = Describe(mine) == Describe(theirs);
  const uint32_t theirs_sent = segment_.state(peer).sent[sequence % 2][rank()];
  const bool unread_from = (theirs.what & shm::kHasSent) != 0 && theirs_sent != received_[static_cast<size_t>(peer)];
  const bool unread_to =
      (mine.what & shm::kHasSent) != 0 && segment_.ring(rank(), peer).head.load() != segment_.ring(rank(), peer).tail.load();
  if (unread_from) theirs = OldestMessage(peer, rank());
  if (unread_to && !unread_from) mine = OldestMessage(rank(), peer);
  return sync_.Break(shm::Cause::kMismatch, peer,
                     absl::StrCat("rank ", rank(), " called ", Describe(mine), " as operation ", sync_.number(), " of its group, ",
                                  sync_.NameOf(peer), " called ", Describe(theirs), " as operation ", sync_.number(),
                                  counts && !unread_from && !unread_to ? " with other counts by rank" : "",
                                  ": all ranks must make the same calls in the same order"));
}

// The operation of a group of one.
void ShmCommunicator::RunAlone(const Call& call) const {
  const int64_t count = call.send_counts.empty() ? call.count : call.send_counts[0];
  if (IsReduction(call.operation)) {
    const void* const operand = call.send;
    void* const result = call.receive;
    ReduceInOrder({&operand, 1}, {&result, 1}, count, call.type, call.reduction);
  } else if (count > 0 && call.send != call.receive) {
    std::memcpy(call.receive, call.send, static_cast<size_t>(count) * BytesPerElement(call.type));
  }
}

// Whether registered buffers change how the call runs.
bool ShmCommunicator::MayBeRegistered(const Call& call, Way way) const {
  switch (call.operation) {
    case Operation::kAllReduce:
      return way != Way::kOneShot || call.count * static_cast<int64_t>(BytesPerElement(call.type)) >= registered_bytes_;
    case Operation::kReduceScatter:
    case Operation::kAllGather: return way != Way::kOneShot;
    default: return false;
  }
}

// Units of 64 bytes from the beginning of the heap: those of `send` above those of `receive`; kPrivate when they do not lie there.
uint64_t ShmCommunicator::RegisteredOffsets(const Call& call) const {
  const char* const heap = memory_.heaps[static_cast<size_t>(rank())];
  const auto offset = [&](const void* buffer) {
    const auto distance = static_cast<size_t>(static_cast<const char*>(buffer) - heap);
    return distance < memory_.heap_limit && distance % 64 == 0 ? distance / 64 : kPrivate;
  };
  // In place, one of the buffers is a part of the other and lies elsewhere on every rank: told apart here, put back where it is
  // used.
  const void* send = call.send;
  const void* receive = call.receive;
  const size_t part = static_cast<size_t>(call.count) * BytesPerElement(call.type) * static_cast<size_t>(rank());
  if (call.operation == Operation::kReduceScatter && receive == static_cast<const char*>(send) + part) receive = send;
  if (call.operation == Operation::kAllGather && send == static_cast<const char*>(receive) + part) send = receive;
  const uint64_t of_send = offset(send), of_receive = offset(receive);
  if (of_send == kPrivate || of_receive == kPrivate) return kPrivate;
  return of_send << 32 | of_receive;
}

bool ShmCommunicator::IsRegistered(const Call& call) const { return RegisteredOffsets(call) != kPrivate; }

// Where the part of `part_of` lies in the vector of all parts.
ShmCommunicator::Range ShmCommunicator::PartOf(const Call& call, int part_of) const {
  const size_t element = BytesPerElement(call.type);
  if (call.send_counts.empty()) {
    const size_t part = static_cast<size_t>(call.count) * element;
    return {part * static_cast<size_t>(part_of), part};
  }
  const auto index = static_cast<size_t>(part_of);
  return {static_cast<size_t>(shm::SumOf(call.send_counts.first(index))) * element,
          static_cast<size_t>(call.send_counts[index]) * element};
}

// `chunks` more have been through the staging areas, whether this rank had to do with them or not.
void ShmCommunicator::Advance(uint64_t chunks) {
  chunks_done_ += chunks;
  shm::RankState& state = segment_.state(rank());
  state.staged.store(chunks_done_, std::memory_order_release);
  state.reduced.store(chunks_done_, std::memory_order_release);
  sync_.Publish(state.consumed, chunks_done_);
}

absl::StatusOr<RegisteredBuffer> ShmCommunicator::Register(int64_t bytes, absl::Duration timeout) {
  if (bytes < 0) return absl::InvalidArgumentError(absl::StrCat("a buffer of ", bytes, " bytes"));
  const size_t room = (static_cast<size_t>(bytes) + kHugePage - 1) / kHugePage * kHugePage;
  const size_t offset = heap_used_;
  absl::Status grown =
      room <= memory_.heap_limit - offset
          ? memory_.grow(offset + room)
          : absl::ResourceExhaustedError(absl::StrCat("registered buffers of a group end at ", memory_.heap_limit, " bytes; ",
                                                      offset, " are taken, ", bytes, " more were asked"));
  int64_t answer[] = {bytes, -bytes, grown.ok() ? 1 : 0};  // least and greatest wish, everybody has it
  RM_RETURN_IF_ERROR(AllReduce(answer, answer, 3, DataType::kI64, Reduction::kMin, timeout));
  if (!grown.ok()) return grown;
  if (answer[2] == 0) return absl::ResourceExhaustedError(absl::StrCat("a peer has no room for a buffer of ", bytes, " bytes"));
  if (answer[0] != bytes || answer[1] != -bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("this rank registers ", bytes, " bytes, others from ", answer[0], " to ", -answer[1]));
  }
  heap_used_ += room;
  // Addresses are not used again: buffers are few and live as long as their group.
  return RegisteredBuffer(memory_.heaps[static_cast<size_t>(rank())] + offset, bytes, [owner = memory_.owner] {});
}

}  // namespace ringmaster
