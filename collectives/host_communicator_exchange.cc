// Sends and receives between two ranks: each a call and its data on one stream, so that an exchange is a plan in which each segment
// lies where its own call says.
#include <algorithm>

#include "collectives/host_communicator.h"

namespace ringmaster {
namespace {

using plan::Range;
using plan::Segment;

void AppendMessage(Segment::Kind kind, const void* buffer, size_t bytes, int64_t chunk, std::vector<Segment>* stream) {
  const int64_t begin = static_cast<int64_t>(reinterpret_cast<uintptr_t>(buffer));
  const int64_t end = begin + static_cast<int64_t>(bytes);
  int64_t at = begin;
  do {
    stream->push_back({.kind = kind, .range = {at, std::min(at + chunk, end)}, .opens_message = at == begin});
    at += chunk;
  } while (at < end);
}

}  // namespace

void HostCommunicator::PrepareExchange(std::span<const Call> calls) {
  exchange_ = true;
  overwrites_input_ = false;
  at_once_bytes_ = 0;
  element_ = contribution_ = staged_ = 1;
  buffers_ = {};  // positions are addresses
  stride_ = {};
  plan_key_ = {};
  plan::Exchange({.rank = rank(), .size = size()}, &plan_);
  for (int peer = 0; peer < size(); ++peer) {
    messages_to_[peer].clear();
    messages_from_[peer].clear();
  }
  for (const Call& call : calls) {
    const int peer = call.root;
    const bool sends = call.operation == Operation::kSend;
    // Both ends write down the send.
    const WireCall wire{.sequence = sends ? ++sent_[peer] : ++received_[peer],
                        .count = call.count,
                        .root = sends ? peer : rank(),
                        .operation = Operation::kSend,
                        .type = call.type,
                        .chunk_bytes = options_.chunk_bytes};
    const size_t bytes = Bytes(call.count) * BytesPerElement(call.type);
    if (sends) {
      messages_to_[peer].push_back(wire);
      AppendMessage(Segment::Kind::kInput, call.send, bytes, options_.chunk_bytes, &plan_.to[peer]);
    } else {
      messages_from_[peer].push_back(wire);
      AppendMessage(Segment::Kind::kFinal, call.receive, bytes, options_.chunk_bytes, &plan_.from[peer]);
    }
    if (&call == calls.data()) {
      call_ = wire;
      call_.operation = call.operation;
      call_.root = peer;
    }
  }
}

}  // namespace ringmaster
