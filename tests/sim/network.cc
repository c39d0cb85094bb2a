#include "tests/sim/network.h"

#include <algorithm>
#include <utility>
#include <variant>
#include <vector>

namespace ringmaster::sim {
namespace {

using coordinator::CallId;
using coordinator::Effect;
using coordinator::EventBody;
using coordinator::StreamId;

StreamId StreamOf(const Effect& effect) {
  return std::visit(
      [](const auto& one) {
        if constexpr (requires { one.stream; }) return StreamId(one.stream);
        return StreamId();
      },
      effect);
}

}  // namespace

StreamPtr Network::Open(int host, std::function<void(const Effect&)> on_message,
                        std::function<void(const absl::Status&)> on_closed) {
  if (!coordinator_.up() || IsCut(host) || world_.timeline.now() < refused_until_[host]) return nullptr;
  auto stream = std::make_shared<Stream>();
  stream->id = StreamId(next_stream_++);
  stream->host = host;
  stream->on_message = std::move(on_message);
  stream->on_closed = std::move(on_closed);
  streams_[stream->id] = stream;
  return stream;
}

void Network::Deliver(const StreamPtr& stream, absl::Time* order, std::function<void()> what) {
  *order = std::max(*order, world_.timeline.now() + world_.Latency());
  world_.timeline.At(*order, [this, stream, what = std::move(what)] {
    if (stream->broken) return;
    if (IsCut(stream->host) || !stream->held.empty()) {
      stream->held.push_back(what);
    } else {
      what();
    }
  });
}

void Network::ToCoordinator(const StreamPtr& stream, EventBody event) {
  Deliver(stream, &stream->up, [this, event = std::move(event)] { coordinator_.Post(event); });
}

void Network::ToWorker(const Effect& effect) {
  const auto it = streams_.find(StreamOf(effect));
  if (it == streams_.end()) return;
  const StreamPtr stream = it->second;
  // What a worker has read from a stream may wait in its queue for long, also when the stream is gone.
  if (std::holds_alternative<coordinator::SendAssign>(effect) && world_.timeline.now() < repeat_until_) {
    world_.timeline.After(world_.random.Between(absl::ZeroDuration(), absl::Seconds(8)),
                          [stream, effect] { stream->on_message(effect); });
    if (world_.random.OneIn(8)) {  // and only that one arrives, after whatever the next stream brings
      world_.oracle.HurtNetwork();
      Break(stream);
      refused_until_[stream->host] = world_.timeline.now() + world_.random.Between(absl::ZeroDuration(), absl::Seconds(3));
      return;
    }
  }
  Deliver(stream, &stream->down, [this, stream, effect] {
    if (const auto* close = std::get_if<coordinator::CloseStream>(&effect)) {
      stream->broken = true;
      streams_.erase(stream->id);
      TellCoordinator(stream);
      stream->on_closed(close->status);
    } else {
      stream->on_message(effect);
    }
  });
}

void Network::TellCoordinator(const StreamPtr& stream) {
  if (std::exchange(stream->told_coordinator, true)) return;
  world_.timeline.After(world_.Latency(), [this, id = stream->id] { coordinator_.Post(coordinator::StreamClosed{id}); });
}

void Network::Break(const StreamPtr& stream) {
  if (stream->broken) return;
  stream->broken = true;
  streams_.erase(stream->id);
  // A cut host is silent: the coordinator has only its lease.
  if (!IsCut(stream->host)) TellCoordinator(stream);
  world_.timeline.After(world_.Latency(), [stream] { stream->on_closed(absl::UnavailableError("the connection broke")); });
}

void Network::BreakAll() {
  for (const auto& [id, stream] : std::map<StreamId, StreamPtr>(streams_)) {
    stream->told_coordinator = true;  // who is gone is not told
    Break(stream);
  }
}

void Network::BreakHost(int host) {
  for (const auto& [id, stream] : std::map<StreamId, StreamPtr>(streams_)) {
    if (stream->host == host) Break(stream);
  }
}

void Network::Cut(int host) {
  ++cut_[host];
  // The worker's keepalive notices; until then messages wait and may still arrive when the cut was short.
  for (const auto& [id, stream] : streams_) {
    if (stream->host != host) continue;
    world_.timeline.After(world_.random.Between(absl::Seconds(2), absl::Seconds(6)), [this, stream = stream] {
      if (IsCut(stream->host)) Break(stream);
    });
  }
}

void Network::Mend(int host) {
  if (--cut_[host] > 0) return;
  cut_.erase(host);
  for (const auto& [id, stream] : std::map<StreamId, StreamPtr>(streams_)) {
    if (stream->host != host) continue;
    for (const auto& what : std::exchange(stream->held, {})) {
      if (!stream->broken) what();
    }
  }
}

void Network::Call(int host, const std::function<EventBody(CallId)>& make, const Answered& answered,
                   const SimCoordinator::Done& done) {
  const auto fail = [this, done] {
    world_.timeline.After(absl::Seconds(1), [done] { done(absl::UnavailableError("no answer"), {}); });
  };
  world_.timeline.After(world_.Latency(), [=, this] {
    if (IsCut(host)) return fail();
    coordinator_.Call(make, [=, this](const absl::Status& status, const coordinator::Answer& answer) {
      answered(status, false);
      world_.timeline.After(world_.Latency(), [=, this] {
        if (IsCut(host)) return fail();
        done(status, answer);
      });
    });
    if (world_.timeline.now() >= repeat_until_) return;
    const absl::Duration late = world_.random.Between(absl::ZeroDuration(), absl::Seconds(world_.random.OneIn(2) ? 8 : 1));
    world_.timeline.After(late, [=, this] {
      coordinator_.Call(make, [answered](const absl::Status& status, const coordinator::Answer&) { answered(status, true); });
    });
  });
}

}  // namespace ringmaster::sim
