// Knows what really happened in the simulated cluster and compares it with what the coordinator decides. The core's own invariants
// (coordinator/core/invariants.h) run after every step; the ones of the cluster as a whole are here.
#ifndef RINGMASTER_TESTS_SIM_ORACLE_H_
#define RINGMASTER_TESTS_SIM_ORACLE_H_

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "coordinator/core/invariants.h"
#include "coordinator/core/machine.h"
#include "tests/model/job_record.h"
#include "tests/sim/timeline.h"
#include "tests/sim/trace.h"
#include "worker/core/worker_machine.h"

namespace ringmaster::sim {

class Oracle {
 public:
  Oracle(const Timeline& timeline, Trace& trace) : timeline_(timeline), trace_(trace) {}

  // The first broken promise, or OK.
  const absl::Status& status() const { return status_; }
  template <typename... Parts>
  void Violate(const Parts&... parts) {
    if (!status_.ok()) return;
    status_ = absl::InternalError(absl::StrCat(parts...));
    trace_.Note("BROKEN: ", parts...);
  }

  // --- The coordinator ---
  void CoordinatorReplayed(const coordinator::Machine& machine, const std::vector<coordinator::Record>& stored);
  void CoordinatorCrashed() { Disturbed(); }
  void CoordinatorStepped(const coordinator::Machine& machine, const coordinator::Outcome& outcome);
  // It was away, or could not store.
  void Disturbed() { last_restart_ = timeline_.now(); }

  // --- Faults, as they are made ---
  void Hurt(const coordinator::RankIdentity& rank, int exit_code);
  // A process stands still (`steps`: while its group steps), and gets on.
  void Frozen(Incarnation incarnation, bool steps);
  void Thawed(Incarnation incarnation);
  // Any rank of this host may be lost now, and any peer of one may notice first.
  void HurtHost(const WorkerId& host);
  void HostSilent(const WorkerId& host, Incarnation incarnation);  // until HostHeard was called as often
  void HostHeard(const WorkerId& host);
  void HurtNetwork() { last_network_ = timeline_.now(); }
  // Who is to blame for the end of this epoch cannot be told.
  void Blur(const JobId& job, Epoch epoch) { blurred_.insert({job, epoch}); }

  // --- Processes ---
  // `host`: a worker in one life.
  void ProcessStarted(const RankKey& rank, Incarnation incarnation, const WorkerId& host);
  void ProcessEnded(Incarnation incarnation, int exit_code);
  // `outlives_guard`: and its guard's SIGKILL.
  void IgnoresSigterm(Incarnation incarnation, bool outlives_guard) { stubborn_[incarnation] = outlives_guard; }
  // Its worker, told to keep it, says that it has, or had it.
  void MustHaveRun(Incarnation incarnation, const WorkerId& host);
  void Kept(Incarnation incarnation, const RankKey& to);
  // It goes on by itself, as the coordinator told it.
  void Moved(const coordinator::RankIdentity& from, const coordinator::RankIdentity& to);
  void Joined(const coordinator::RankIdentity& identity, int world_size);
  void Published(const RankKey& rank, const std::string& value) { values_[rank] = value; }
  void Read(const RankKey& reader, Rank of, const std::string& value);

  // --- Answers ---
  // Called inside the step that answered. `repeated`: the network delivered it a second time, perhaps late.
  void CheckReply(const coordinator::Machine& machine, const coordinator::RankIdentity& identity, const char* call,
                  const absl::Status& status, bool repeated);
  void Acknowledged(const JobId& job) { jobs_.insert(job); }
  void CancelRequested(const JobId& job) { cancel_requests_.insert(job); }
  void AcknowledgedCancel(const JobId& job) { cancels_.insert(job); }
  void AcknowledgedCommit(const JobId& job, int64_t step) { commits_[job] = std::max(commits_[job], step); }
  void Damaged(const JobId& job) { damaged_.insert(job); }

  // --- From time to time ---
  void CheckNoticed(const coordinator::Machine& machine);
  // When all is over.
  void CheckEnds(const coordinator::Machine& machine);

  int64_t steps() const { return steps_; }

