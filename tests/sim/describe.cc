#include "tests/sim/describe.h"

#include <variant>

#include "absl/strings/str_cat.h"

namespace ringmaster::sim {
namespace {

using namespace coordinator;  // this file is about its records and effects alone

template <typename T>
std::string Words(const T&) {
  return "";
}
std::string Words(const JobAccepted& r) { return absl::StrCat("accepted ", r.job.value(), " world=", r.spec.world_size); }
std::string Words(const StateChanged& r) {
  return absl::StrCat(r.job.value(), " -> ", Name(r.state), " code=", r.exit_code, " best=", r.best_step, " \"", r.reason, "\"");
}
std::string Words(const EpochOpened& r) {
  std::string text = absl::StrCat(r.job.value(), " opens epoch ", r.epoch.value(), ":");
  for (const RankPlace& place : r.ranks) {
    absl::StrAppend(&text, " ", place.worker.value(), "/", place.slot, place.state == RankState::kAssigned ? "" : "(kept)");
  }
  return text;
}
std::string Words(const RankStartedRecord& r) {
  return absl::StrCat(r.job.value(), "/", r.epoch.value(), "/", r.rank.value(), " started pid=", r.pid);
}
std::string Words(const RankJoinedRecord& r) {
  return absl::StrCat(r.job.value(), "/", r.epoch.value(), "/", r.rank.value(), " joined");
}
std::string Words(const RankEnded& r) {
  return absl::StrCat(r.job.value(), "/", r.epoch.value(), "/", r.rank.value(), " ended ", Name(r.state), " code=", r.exit_code,
                      r.failure.has_value() ? " failure: " + r.failure->reason : "");
}
std::string Words(const ContactLost& r) {
  return absl::StrCat(r.job.value(), "/", r.failure.epoch.value(), "/", r.failure.rank.value(), " ", r.failure.reason);
}
std::string Words(const KeyPublished& r) { return absl::StrCat(r.job.value(), "/", r.epoch.value(), " ", r.key, "=", r.value); }
std::string Words(const ShardReported& r) {
  return absl::StrCat(r.job.value(), "/", r.epoch.value(), " shard step=", r.step, " rank=", r.shard.rank.value());
}
std::string Words(const CheckpointCommitted& r) {
  return absl::StrCat(r.job.value(), " committed step=", r.checkpoint.step, " epoch=", r.checkpoint.epoch.value());
}
std::string Words(const VerdictGiven& r) {
  return absl::StrCat(r.job.value(), "/", r.verdict.epoch.value(), "/", r.verdict.rank.value(), " verdict ", r.verdict.number, " ",
                      Key(r.verdict.fault));
}
std::string Words(const VerdictOver& r) { return absl::StrCat(r.job.value(), " verdict ", r.number, " is over"); }
std::string Words(const CheckpointRefused& r) { return absl::StrCat(r.job.value(), " refused ", r.path); }

std::string Words(const Reply& e) { return absl::StrCat("reply ", e.call.value(), " ", e.status.ToString()); }
std::string Words(const SendWelcome& e) { return absl::StrCat("welcome ", e.stream.value(), " stale=", e.stale.size()); }
std::string Words(const SendAssign& e) {
  return absl::StrCat("assign ", e.stream.value(), " ", e.job.value(), "/", e.epoch.value(), " ranks=", e.ranks.size());
}
std::string Words(const SendStop& e) {
  return absl::StrCat("stop ", e.stream.value(), " ", e.job.value(), "/", e.epoch.value(),
                      e.only.has_value() ? absl::StrCat(" only ", e.only->value()) : "");
}
std::string Words(const SendExitSeen& e) {
  return absl::StrCat("exit seen ", e.stream.value(), " ", e.rank.job.value(), "/", e.rank.epoch.value(), "/", e.rank.rank.value());
}
std::string Words(const CloseStream& e) { return absl::StrCat("close ", e.stream.value(), " ", e.status.ToString()); }

}  // namespace

std::string Describe(const RankKey& rank) {
  return absl::StrCat("rank ", rank.rank.value(), " of ", rank.job.value(), " epoch ", rank.epoch.value());
}
std::string Describe(const coordinator::Record& record) {
  return std::visit([](const auto& one) { return Words(one); }, record);
}
std::string Describe(const coordinator::Effect& effect) {
  return std::visit([](const auto& one) { return Words(one); }, effect);
}

}  // namespace ringmaster::sim
