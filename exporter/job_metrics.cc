#include "exporter/job_metrics.h"

#include <map>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "cli/exit_code.h"

namespace ringmaster::exporter {
namespace {

using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<std::pair<std::string, std::string>>;

class Family {
 public:
  Family(MetricType type, std::string name, std::string help)
      : family_{.name = absl::StrCat("ringmaster_", name), .help = std::move(help), .type = type, .metric = {}} {}

  void Add(const Labels& labels, double value) {
    prometheus::ClientMetric metric;
    for (const auto& [name, text] : labels) metric.label.push_back({name, text});
    (family_.type == MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
    family_.metric.push_back(std::move(metric));
  }

  MetricFamily Take() { return std::move(family_); }

 private:
  MetricFamily family_;
};

Labels Of(const v1::JobStatus& job) { return {{"job", job.job_id()}, {"name", job.name()}}; }

Labels With(Labels labels, const Labels& more) {
  labels.insert(labels.end(), more.begin(), more.end());
  return labels;
}

// "running"
std::string Name(v1::JobState state) { return absl::AsciiStrToLower(absl::StripPrefix(v1::JobState_Name(state), "JOB_STATE_")); }

template <typename Faults>
std::map<std::string, int> CountByClass(const Faults& faults) {
  std::map<std::string, int> counts;
  for (const auto& fault : faults) ++counts[fault.fault()];
  return counts;
}

template <typename Entity>
void AddAll(Family& family, const std::vector<Entity>& entities, double (*value)(const Entity&), Labels (*labels)(const Entity&)) {
  for (const Entity& entity : entities) family.Add(labels(entity), value(entity));
}

}  // namespace

std::vector<MetricFamily> JobMetrics(const std::vector<v1::JobStatus>& jobs) {
  std::vector<v1::JobStatus> live;
  for (const v1::JobStatus& job : jobs) {
    if (!cli::IsFinished(job.state())) live.push_back(job);
  }
  std::vector<MetricFamily> families;
  const auto gauge = [&](const char* name, const char* help, double (*value)(const v1::JobStatus&)) {
    Family family(MetricType::Gauge, name, help);
    AddAll(family, live, value, &Of);
    families.push_back(family.Take());
  };

  Family states(MetricType::Gauge, "jobs", "Jobs by state.");
  std::map<std::string, int> counts;
  for (int state = v1::JOB_STATE_PENDING; state <= v1::JOB_STATE_CANCELLED; ++state) counts[Name(static_cast<v1::JobState>(state))];
  for (const v1::JobStatus& job : jobs) ++counts[Name(job.state())];
  for (const auto& [state, count] : counts) states.Add({{"state", state}}, count);
  families.push_back(states.Take());

  Family state(MetricType::Gauge, "job_state", "1 for the state that the job is in.");
  for (const v1::JobStatus& job : jobs) state.Add(With(Of(job), {{"state", Name(job.state())}}), 1);
  families.push_back(state.Take());

  gauge("job_epoch", "Epoch of the job: how often its ranks were put together.",
        [](const v1::JobStatus& job) { return double(job.epoch()); });
  gauge("job_world_size", "Ranks of the current epoch.", [](const v1::JobStatus& job) { return double(job.world_size()); });
  gauge("job_step", "Training steps that all ranks have completed.",
        [](const v1::JobStatus& job) { return double(job.progress().step()); });
  gauge("job_steps", "Training steps that the job is to make.",
        [](const v1::JobStatus& job) { return double(job.progress().total_steps()); });
  gauge("job_tokens_per_second", "Tokens of all ranks; 0 for models that read samples.",
        [](const v1::JobStatus& job) { return job.progress().tokens_per_second(); });
  gauge("job_samples_per_second", "Samples of all ranks; 0 for models that read tokens.",
        [](const v1::JobStatus& job) { return job.progress().samples_per_second(); });
  gauge("job_communication_ratio", "Share of a step that is spent waiting in collectives.",
        [](const v1::JobStatus& job) { return job.progress().communication_share(); });

  Family train_loss(MetricType::Gauge, "job_train_loss", "Loss of the last step that was logged.");
  Family validation_loss(MetricType::Gauge, "job_validation_loss", "Loss of the last validation.");
  Family checkpoint(MetricType::Gauge, "job_checkpoint_step", "Step of the newest committed checkpoint.");
  Family rank_step(MetricType::Gauge, "rank_step", "Steps that a rank has completed.");
  Family verdict(MetricType::Gauge, "job_verdict", "1 while a rank that lives is found to be at fault: its class, rank and host.");
  for (const v1::JobStatus& job : live) {
    if (job.progress().has_train_loss()) train_loss.Add(Of(job), job.progress().train_loss());
    if (job.progress().has_validation_loss()) validation_loss.Add(Of(job), job.progress().validation_loss());
    if (!job.checkpoints().empty()) checkpoint.Add(Of(job), double(job.checkpoints().rbegin()->step()));
    for (const v1::RankStatus& rank : job.ranks()) {
      rank_step.Add(With(Of(job), {{"rank", absl::StrCat(rank.rank())}, {"host", rank.host()}}), double(rank.step()));
    }
    if (job.verdicts().empty() || job.verdicts().rbegin()->has_over()) continue;
    const v1::Verdict& held = *job.verdicts().rbegin();
    verdict.Add(With(Of(job), {{"fault", held.fault()}, {"rank", absl::StrCat(held.rank())}, {"host", held.host()}}), 1);
  }
  for (Family* family : {&train_loss, &validation_loss, &checkpoint, &rank_step, &verdict}) families.push_back(family->Take());

  Family failures(MetricType::Counter, "job_failures_total", "Ranks that ended where they should not have, by class of fault.");
  Family verdicts(MetricType::Counter, "job_verdicts_total", "Verdicts on ranks that live, by class of fault.");
  for (const v1::JobStatus& job : jobs) {
    for (const auto& [fault, count] : CountByClass(job.failures())) failures.Add(With(Of(job), {{"fault", fault}}), count);
    for (const auto& [fault, count] : job.verdict_counts()) verdicts.Add(With(Of(job), {{"fault", fault}}), double(count));
  }
  families.push_back(failures.Take());
  families.push_back(verdicts.Take());
  return families;
}

std::vector<MetricFamily> WorkerMetrics(const std::vector<v1::WorkerStatus>& workers) {
  std::vector<MetricFamily> families;
  const auto gauge = [&](const char* name, const char* help, double (*value)(const v1::WorkerStatus&)) {
    Family family(MetricType::Gauge, name, help);
    AddAll<v1::WorkerStatus>(family, workers, value, [](const v1::WorkerStatus& worker) {
      return Labels{{"host", worker.worker_id()}};
    });
    families.push_back(family.Take());
  };
  gauge("worker_up", "1 while the worker is heard of.", [](const v1::WorkerStatus& worker) { return worker.alive() ? 1.0 : 0.0; });
  gauge("worker_slots", "Ranks that the worker can hold.", [](const v1::WorkerStatus& worker) { return double(worker.slots()); });
  gauge("worker_free_slots", "Slots without a rank.", [](const v1::WorkerStatus& worker) { return double(worker.free_slots()); });
  gauge("worker_silent_seconds", "Time since the worker was last heard of.",
        [](const v1::WorkerStatus& worker) { return double(worker.last_heard().seconds()) + 1e-9 * worker.last_heard().nanos(); });
  return families;
}

}  // namespace ringmaster::exporter
