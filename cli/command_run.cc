#include <unistd.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "cli/command_support.h"
#include "cli/exit_code.h"
#include "cli/job_json.h"
#include "cli/job_text.h"
#include "cli/request_id.h"
#include "cli/run_here.h"
#include "cli/signals.h"
#include "cli/spec/local_checks.h"
#include "cli/spec/spec_parser.h"
#include "common/log.h"
#include "common/mutex.h"
#include "common/status_macros.h"
#include "common/usable_cores.h"
#include "coordinator/coordinator.h"
#include "worker/worker.h"

namespace ringmaster::cli {
namespace {

// The job that Ctrl-C cancels, once there is one.
class CancelTarget {
 public:
  void Set(JobClient* client, const std::string& job) {
    bool late;
    {
      MutexLock lock(&mu_);
      client_ = client;
      job_ = job;
      late = wanted_;
    }
    if (late) Cancel();
  }

  void Clear() {
    MutexLock lock(&mu_);
    client_ = nullptr;
  }

  // Called from the signal thread. A cancel before the job exists happens as soon as it does.
  void Cancel() {
    JobClient* client;
    std::string job;
    {
      MutexLock lock(&mu_);
      wanted_ = true;
      client = client_;
      job = job_;
    }
    if (client != nullptr) (void)client->Cancel(job);  // FAILED_PRECONDITION: it has just finished by itself
  }

 private:
  Mutex mu_;
  JobClient* client_ ABSL_GUARDED_BY(mu_) = nullptr;
  std::string job_ ABSL_GUARDED_BY(mu_);
  bool wanted_ ABSL_GUARDED_BY(mu_) = false;
};

int SlotsFor(const v1::JobSpec& spec) { return std::max(UsableCores(), WorldSize(spec)); }

// Where the ranks of an embedded run go: all of them here.
v1::PlanJobResponse LocalPlan(const v1::JobSpec& spec) {
  char host[256] = "localhost";
  gethostname(host, sizeof(host) - 1);
  v1::PlanJobResponse plan;
  for (int rank = 0; rank < WorldSize(spec); ++rank) {
    v1::RankStatus* status = plan.add_ranks();
    status->set_rank(rank);
    status->set_host(host);
    status->set_device(absl::StrCat("cpu", rank));
  }
  return plan;
}

// Jobs that a run left behind when it was killed: their ranks died with it, and nobody watches them any more.
void CancelLeftovers(JobClient* client, const Surroundings& world) {
  const auto jobs = client->List();
  if (!jobs.ok()) return;
  for (const v1::JobStatus& job : *jobs) {
    if (IsFinished(job.state())) continue;
    world.err << "job " << job.job_id() << " of an earlier run did not end; cancelling it" << std::endl;
    if (!client->Cancel(job.job_id()).ok()) continue;
    (void)client->Watch(job.job_id(), [](const v1::JobStatus&) {});
  }
}

int SubmitAndFollow(const CommonOptions& common, const v1::JobSpec& spec, const std::string& address,
                    const std::string& log_directory, CancelTarget* target, const Surroundings& world) {
  const std::unique_ptr<JobClient> client = world.connect(address);
  if (!log_directory.empty()) CancelLeftovers(client.get(), world);
  const auto job = client->Submit(spec, NewRequestId());
  if (!job.ok()) return Fail(job.status(), world);
  target->Set(client.get(), *job);
  ReporterOptions reporter_options = MakeReporterOptions(common, world);
  reporter_options.log_directory = log_directory;
  JobReporter reporter(reporter_options, spec, &world.out, &world.err);
  reporter.OnSubmitted(*job, address);
  const auto finished = FollowJob({.job = *job, .logs = true}, world, client.get(), &reporter);
  target->Clear();
  return finished.ok() ? ExitCodeOf(*finished) : Fail(finished.status(), world);
}

int RunEmbedded(const CommonOptions& common, const v1::JobSpec& spec, CancelTarget* target, const Surroundings& world) {
  SetLogLevel(LogLevel::kWarn);  // the reporter tells the user each change; operators run the two apart
  CoordinatorOptions coordinator_options;
  coordinator_options.state_directory = world.current_directory / common.state_directory;
  const auto coordinator = Coordinator::Start(coordinator_options, world.clock);
  if (!coordinator.ok()) return Fail(coordinator.status(), world);

  WorkerOptions worker_options;
  worker_options.coordinator = (*coordinator)->address();
  worker_options.address = "127.0.0.1";
  worker_options.slots = SlotsFor(spec);
  worker_options.work_directory = coordinator_options.state_directory / "work";
  worker_options.trainer_binary = world.program.parent_path() / "ringmaster-trainer";
  worker_options.guard_binary = world.program;
  const auto worker = Worker::Start(worker_options, world.clock);
  if (!worker.ok()) return Fail(worker.status(), world);

  const int exit_code =
      SubmitAndFollow(common, spec, (*coordinator)->address(), worker_options.work_directory.string(), target, world);
  (*worker)->Stop();
  (*coordinator)->Stop();
  return exit_code;
}

// `remote`: the coordinator's address, "" for one in here.
int RunAt(const std::string& remote, const CommonOptions& common, const v1::JobSpec& spec, const Surroundings& world) {
  CancelTarget target;
  const auto signals = SignalWatcher::Start([&](int, int count) {
    if (count > 1) {
      // Guards see this process end and kill every rank.
      world.err << "\nringmaster: stopping at once" << std::endl;
      _exit(kExitCancelled);
    }
    world.err << "\nringmaster: cancelling the job; once more to stop at once" << std::endl;
    target.Cancel();
  });
  if (!signals.ok()) return Fail(signals.status(), world);
  return remote.empty() ? RunEmbedded(common, spec, &target, world) : SubmitAndFollow(common, spec, remote, "", &target, world);
}

}  // namespace

int RunCommand(const CommonOptions& common, const JobFileOptions& options, const Surroundings& world) {
  const auto spec = LoadJob(options, world);
  if (!spec.ok()) return Fail(spec.status(), world);
  const std::string remote = common.coordinator.empty() ? world.environment_coordinator : common.coordinator;
  if (options.dry_run && !remote.empty()) return SubmitCommand(common, options, world);
  if (remote.empty()) {
    if (const absl::Status status = CheckLocally(*spec, world.search_path); !status.ok()) return Fail(status, world);
  }
  if (options.dry_run) {
    const v1::PlanJobResponse plan = LocalPlan(*spec);
    world.out << (common.json ? PlanJson(*spec, plan) + "\n" : PlanText(*spec, plan)) << std::flush;
    return 0;
  }
  return RunAt(remote, common, *spec, world);
}

int RunHere(const CommonOptions& common, const v1::JobSpec& spec, const Surroundings& world) {
  return RunAt("", common, spec, world);
}

}  // namespace ringmaster::cli
