// What a coordinator says of its jobs and workers, as Prometheus metrics. Pure; thread-safe.
//
// Jobs carry the labels job (its id) and name. Of a job that has finished only its state, failures and verdicts are told. No label
// holds a step or an epoch: the number of series grows with jobs, ranks and classes of fault alone.
#ifndef RINGMASTER_EXPORTER_JOB_METRICS_H_
#define RINGMASTER_EXPORTER_JOB_METRICS_H_

#include <vector>

#include "prometheus/metric_family.h"
#include "proto/job_service.pb.h"

namespace ringmaster::exporter {

// A family for every name, also where nothing is in it yet: names do not come and go.
std::vector<prometheus::MetricFamily> JobMetrics(const std::vector<v1::JobStatus>& jobs);
std::vector<prometheus::MetricFamily> WorkerMetrics(const std::vector<v1::WorkerStatus>& workers);

}  // namespace ringmaster::exporter

#endif  // RINGMASTER_EXPORTER_JOB_METRICS_H_
