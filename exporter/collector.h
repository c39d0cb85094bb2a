// Asks a coordinator whenever Prometheus asks us: nothing is kept in between, and nobody pays while nobody asks.
#ifndef RINGMASTER_EXPORTER_COLLECTOR_H_
#define RINGMASTER_EXPORTER_COLLECTOR_H_

#include <vector>

#include "cli/job_client.h"
#include "prometheus/collectable.h"

namespace ringmaster::exporter {

// Thread-safe: the web server's threads call it.
class Collector final : public prometheus::Collectable {
 public:
  // `client` must outlive this.
  explicit Collector(cli::JobClient* client) : client_(client) {}

  // ringmaster_up is 0, and alone, when the coordinator does not answer.
  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  cli::JobClient* const client_;
};

}  // namespace ringmaster::exporter

#endif  // RINGMASTER_EXPORTER_COLLECTOR_H_
