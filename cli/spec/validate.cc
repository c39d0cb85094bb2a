#include "cli/spec/validate.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/spec/field_checks.h"

namespace ringmaster::cli {
namespace {

void CheckName(FieldChecks& check) {
  if (!check.Written("name")) return check.Missing("name", "give the job a name, such as name: char-gpt");
  const std::string& name = check.spec().name();
  const bool letters =
      std::all_of(name.begin(), name.end(), [](char c) { return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '-'; });
  if (name.empty() || name.size() > 50 || !letters || name.front() == '-' || name.back() == '-') {
    check.Fail("name",
               absl::StrCat("expected 1 to 50 lower-case letters, digits and '-', not at either end, found \"", name, "\""));
  }
}

// False: it is neither kind of job, and nothing more can be said.
bool CheckKind(FieldChecks& check) {
  const bool has_command = check.Written("command");
  const bool has_model = check.Written("model");
  if (has_command && check.spec().command_size() == 0) {
    check.Fail("command", "expected a program and its arguments, found an empty list");
    return false;
  }
  if (has_command && check.spec().command(0).empty()) check.Fail("command[0]", "expected a program, found empty text");
  if (!has_command && !has_model) {
    check.Missing("model", "a job has either a model (the built-in trainer) or a command (any program)");
    return false;
  }
  if (has_command) {
    for (const char* section : {"model", "data", "train", "checkpoint", "parallel"}) {
      if (check.Written(section)) check.Fail(section, "belongs to the built-in trainer and cannot stand beside command");
    }
    if (check.Written("nodes")) check.Between("nodes", check.spec().nodes(), 0, kMaxRanks);
    if (check.Written("slots_per_node")) check.Between("slots_per_node", check.spec().slots_per_node(), 1, kMaxRanks);
    return true;
  }
  for (const char* field : {"nodes", "slots_per_node"}) {
    if (check.Written(field))
      check.Fail(field, "belongs to command jobs; the built-in trainer takes its world size from parallel.data");
  }
  return true;
}

void CheckCheckpoint(FieldChecks& check) {
  if (!check.Written("checkpoint")) return;
  const v1::Checkpoint& checkpoint = check.spec().checkpoint();
  if (checkpoint.directory().empty()) check.Missing("checkpoint.directory", "a directory that every rank reaches");
  check.Between("checkpoint.every_steps", checkpoint.every_steps(), 0);
  if (check.Written("checkpoint.keep") && checkpoint.keep() != 0 && checkpoint.keep() < 2) {
    check.Fail("checkpoint.keep", absl::StrCat("expected at least 2 (the newest may turn out damaged), found ", checkpoint.keep()));
  }
  const std::string& when_busy = checkpoint.when_busy();
  if (!when_busy.empty() && when_busy != "wait" && when_busy != "skip") {
    check.Fail("checkpoint.when_busy", absl::StrCat("expected wait or skip, found \"", when_busy, "\""));
  }
  const int64_t memory_every = checkpoint.memory_every();
  if (!check.Between("checkpoint.memory_every", memory_every, 0) || memory_every == 0 || check.spec().parallel().zero() == 1)
    return;
  check.Fail("checkpoint.memory_every",
             absl::StrCat("expected 0 without parallel.zero 1 (other ranks have the whole state), found ", memory_every));
}

void CheckRestart(FieldChecks& check) {
  check.Between("restart.max_failures", check.spec().restart().max_failures(), 0, 100'000);
  check.Between("restart.warm_spares", check.spec().restart().warm_spares(), 0, 64);
  if (check.spec().restart().warm_spares() > 0 && !check.spec().command().empty()) {
    check.Fail("restart.warm_spares", "a command cannot wait to be told its rank: only jobs with a model can have warm spares");
  }
  const auto seconds = [](const google::protobuf::Duration& duration) {
    return static_cast<double>(duration.seconds()) + 1e-9 * duration.nanos();
  };
  if (check.spec().restart().has_backoff() && check.spec().restart().has_backoff_max() &&
      seconds(check.spec().restart().backoff()) > seconds(check.spec().restart().backoff_max())) {
    check.Fail("restart.backoff",
               absl::StrFormat("expected at most backoff_max (%gs), found %gs", seconds(check.spec().restart().backoff_max()),
                               seconds(check.spec().restart().backoff())));
  }
  if (check.spec().restart().has_hang_after() && seconds(check.spec().restart().hang_after()) < 1) {
    check.Fail("restart.hang_after",
               absl::StrFormat("expected at least 1s, found %gs", seconds(check.spec().restart().hang_after())));
  }
  if (check.spec().has_time_limit() && seconds(check.spec().time_limit()) <= 0)
    check.Fail("time_limit", "expected more than 0; leave it out for no limit");
  if (check.spec().has_collective_timeout() && seconds(check.spec().collective_timeout()) < 1) {
    check.Fail("collective_timeout",
               absl::StrFormat("expected at least 1s, found %gs", seconds(check.spec().collective_timeout())));
  }
}

void CheckEnvironment(FieldChecks& check) {
  for (const auto& [name, value] : check.spec().env()) {
    const std::string path = absl::StrCat("env.", name);
    const bool letters = std::all_of(name.begin(), name.end(), [](char c) { return absl::ascii_isalnum(c) || c == '_'; });
    if (name.empty() || !letters || absl::ascii_isdigit(name[0])) {
      check.Fail(path, "expected a variable name of letters, digits and '_'");
    } else if (absl::StartsWith(name, "RINGMASTER_")) {
      check.Fail(path, "names that begin with RINGMASTER_ are set by Ringmaster itself");
    }
  }
}

}  // namespace

void ValidateJobSpec(const v1::JobSpec& spec, const FieldLocations& locations, const std::string& source,
                     Diagnostics* diagnostics) {
  FieldChecks check(spec, locations, source, diagnostics);
  CheckName(check);
  if (!CheckKind(check)) return;
  if (spec.command_size() == 0) {
    CheckLayout(check);
    CheckModel(check);
    CheckData(check);
    CheckTrain(check);
    CheckCheckpoint(check);
  }
  CheckRestart(check);
  CheckEnvironment(check);
}

}  // namespace ringmaster::cli
