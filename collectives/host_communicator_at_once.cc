// Small vectors between two ranks: call and data in one message each way, without the bookkeeping of streams. After a system call
// little of this program is left in the caches: code costs some 5 ns for each line of it that is passed through.
#include <algorithm>
#include <cstddef>
#include <cstring>

#include "collectives/host_communicator.h"
#include "collectives/reduce.h"

namespace ringmaster {
namespace {

// Of looking for the peer's message before the streams take over, which may sleep.
constexpr int kTries = 8;

}  // namespace

void HostCommunicator::PrepareAtOnce(const Call& call) {
  const size_t bytes = Bytes(call.count) * element_;
  const bool direct = call.operation == Operation::kAllReduce && Choose(call) == Algorithm::kDirect;
  const bool one_message = bytes > 0 && bytes <= Message::kMostData && bytes <= options_.chunk_bytes;
  at_once_bytes_ = size() == 2 && direct && one_message ? bytes : 0;
  if (at_once_bytes_ == 0) return;
  if (outgoing_ == nullptr) {
    outgoing_ = std::make_unique<Message>();
    incoming_ = std::make_unique<Message>();
  }
  outgoing_->call_head = {FrameTag::kCall, sizeof(WireCall)};
  outgoing_->data_head = {FrameTag::kData, static_cast<uint32_t>(bytes)};
}

// False: not all has moved, or what came is not what was expected; the streams have started and know how far it is.
bool HostCommunicator::ExchangeAtOnce() {
  const int peer = 1 - rank();
  static_assert(offsetof(Message, data) == kCallBytes + kDataHeadBytes);
  const size_t all = offsetof(Message, data) + at_once_bytes_;
  outgoing_->call = call_;
  std::memcpy(outgoing_->data, InputAt(0), at_once_bytes_);
  const iovec out{outgoing_.get(), all}, in{incoming_.get(), all};
  auto [sent, received] = transport_->Exchange(peer, out, in);
  const int tries = sent.bytes < all || patience_.yield ? 1 : kTries;
  for (int tried = 1; tried < tries && received.bytes == 0 && !received.closed; ++tried) {
    received = transport_->Receive(peer, {&in, 1});
  }
  if (sent.bytes == all && received.bytes == all &&
      std::memcmp(incoming_.get(), outgoing_.get(), offsetof(Message, padding)) == 0) {
    const void* const mine = outgoing_->data;
    const void* const theirs = incoming_->data;
    const void* const operands[] = {rank() == 0 ? mine : theirs, rank() == 0 ? theirs : mine};
    void* const result = ResultAt(0);
    ReduceInOrder(operands, {&result, 1}, plan_.reduce.size(), call_.type, call_.reduction);
    return true;
  }
  StartStreams();
  Sent(peer, sent);
  const size_t heads = std::min(received.bytes, offsetof(Message, data));
  std::memcpy(receives_[peer].prefix, incoming_.get(), heads);
  std::memcpy(PayloadInto(peer), incoming_->data, received.bytes - heads);
  Received(peer, received);
  return false;
}

}  // namespace ringmaster
