#include "cli/job_reporter.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "cli/exit_code.h"
#include "cli/job_json.h"
#include "cli/job_text.h"

namespace ringmaster::cli {
namespace {

bool IsSameFailure(const v1::Failure& a, const v1::Failure& b) {
  return a.epoch() == b.epoch() && a.rank() == b.rank() && a.exit_code() == b.exit_code();
}

// The oldest are dropped, so they are told apart by what they say and not by count.
bool IsKnown(const v1::Verdict& verdict, const v1::JobStatus& status) {
  return std::any_of(status.verdicts().begin(), status.verdicts().end(), [&](const v1::Verdict& other) {
    return verdict.epoch() == other.epoch() && verdict.text() == other.text() &&
           verdict.since().seconds() == other.since().seconds();
  });
}

}  // namespace

JobReporter::JobReporter(const ReporterOptions& options, const v1::JobSpec& spec, std::ostream* out, std::ostream* err)
    : options_(options), units_per_step_(UnitsPerStep(spec)), spec_(spec), out_(*out), err_(*err) {}

void JobReporter::OnSubmitted(const std::string& job, const std::string& coordinator) {
  MutexLock lock(&mu_);
  if (options_.json) return Json(SubmittedEventJson(job, coordinator));
  Person(absl::StrCat("job ", job, " submitted; from another terminal: ringmaster status --coordinator ", coordinator));
}

void JobReporter::OnStatus(const v1::JobStatus& status, absl::Time now) {
  MutexLock lock(&mu_);
  ReportChanges(status);
  if (!IsFinished(status.state()) && ProgressIsNews(status, now)) {
    last_line_ = now;
    if (options_.json) {
      Json(ProgressEventJson(status));
    } else if (!options_.live) {
      Person(ProgressLine(status, units_per_step_, 0));
    }
  }
  if (options_.live && !options_.json && !IsFinished(status.state())) Draw(ProgressLine(status, units_per_step_, options_.width));
  last_ = status;
}

void JobReporter::ReportChanges(const v1::JobStatus& status) {
  const std::string& job = status.job_id();
  for (int i = 0; i < status.failures_size(); ++i) {
    // "It lost contact" gives way to the death of the other rank as soon as that is known.
    if (i < last_.failures_size() && IsSameFailure(last_.failures(i), status.failures(i))) continue;
    options_.json ? Json(FailureEventJson(job, status.failures(i))) : Person(Bold(FailureLine(status.failures(i))));
  }
  for (int i = last_.epochs_size(); i < status.epochs_size(); ++i) {
    const v1::EpochInfo& epoch = status.epochs(i);
    options_.json ? Json(EpochEventJson(job, epoch))
                  : Person(absl::StrCat("epoch ", epoch.epoch(), ": ", epoch.world_size(), " ranks (", epoch.reason(), ")"));
  }
  for (const v1::Verdict& verdict : status.verdicts()) {
    if (IsKnown(verdict, last_)) continue;
    options_.json ? Json(VerdictEventJson(job, verdict)) : Person(VerdictLine(verdict));
  }
  // Retention drops old ones, so they are told apart by step and not by count.
  const int64_t known = last_.checkpoints().empty() ? -1 : last_.checkpoints().rbegin()->step();
  for (const v1::CheckpointInfo& checkpoint : status.checkpoints()) {
    if (checkpoint.step() <= known) continue;
    options_.json ? Json(CheckpointEventJson(job, checkpoint))
                  : Person(absl::StrCat("checkpoint of step ", checkpoint.step(), ": ", checkpoint.path()));
  }
  if (status.state() != last_.state() || status.reason() != last_.reason()) {
    if (options_.json) {
      Json(StateEventJson(status));
    } else if (!IsFinished(status.state()) && status.state() != v1::JOB_STATE_RUNNING) {
      Person(absl::StrCat(StateName(status.state()), status.reason().empty() ? "" : absl::StrCat(": ", status.reason())));
    }
  }
}

bool JobReporter::ProgressIsNews(const v1::JobStatus& status, absl::Time now) const {
  const v1::Progress& progress = status.progress();
  if (progress.total_steps() <= 0) return false;  // a command that reports nothing
  if (progress.has_validation_loss() && progress.validation_step() != last_.progress().validation_step()) return true;
  if (progress.has_validation_loss() != last_.progress().has_validation_loss()) return true;
  if (progress.step() == last_.progress().step()) return false;
  return options_.json || now - last_line_ >= absl::Seconds(1);
}

void JobReporter::OnLog(const v1::LogLine& line) {
  MutexLock lock(&mu_);
  if (line.dropped_before() > 0)
    Person(absl::StrCat("[rank ", line.rank(), "] (", line.dropped_before(), " lines were dropped here)"));
  if (!line.is_stderr() && spec_.command_size() > 0 && !options_.json) {
    EraseLiveLine();
    out_ << line.text() << std::endl;
    return;
  }
  Person(absl::StrCat("[rank ", line.rank(), "] ", line.text()));
}

void JobReporter::Note(const std::string& text) {
  MutexLock lock(&mu_);
  Person(text);
}

void JobReporter::OnFinished(const v1::JobStatus& status) {
  MutexLock lock(&mu_);
  EraseLiveLine();
  drawn_.clear();
  ReportChanges(status);
  last_ = status;
  if (status.state() == v1::JOB_STATE_FAILED) {
    std::string report = FailureReport(status, options_.log_directory);
    if (!report.empty()) report.pop_back();  // Person ends the line
    Person(report);
  }
  if (options_.json) return Json(FinishedEventJson(status));
  std::string summary = Summary(status, spec_);
  summary.pop_back();
  Person(status.state() == v1::JOB_STATE_FAILED ? summary : Bold(summary));
}

void JobReporter::Person(const std::string& text) {
  EraseLiveLine();
  err_ << text << '\n';
  if (!drawn_.empty()) err_ << drawn_;
  err_.flush();
}

void JobReporter::Json(const std::string& line) { out_ << line << std::endl; }

void JobReporter::Draw(const std::string& line) {
  EraseLiveLine();
  drawn_ = line;
  err_ << drawn_ << std::flush;
}

void JobReporter::EraseLiveLine() {
  if (!drawn_.empty()) err_ << "\r\033[K";
}

std::string JobReporter::Bold(const std::string& text) const {
  return options_.color ? absl::StrCat("\033[1m", text, "\033[0m") : text;
}

}  // namespace ringmaster::cli
