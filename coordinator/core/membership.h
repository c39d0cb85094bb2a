// The workers: who is attached, in which life, until when a silent one counts. Not written to the store: after a restart of the
// coordinator workers attach again. Pure; now is an argument.
#ifndef RINGMASTER_COORDINATOR_CORE_MEMBERSHIP_H_
#define RINGMASTER_COORDINATOR_CORE_MEMBERSHIP_H_

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "coordinator/core/events.h"
#include "coordinator/core/types.h"

namespace ringmaster::coordinator {

struct Worker {
  WorkerId id;
  Incarnation incarnation;
  std::string address;
  int slots = 0;
  int cores = 0;
  std::string version;
  int master_port = 0;
  std::optional<StreamId> stream;  // attached when set
  absl::Time last_heard;
  bool alive = false;           // its ranks count: attached, or gone for less than its time
  absl::Time lost_at;           // when alive: it stops being so unless it is heard
  std::string silence;          // why it would be lost at lost_at: "no heartbeat for 5.0 s"
  std::string gone_reason;      // when not alive, in words
  bool has_broken_off = false;  // its connection ended: its process did, or said goodbye; else it was only not heard
};

class Membership {
 public:
  struct Options {
    absl::Duration lease = absl::Seconds(5);
    absl::Duration reattach_grace = absl::Seconds(15);
  };
  // A broken stream is news: from then on a worker has this long, even if its lease is longer.
  static constexpr absl::Duration kDisconnectedLimit = absl::Seconds(5);

  explicit Membership(const Options& options) : options_(options) {}

  // Rollback() undoes everything since the last Mark().
  void Mark();
  void Rollback();
  // Whether since the last Mark() a worker came, went, or lost its stream. True before the first.
  bool changed() const { return changed_; }

  struct Attached {
    std::optional<StreamId> superseded;  // an older stream of the same worker: close it
    bool new_life = false;               // ranks of the life before are gone
  };
  // ALREADY_EXISTS: another process with this name is attached and was heard of lately.
  absl::StatusOr<Attached> Attach(const WorkerHello& hello, absl::Time now);

  // After a restart: a worker that holds ranks may come back until now + reattach_grace.
  void Expect(const WorkerId& worker, Incarnation incarnation, const std::string& address, absl::Time now);

  // Null when the stream is not the current one of any worker.
  const Worker* FindByStream(StreamId stream) const;
  const Worker* Find(const WorkerId& worker) const;
  bool IsAlive(const WorkerId& worker, Incarnation incarnation) const;

  void Heard(StreamId stream, int master_port, absl::Time now);
  void Disconnected(StreamId stream, absl::Time now);
  void Left(StreamId stream, const std::string& reason);
  // Nobody was listened to for a while: who counts as alive has its whole time again from now.
  void Extend(absl::Time now);

  // Workers whose time is over are no longer alive afterwards. Returns the streams that are still open to them.
  std::vector<StreamId> Expire(absl::Time now);

  absl::Time NextDeadline() const;
  const std::map<WorkerId, Worker>& workers() const { return workers_; }
  const Options& options() const { return options_; }

 private:
  // The only ways to change a worker: they keep what Rollback() needs.
  Worker& Change(const WorkerId& worker);
  Worker* ChangeByStream(StreamId stream);
  void SetStream(Worker& worker, std::optional<StreamId> stream);
  void SetDeadline(Worker& worker, absl::Time lost_at);
  void ForgetOldest();

  Options options_;
  std::map<WorkerId, Worker> workers_;
  std::map<StreamId, WorkerId> by_stream_;
  absl::Time first_deadline_ = absl::InfinitePast();  // no worker's time is over before
  bool changed_ = true;
  std::map<WorkerId, std::optional<Worker>> before_;  // as at the last Mark(); nothing: it was not known
};

}  // namespace ringmaster::coordinator

#endif  // RINGMASTER_COORDINATOR_CORE_MEMBERSHIP_H_
