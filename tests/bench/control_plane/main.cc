// control_plane_cluster --coordinator HOST:PORT: one size; prints a JSON object. control_plane_bench.py runs it for many.
#include <cstdio>
#include <iostream>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "common/exit_codes.h"
#include "common/real_clock.h"
#include "nlohmann/json.hpp"
#include "tests/bench/control_plane/simulated_cluster.h"

namespace ringmaster::bench {
namespace {

struct Options {
  ClusterOptions cluster;
  int rounds = 5;
  double churn = 0.01;
  double idle_seconds = 2;
};

absl::Status Measure(const Options& options, nlohmann::json* out) {
  const RealClock clock;
  SimulatedCluster cluster(options.cluster, clock);
  const int ranks = options.cluster.hosts * options.cluster.slots;
  const absl::Time began = clock.Now();
  if (absl::Status status = cluster.Attach(); !status.ok()) return status;
  (*out)["ranks"] = ranks;
  (*out)["hosts"] = options.cluster.hosts;
  (*out)["attach_ms"] = absl::ToDoubleMilliseconds(clock.Now() - began);
  const absl::StatusOr<absl::Duration> formed = cluster.FormEpoch(ranks);
  if (!formed.ok()) return formed.status();
  (*out)["form_ms"] = absl::ToDoubleMilliseconds(*formed);
  const int victims = std::max(1, static_cast<int>(ranks * options.churn));
  (*out)["killed"] = victims;
  for (int round = 0; round < options.rounds; ++round) {
    cluster.Idle(absl::Seconds(1));  // it steps
    const absl::StatusOr<absl::Duration> again = cluster.Churn(victims);
    if (!again.ok()) return again.status();
    (*out)["churn_ms"].push_back(absl::ToDoubleMilliseconds(*again));
  }
  std::cout << nlohmann::json{{"idle", "begins"}} << std::endl;  // who reads this looks at the coordinator's CPU time here
  (*out)["heartbeats"] = cluster.Idle(absl::Seconds(options.idle_seconds));
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  CLI::App app("Simulated hosts and trainers against a real coordinator");
  Options options;
  app.add_option("--coordinator", options.cluster.coordinator, "host:port")->required();
  app.add_option("--hosts", options.cluster.hosts, "Simulated hosts")->check(CLI::Range(1, 65536));
  app.add_option("--slots", options.cluster.slots, "Slots of each")->check(CLI::Range(1, 4096));
  app.add_option("--rounds", options.rounds, "Times that trainers are killed")->check(CLI::Range(0, 1000));
  app.add_option("--churn", options.churn, "Share of the trainers that is killed")->check(CLI::Range(0.0, 1.0));
  app.add_option("--idle", options.idle_seconds, "Seconds of heartbeats alone");
  app.add_option("--seed", options.cluster.seed, "Decides who is killed");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }
  nlohmann::json result;
  if (const absl::Status status = Measure(options, &result); !status.ok()) {
    std::cerr << "control_plane_cluster: " << status.ToString() << "\n";
    return kExitFailed;
  }
  std::cout << result << std::endl;
  return 0;
}

}  // namespace
}  // namespace ringmaster::bench

int main(int argc, char** argv) { return ringmaster::bench::Main(argc, argv); }
