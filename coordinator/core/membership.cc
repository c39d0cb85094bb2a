#include "coordinator/core/membership.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace ringmaster::coordinator {
namespace {

// Workers that are gone stay listed for the user, up to this many.
constexpr size_t kMostWorkers = 4096;

std::string InSeconds(absl::Duration duration) { return absl::StrFormat("%.1f s", absl::ToDoubleSeconds(duration)); }

}  // namespace

absl::StatusOr<Membership::Attached> Membership::Attach(const WorkerHello& hello, absl::Time now) {
  Attached attached;
  const auto it = workers_.find(hello.worker);
  if (it != workers_.end()) {
    const Worker& known = it->second;
    const bool same_life = known.incarnation == hello.incarnation;
    // Two missed heartbeats: the old process is gone and its connection has not noticed yet. Counted by what is left of its time:
    // after a while in which nobody was listened to it has the whole of it again.
    const bool heard_lately = known.stream.has_value() && known.lost_at - now >= options_.lease - options_.lease * 2 / 3;
    if (!same_life && heard_lately) {
      return absl::AlreadyExistsError(absl::StrCat("worker \"", hello.worker.value(), "\" is attached from ", known.address,
                                                   " and alive; give this one another name with --name"));
    }
    if (known.stream.has_value() && *known.stream != hello.stream) attached.superseded = known.stream;
    attached.new_life = !same_life;
  }
  Worker& worker = Change(hello.worker);
  SetStream(worker, std::nullopt);
  worker = Worker{.id = hello.worker,
                  .incarnation = hello.incarnation,
                  .address = hello.address,
                  .slots = hello.slots,
                  .cores = hello.cores,
                  .version = hello.version,
                  .master_port = hello.master_port,
                  .stream = {},
                  .last_heard = now,
                  .alive = true,
                  .lost_at = {},
                  .silence = absl::StrCat("no heartbeat for ", InSeconds(options_.lease)),
                  .gone_reason = ""};
  SetStream(worker, hello.stream);
  SetDeadline(worker, now + options_.lease);
  changed_ = true;
  ForgetOldest();
  return attached;
}

void Membership::Expect(const WorkerId& id, Incarnation incarnation, const std::string& address, absl::Time now) {
  Worker& worker = Change(id);
  SetStream(worker, std::nullopt);
  worker = Worker{};
  worker.id = id;
  worker.incarnation = incarnation;
  worker.address = address;
  worker.last_heard = now;
  worker.alive = true;
  SetDeadline(worker, now + options_.reattach_grace);
  changed_ = true;
  worker.silence = absl::StrCat("did not come back within ", InSeconds(options_.reattach_grace), " of the coordinator's restart");
}

void Membership::Mark() {
  before_.clear();
  changed_ = false;
}

void Membership::Rollback() {
  for (const auto& [id, worker] : before_) SetStream(workers_[id], std::nullopt);
  for (auto& [id, worker] : before_) {
    if (!worker.has_value()) {
      workers_.erase(id);
      continue;
    }
    if (worker->stream.has_value()) by_stream_[*worker->stream] = id;
    workers_[id] = *std::move(worker);
  }
  before_.clear();
  first_deadline_ = absl::InfinitePast();
  changed_ = true;
}

Worker& Membership::Change(const WorkerId& id) {
  const auto it = workers_.find(id);
  if (it == workers_.end()) {
    before_.emplace(id, std::nullopt);
    return workers_[id];
  }
  before_.emplace(id, it->second);
  return it->second;
}

Worker* Membership::ChangeByStream(StreamId stream) {
  const auto it = by_stream_.find(stream);
  return it == by_stream_.end() ? nullptr : &Change(it->second);
}

void Membership::SetStream(Worker& worker, std::optional<StreamId> stream) {
  if (worker.stream.has_value()) by_stream_.erase(*worker.stream);
  worker.stream = stream;
  if (stream.has_value()) by_stream_[*stream] = worker.id;
}

void Membership::SetDeadline(Worker& worker, absl::Time lost_at) {
  worker.lost_at = lost_at;
  first_deadline_ = std::min(first_deadline_, lost_at);
}

const Worker* Membership::FindByStream(StreamId stream) const {
  const auto it = by_stream_.find(stream);
  return it == by_stream_.end() ? nullptr : Find(it->second);
}

const Worker* Membership::Find(const WorkerId& worker) const {
  const auto it = workers_.find(worker);
  return it == workers_.end() ? nullptr : &it->second;
}

bool Membership::IsAlive(const WorkerId& id, Incarnation incarnation) const {
  const Worker* worker = Find(id);
  return worker != nullptr && worker->alive && worker->incarnation == incarnation;
}

void Membership::Heard(StreamId stream, int master_port, absl::Time now) {
  Worker* worker = ChangeByStream(stream);
  if (worker == nullptr) return;
  worker->last_heard = now;
  SetDeadline(*worker, now + options_.lease);
  if (master_port > 0) worker->master_port = master_port;
}

void Membership::Disconnected(StreamId stream, absl::Time now) {
  Worker* worker = ChangeByStream(stream);
  if (worker == nullptr) return;
  const absl::Duration limit = std::min(options_.lease, kDisconnectedLimit);
  SetStream(*worker, std::nullopt);
  SetDeadline(*worker, now + limit);
  changed_ = true;
  worker->has_broken_off = true;
  worker->silence = absl::StrCat("its connection broke and it did not come back within ", InSeconds(limit));
}

void Membership::Left(StreamId stream, const std::string& reason) {
  Worker* worker = ChangeByStream(stream);
  if (worker == nullptr) return;
  worker->alive = false;
  SetStream(*worker, std::nullopt);
  changed_ = true;
  worker->has_broken_off = true;
  worker->gone_reason = reason.empty() ? "it was stopped" : absl::StrCat("it was stopped: ", reason);
}

void Membership::Extend(absl::Time now) {
  for (const auto& [id, worker] : workers_) {
    if (!worker.alive) continue;
    const absl::Duration limit = worker.stream.has_value() ? options_.lease : std::min(options_.lease, kDisconnectedLimit);
    SetDeadline(Change(id), std::max(worker.lost_at, now + limit));
  }
}

std::vector<StreamId> Membership::Expire(absl::Time now) {
  std::vector<StreamId> open;
  if (first_deadline_ > now) return open;
  for (const auto& [id, worker] : workers_) {
    if (!worker.alive || worker.lost_at > now) continue;
    Worker& lost = Change(id);
    lost.alive = false;
    lost.gone_reason = lost.silence;
    if (lost.stream.has_value()) open.push_back(*lost.stream);
    SetStream(lost, std::nullopt);
    changed_ = true;
  }
  first_deadline_ = NextDeadline();
  return open;
}

absl::Time Membership::NextDeadline() const {
  absl::Time deadline = absl::InfiniteFuture();
  for (const auto& [id, worker] : workers_) {
    if (worker.alive) deadline = std::min(deadline, worker.lost_at);
  }
  return deadline;
}

void Membership::ForgetOldest() {
  while (workers_.size() > kMostWorkers) {
    auto oldest = workers_.end();
    for (auto it = workers_.begin(); it != workers_.end(); ++it) {
      if (it->second.alive) continue;
      if (oldest == workers_.end() || it->second.last_heard < oldest->second.last_heard) oldest = it;
    }
    if (oldest == workers_.end()) return;
    Change(oldest->first);
    workers_.erase(oldest);
  }
}

}  // namespace ringmaster::coordinator
