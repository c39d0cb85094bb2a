// Turns the stream of a job's states into what `run` and `watch` show: a live line on a terminal, plain lines elsewhere, or JSON
// objects. Knows nothing of clocks and terminals: time and width come in.
#ifndef RINGMASTER_CLI_JOB_REPORTER_H_
#define RINGMASTER_CLI_JOB_REPORTER_H_

#include <ostream>
#include <string>

#include "absl/time/time.h"
#include "common/mutex.h"
#include "proto/job.pb.h"
#include "proto/job_service.pb.h"

namespace ringmaster::cli {

struct ReporterOptions {
  bool json = false;
  bool live = false;  // err is a terminal: redraw one line
  size_t width = 0;   // of that terminal
  bool color = false;
  std::string log_directory = {};  // of this process's own worker; "" = workers are elsewhere
};

// Thread-safe: states come from one thread, log lines from another.
class JobReporter {
 public:
  // JSON objects go to `out`, everything for people to `err`; both outlive this.
  JobReporter(const ReporterOptions& options, const v1::JobSpec& spec, std::ostream* out, std::ostream* err);

  void OnSubmitted(const std::string& job, const std::string& coordinator);
  void OnStatus(const v1::JobStatus& status, absl::Time now);
  // Lines of ranks: stdout of a command job's rank stays on stdout, the rest goes to stderr.
  void OnLog(const v1::LogLine& line);
  // For people, above the live line.
  void Note(const std::string& text);
  // The last word about a finished job.
  void OnFinished(const v1::JobStatus& status);

 private:
  void ReportChanges(const v1::JobStatus& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool ProgressIsNews(const v1::JobStatus& status, absl::Time now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Person(const std::string& text) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Json(const std::string& line) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Draw(const std::string& line) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void EraseLiveLine() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::string Bold(const std::string& text) const;

  const ReporterOptions options_;
  const double units_per_step_;
  const v1::JobSpec spec_;
  Mutex mu_;
  std::ostream& out_ ABSL_GUARDED_BY(mu_);
  std::ostream& err_ ABSL_GUARDED_BY(mu_);
  v1::JobStatus last_ ABSL_GUARDED_BY(mu_);
  absl::Time last_line_ ABSL_GUARDED_BY(mu_) = absl::InfinitePast();
  std::string drawn_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ringmaster::cli

#endif  // RINGMASTER_CLI_JOB_REPORTER_H_
