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
    // Two missed heartbeats: the old process is gone and its connection has not noticed yet.
    const bool heard_lately = known.stream.has_value() && now - known.last_heard <= options_.lease * 2 / 3;
    if (!same_life && heard_lately) {
      return absl::AlreadyExistsError(absl::StrCat("worker \"", hello.worker.value(), "\" is attached from ", known.address,
                                                   " and alive; give this one another name with --name"));
    }
    if (known.stream.has_value() && *known.stream != hello.stream) attached.superseded = known.stream;
    attached.new_life = !same_life;
  }
  Worker& worker = workers_[hello.worker];
  worker = Worker{.id = hello.worker,
                  .incarnation = hello.incarnation,
                  .address = hello.address,
                  .slots = hello.slots,
                  .cores = hello.cores,
                  .version = hello.version,
                  .master_port = hello.master_port,
                  .stream = hello.stream,
                  .last_heard = now,
                  .alive = true,
                  .lost_at = now + options_.lease,
                  .silence = absl::StrCat("no heartbeat for ", InSeconds(options_.lease)),
                  .gone_reason = ""};
  ForgetOldest();
  return attached;
}

void Membership::Expect(const WorkerId& id, Incarnation incarnation, const std::string& address, absl::Time now) {
  Worker& worker = workers_[id];
  worker = Worker{};
  worker.id = id;
  worker.incarnation = incarnation;
  worker.address = address;
  worker.last_heard = now;
  worker.alive = true;
  worker.lost_at = now + options_.reattach_grace;
  worker.silence = absl::StrCat("did not come back within ", InSeconds(options_.reattach_grace), " of the coordinator's restart");
}

const Worker* Membership::FindByStream(StreamId stream) const {
  for (const auto& [id, worker] : workers_) {
    if (worker.stream == stream) return &worker;
  }
  return nullptr;
}

Worker* Membership::MutableByStream(StreamId stream) { return const_cast<Worker*>(FindByStream(stream)); }

const Worker* Membership::Find(const WorkerId& worker) const {
  const auto it = workers_.find(worker);
  return it == workers_.end() ? nullptr : &it->second;
}

bool Membership::IsAlive(const WorkerId& id, Incarnation incarnation) const {
  const Worker* worker = Find(id);
  return worker != nullptr && worker->alive && worker->incarnation == incarnation;
}

void Membership::Heard(StreamId stream, int master_port, absl::Time now) {
  Worker* worker = MutableByStream(stream);
  if (worker == nullptr) return;
  worker->last_heard = now;
  worker->lost_at = now + options_.lease;
  if (master_port > 0) worker->master_port = master_port;
}

void Membership::Disconnected(StreamId stream, absl::Time now) {
  Worker* worker = MutableByStream(stream);
  if (worker == nullptr) return;
  const absl::Duration limit = std::min(options_.lease, kDisconnectedLimit);
  worker->stream.reset();
  worker->lost_at = now + limit;
  worker->silence = absl::StrCat("its connection broke and it did not come back within ", InSeconds(limit));
}

void Membership::Left(StreamId stream, const std::string& reason) {
  Worker* worker = MutableByStream(stream);
  if (worker == nullptr) return;
  worker->alive = false;
  worker->stream.reset();
  worker->gone_reason = reason.empty() ? "it was stopped" : absl::StrCat("it was stopped: ", reason);
}

void Membership::Extend(absl::Time now) {
  for (auto& [id, worker] : workers_) {
    if (!worker.alive) continue;
    const absl::Duration limit = worker.stream.has_value() ? options_.lease : std::min(options_.lease, kDisconnectedLimit);
    worker.lost_at = std::max(worker.lost_at, now + limit);
  }
}

std::vector<StreamId> Membership::Expire(absl::Time now) {
  std::vector<StreamId> open;
  for (auto& [id, worker] : workers_) {
    if (!worker.alive || worker.lost_at > now) continue;
    worker.alive = false;
    worker.gone_reason = worker.silence;
    if (worker.stream.has_value()) open.push_back(*worker.stream);
    worker.stream.reset();
  }
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
    workers_.erase(oldest);
  }
}

}  // namespace ringmaster::coordinator
