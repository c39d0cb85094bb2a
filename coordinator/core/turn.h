// One step in progress: the state it works on, the time it happens at, and what it has decided so far.
#ifndef RINGMASTER_COORDINATOR_CORE_TURN_H_
#define RINGMASTER_COORDINATOR_CORE_TURN_H_

#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "coordinator/core/effects.h"
#include "coordinator/core/job.h"
#include "coordinator/core/membership.h"

namespace ringmaster::coordinator {

struct Turn {
  Jobs& jobs;
  Membership& membership;
  uint64_t number;  // of the step; one that is taken back and done again has the same
  absl::Time now;
  absl::Time wall;
  uint64_t entropy = 0;
  Outcome outcome = {};
  std::map<JobId, bool> changed = {};  // value: whether more than progress changed

  // Decides: the record counts from here on, for this step and, once stored, for ever.
  void Emit(Record record) {
    Apply(record, &jobs);
    changed[JobOf(record)] = true;
    outcome.records.push_back(std::move(record));
  }
  void Do(Effect effect) { outcome.effects.push_back(std::move(effect)); }
  void Answer(CallId call, coordinator::Answer answer) { Do(Reply{call, absl::OkStatus(), std::move(answer)}); }
  void Refuse(CallId call, absl::Status status) { Do(Reply{call, std::move(status), {}}); }
  void Say(std::string line) { Do(Announce{std::move(line)}); }

  const Job& job(const JobId& id) const { return jobs.Find(id)->job; }
  JobLive& live(const JobId& id) { return jobs.Mutable(id)->live; }
  Observed& observed(const JobId& id) const { return *jobs.Find(id)->live.observed; }

  // A fresh number: never 0, different at every call.
  uint64_t Draw() {
    uint64_t z = (entropy += 0x9E3779B97F4A7C15);  // splitmix64, https://prng.di.unimi.it/splitmix64.c
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    z ^= z >> 31;
    return z == 0 ? 1 : z;
  }
};

}  // namespace ringmaster::coordinator

#endif  // RINGMASTER_COORDINATOR_CORE_TURN_H_
