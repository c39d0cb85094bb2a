#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/command_support.h"
#include "collectives/flight/read_flight_records.h"
#include "common/exit_codes.h"

namespace ringmaster::cli {
namespace {

const char* NameOf(FlightState state) {
  switch (state) {
    case FlightState::kNone: return "unused";
    case FlightState::kStarted: return "in progress";
    case FlightState::kFinished: return "finished";
    case FlightState::kFailed: return "failed";
  }
  return "unknown";
}

std::string DescribeOperation(const FlightOperation& operation) {
  return Describe({.operation = operation.operation,
                   .type = operation.type,
                   .reduction = operation.reduction,
                   .root = operation.root,
                   .count = operation.count});
}

void Print(const FlightRecord& record, std::ostream& out) {
  out << absl::StrFormat("rank %d of %d in group %s: %d operations begun\n", record.rank, record.size, record.group, record.begun);
  for (const FlightOperation& operation : record.operations) {
    if (operation.torn) {
      out << absl::StrFormat("%10d  being written\n", operation.sequence);
      continue;
    }
    out << absl::StrFormat("%10d  %s  %12s  %-11s  %s", operation.sequence,
                           absl::FormatTime("%H:%M:%E6S", operation.started, absl::LocalTimeZone()),
                           absl::FormatDuration(absl::Trunc(operation.duration, absl::Nanoseconds(100))), NameOf(operation.state),
                           DescribeOperation(operation));
    if (operation.state == FlightState::kFailed) out << "  " << absl::StatusCodeToString(operation.code);
    if (operation.state == FlightState::kStarted && operation.waits_for >= 0) out << "  waits for rank " << operation.waits_for;
    out << "\n";
  }
}

nlohmann::ordered_json Json(const FlightRecord& record) {
  nlohmann::ordered_json operations = nlohmann::ordered_json::array();
  for (const FlightOperation& operation : record.operations) {
    if (operation.torn) {
      operations.push_back({{"sequence", operation.sequence}, {"state", "being written"}});
      continue;
    }
    operations.push_back({{"sequence", operation.sequence},
                          {"state", NameOf(operation.state)},
                          {"operation", ringmaster::NameOf(operation.operation)},
                          {"type", ringmaster::NameOf(operation.type)},
                          {"reduction", ringmaster::NameOf(operation.reduction)},
                          {"count", operation.count},
                          {"bytes", operation.bytes},
                          {"root", operation.root},
                          {"waits_for", operation.waits_for},
                          {"started", absl::ToDoubleSeconds(operation.started - absl::UnixEpoch())},
                          {"seconds", absl::ToDoubleSeconds(operation.duration)},
                          {"code", absl::StatusCodeToString(operation.code)}});
  }
  return {
      {"group", record.group}, {"rank", record.rank}, {"size", record.size}, {"begun", record.begun}, {"operations", operations}};
}

}  // namespace

int FlightRecordCommand(const CommonOptions& common, int64_t pid, const Surroundings& world) {
  const auto records = ReadFlightRecords(pid, world.clock);
  if (!records.ok()) return Fail(records.status(), world);
  if (common.json) {
    nlohmann::ordered_json groups = nlohmann::ordered_json::array();
    for (const FlightRecord& record : *records) groups.push_back(Json(record));
    world.out << nlohmann::ordered_json({{"groups", groups}}).dump() << std::endl;
  } else {
    for (const FlightRecord& record : *records) Print(record, world.out);
    world.out << std::flush;
  }
  return kExitSucceeded;
}

}  // namespace ringmaster::cli