 private:
  // A process.
  struct Truth {
    RankKey rank;  // as its worker knows it
    WorkerId host;
    std::optional<absl::Time> ended;
    int exit_code = 0;
  };
  struct Injury {
    Incarnation incarnation;
    int exit_code = 0;
    absl::Time time;
  };
  struct Standstill {
    absl::Time since;
    absl::Time until = absl::InfiniteFuture();
    bool steps = false;
  };
  // For one reason or several.
  struct Silence {
    Incarnation incarnation;  // of the worker when it began
    absl::Time since;
    int reasons = 0;
  };
  // A rank of the current epoch, as far as the records tell.
  struct Booked {
    WorkerId worker;
    Incarnation incarnation;
    bool joined = false;  // in this epoch
    bool stays = false;
    bool ended = false;
  };

  void CheckRecord(const coordinator::Machine& machine, const coordinator::Record& record);
  // The change is one that the model of tests/model allows.
  void CheckModel(const coordinator::Record& record);
  void CheckOpened(const coordinator::Machine& machine, const coordinator::Job& job, const coordinator::EpochOpened& opened);
  void CheckKept(const coordinator::Job& job, const coordinator::EpochOpened& opened, const coordinator::Failure* cause);
  void CheckState(const coordinator::Job& job, const coordinator::StateChanged& changed);
  void CheckRankEnded(const coordinator::Job& job, const coordinator::RankEnded& ended);
  void CheckFailure(const coordinator::Job& job, const coordinator::Failure& failure);
  // `epoch`: the one whose ranks are booked now.
  void CheckCause(const coordinator::Job& job, Epoch epoch);
  void CheckWaiters(const coordinator::JobEntry& entry);
  void CheckVerdict(const coordinator::JobEntry& entry);
  void CheckHangs(const coordinator::JobEntry& entry);
  void CheckGrowth(const coordinator::Machine& machine, const coordinator::JobEntry& entry);
  void CheckUnwanted(const coordinator::Machine& machine);
  void CheckAcknowledged(const coordinator::Machine& machine);
  void CheckEnd(const coordinator::Job& job);
  bool QuietSince(absl::Time time) const;
  bool HostHurtSince(const WorkerId& host, absl::Time time) const;
  bool AnyInjury(const coordinator::Job& job) const;
  bool StoodStillSince(Incarnation incarnation, absl::Time time) const;
  absl::Duration SecondLongestStandstill(const coordinator::Job& job, absl::Time before) const;
  Booked* Book(const JobId& job, Epoch epoch, Rank rank);  // null: of another epoch
  absl::Time OpenedAt(const JobId& job) const;

  const Timeline& timeline_;
  Trace& trace_;
  absl::Status status_;
  int64_t steps_ = 0;

  coordinator::InvariantChecker checker_;
  std::map<JobId, Epoch> epochs_;
  std::set<uint64_t> incarnations_;
  std::map<JobId, absl::Time> opened_;      // the current epoch
  std::map<JobId, Epoch> ran_;              // the last epoch in which every rank was there
  std::map<JobId, absl::Time> recovering_;  // since when, if the back-off is owed
  std::map<JobId, std::vector<Booked>> books_;
  std::map<JobId, model::JobRecord> model_;
  std::map<JobId, absl::Time> shrunk_;  // when a rank of it ceased to count

  std::map<Incarnation, Truth> truths_;
  std::map<RankKey, Incarnation> owners_;  // every process that ever was this rank: one
  std::map<Incarnation, bool> stubborn_;
  std::map<Incarnation, std::vector<Standstill>> standstills_;
  std::map<Incarnation, absl::Time> unwanted_;  // lives and does not count, since when
  std::map<JobId, absl::Time> hungry_;          // elastic, could grow, since when
  std::map<JobId, std::vector<Injury>> injuries_;
  std::map<WorkerId, absl::Time> hurt_hosts_;
  std::map<WorkerId, Silence> silent_;
  std::set<std::pair<JobId, Epoch>> blurred_;
  absl::Time last_network_ = absl::InfinitePast();
  absl::Time last_restart_ = absl::InfinitePast();

  std::map<RankKey, std::string> values_;
  std::set<JobId> jobs_;
  std::set<JobId> cancels_;
  std::set<JobId> cancel_requests_;
  std::set<JobId> damaged_;
  std::map<JobId, int64_t> commits_;
};

}  // namespace ringmaster::sim

#endif  // RINGMASTER_TESTS_SIM_ORACLE_H_
