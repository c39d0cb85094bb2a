#include "trainer/resume.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "trainer/checkpoint/reader.h"
#include "trainer/model_state.h"

namespace ringmaster::trainer {
namespace {

// What rank 0 broadcasts: fixed size, so that one collective is enough.
struct SharedChoice {
  int64_t code;  // absl::StatusCode
  int64_t step;
  char text[8176];  // path or message, ended by a zero
};
static_assert(sizeof(SharedChoice) == 8192);

absl::StatusOr<ResumeChoice> Examine(const std::string& path, const ResumeRequest& request) {
  RM_ASSIGN_OR_RETURN(CheckpointReader reader, CheckpointReader::Open(path));
  RM_RETURN_IF_ERROR(CheckFingerprint(reader, request.fingerprint));
  if (reader.manifest().step() > request.steps) {
    return absl::FailedPreconditionError(
        absl::StrCat(reader.path(), ": found step ", reader.manifest().step(), ", expected at most train.steps = ", request.steps));
  }
  RM_RETURN_IF_ERROR(reader.Verify());
  return ResumeChoice{.path = reader.path(), .step = reader.manifest().step()};
}

}  // namespace

absl::StatusOr<ResumeChoice> ChooseCheckpoint(const v1::JoinResponse& join, CoordinatorLink& link, const ResumeRequest& request) {
  const std::string& resume = join.spec().checkpoint().resume();
  absl::Status last = absl::OkStatus();
  for (const v1::CheckpointInfo& checkpoint : join.checkpoints()) {
    const auto choice = Examine(checkpoint.path(), request);
    if (choice.ok()) return choice;
    last = choice.status();
    request.warn(absl::StrCat("checkpoint refused: ", last.message()));
    // The one that the user named belongs to no ledger.
    if (checkpoint.path() != resume) {
      RM_RETURN_IF_ERROR(link.RefuseCheckpoint(checkpoint.path(), std::string(last.message()), request.timeout));
    }
  }
  if (!resume.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("checkpoint.resume: ", last.ok() ? "the coordinator did not pass it on" : last.message()));
  }
  if (!last.ok()) request.warn("no checkpoint of this job is good: it begins at step 0 again");
  return ResumeChoice{};
}

absl::StatusOr<ResumeChoice> ShareChoice(Communicator& communicator, const absl::StatusOr<ResumeChoice>& choice,
                                         absl::Duration timeout) {
  SharedChoice shared{};
  if (communicator.rank() == 0) {
    shared.code = static_cast<int64_t>(choice.status().code());
    shared.step = choice.ok() ? choice->step : 0;
    const std::string text = choice.ok() ? choice->path : std::string(choice.status().message());
    if (choice.ok() && text.size() >= sizeof(shared.text)) {
      return absl::InvalidArgumentError(
          absl::StrCat("checkpoint path of ", text.size(), " characters, expected less than ", sizeof(shared.text)));
    }
    std::memcpy(shared.text, text.data(), std::min(text.size(), sizeof(shared.text) - 1));
  }
  RM_RETURN_IF_ERROR(communicator.Broadcast(&shared, sizeof(shared), DataType::kU8, /*root=*/0, timeout));
  shared.text[sizeof(shared.text) - 1] = '\0';
  if (shared.code != 0) return absl::Status(static_cast<absl::StatusCode>(shared.code), shared.text);
  return ResumeChoice{.path = shared.text, .step = shared.step};
}

std::string CheckpointRoot(const v1::JobSpec& spec, const JobId& job) {
  if (spec.checkpoint().directory().empty()) return "";
  std::error_code error;
  return (std::filesystem::absolute(spec.checkpoint().directory(), error) / job.value()).lexically_normal();
}

}  // namespace ringmaster::trainer
