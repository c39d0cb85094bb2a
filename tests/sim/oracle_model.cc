// A run conforms to the model: each record, as a change of tests/model/job_record.h, is one that the model allows.
#include <optional>
#include <variant>

#include "tests/sim/describe.h"
#include "tests/sim/oracle.h"

namespace ringmaster::sim {
namespace {

using coordinator::JobState;

model::Phase PhaseOf(JobState state) {
  switch (state) {
    case JobState::kPending: return model::Phase::kPending;
    case JobState::kStarting: return model::Phase::kStarting;
    case JobState::kRunning: return model::Phase::kRunning;
    case JobState::kRecovering: return model::Phase::kRecovering;
    case JobState::kDraining: return model::Phase::kDraining;
    default: return model::Phase::kFinished;
  }
}

using Change = std::optional<model::Change>;

// Keys, shards, contacts and acceptance change nothing that the model knows.
template <typename Record>
Change ChangeOf(const Record&) {
  return std::nullopt;
}
Change ChangeOf(const coordinator::EpochOpened& record) {
  model::Open open{record.epoch.value(), {}};
  for (const coordinator::RankPlace& place : record.ranks) open.processes.push_back(place.incarnation.value());
  return open;
}
Change ChangeOf(const coordinator::RankStartedRecord& record) { return model::Start{record.epoch.value(), record.rank.value()}; }
Change ChangeOf(const coordinator::RankJoinedRecord& record) {
  return model::Join{record.epoch.value(), record.rank.value(), record.stays};
}
Change ChangeOf(const coordinator::RankEnded& record) { return model::End{record.epoch.value(), record.rank.value()}; }
Change ChangeOf(const coordinator::CheckpointCommitted& record) { return model::Commit{record.checkpoint.epoch.value()}; }
Change ChangeOf(const coordinator::StateChanged& record) {
  return model::Move{PhaseOf(record.state), record.outcome == JobState::kSucceeded};
}

}  // namespace

void Oracle::CheckModel(const coordinator::Record& record) {
  const Change change = std::visit([](const auto& one) { return ChangeOf(one); }, record);
  if (!change.has_value()) return;
  if (const std::string why = model::Take(*change, &model_[JobOf(record)]); !why.empty()) {
    Violate("the model does not allow: ", Describe(record), ": ", why);
  }
}

}  // namespace ringmaster::sim
