#include "exporter/collector.h"

#include <iterator>
#include <utility>

#include "common/log.h"
#include "exporter/job_metrics.h"

namespace ringmaster::exporter {
namespace {

// Below Prometheus' usual time-out of a scrape, above the pause after which a connection that broke is tried again.
constexpr absl::Duration kPatience = absl::Seconds(2);

prometheus::MetricFamily Up(double value, const std::string& version) {
  prometheus::ClientMetric metric;
  if (!version.empty()) metric.label = {{"version", version}};
  metric.gauge.value = value;
  return {.name = "ringmaster_up",
          .help = "1 while the coordinator answers.",
          .type = prometheus::MetricType::Gauge,
          .metric = {metric}};
}

}  // namespace

std::vector<prometheus::MetricFamily> Collector::Collect() const {
  if (const absl::Status status = client_->AwaitConnection(kPatience); !status.ok()) {
    LogWarn("coordinator=away: %s", status.message());
    return {Up(0, "")};
  }
  const auto version = client_->GetVersion();
  const auto jobs = client_->List();
  const auto workers = client_->ListWorkers();
  for (const absl::Status& status : {version.status(), jobs.status(), workers.status()}) {
    if (status.ok()) continue;
    LogWarn("coordinator=away: %s", status.message());
    return {Up(0, "")};
  }
  std::vector<prometheus::MetricFamily> families = {Up(1, version->version())};
  std::ranges::move(JobMetrics(*jobs), std::back_inserter(families));
  std::ranges::move(WorkerMetrics(*workers), std::back_inserter(families));
  return families;
}

}  // namespace ringmaster::exporter
