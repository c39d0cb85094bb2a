// ringmaster-exporter: a coordinator's jobs and workers for Prometheus, at http://ADDRESS/metrics.
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/strings/numbers.h"
#include "cli/grpc_job_client.h"
#include "cli/signals.h"
#include "cli/stop_event.h"
#include "common/environment.h"
#include "common/exit_codes.h"
#include "common/version.h"
#include "exporter/collector.h"
#include "prometheus/exposer.h"

namespace ringmaster::exporter {
namespace {

bool IsHostAndPort(const std::string& text) {
  const size_t colon = text.rfind(':');
  int port = 0;
  return colon != std::string::npos && colon > 0 && absl::SimpleAtoi(text.substr(colon + 1), &port) && port >= 0 && port <= 65535;
}

int Serve(const std::string& coordinator, const std::string& listen) {
  cli::StopEvent stop;
  const auto signals = cli::SignalWatcher::Start([&stop](int, int) { stop.Set(); });
  if (!signals.ok()) {
    std::fprintf(stderr, "ringmaster-exporter: %s\n", std::string(signals.status().message()).c_str());
    return kExitFailed;
  }
  const std::unique_ptr<cli::JobClient> client = cli::NewGrpcJobClient(coordinator);
  const auto collector = std::make_shared<Collector>(client.get());
  std::unique_ptr<prometheus::Exposer> exposer;
  try {
    exposer = std::make_unique<prometheus::Exposer>(listen);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "ringmaster-exporter: cannot listen on %s: %s. Is the port taken, and the address one of this host?\n",
                 listen.c_str(), error.what());
    return kExitFailed;
  }
  exposer->RegisterCollectable(collector);
  const std::string host = listen.substr(0, listen.rfind(':'));
  std::printf("ringmaster-exporter is ready at http://%s:%d/metrics for coordinator %s\n", host.c_str(),
              exposer->GetListeningPorts().front(), coordinator.c_str());
  std::fflush(stdout);
  stop.Wait();
  return kExitSucceeded;
}

int Main(int argc, char** argv) {
  std::string coordinator;
  std::string listen = "127.0.0.1:9464";
  CLI::App app("Serves a coordinator's jobs and workers to Prometheus, at http://ADDRESS/metrics.", "ringmaster-exporter");
  app.add_option("--coordinator", coordinator, "HOST:PORT of the coordinator")->envname(environment::kCoordinator)->required();
  app.add_option("--listen", listen, "HOST:PORT to serve at; port 0 = any free one")->capture_default_str();
  app.set_version_flag("--version", std::string(kVersion));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitSucceeded : kExitUsage;
  }
  for (const auto& [name, value] : {std::pair{"--coordinator", coordinator}, std::pair{"--listen", listen}}) {
    if (IsHostAndPort(value)) continue;
    std::fprintf(stderr, "ringmaster-exporter: %s: expected HOST:PORT such as 10.0.0.1:9464, found \"%s\"\n", name, value.c_str());
    return kExitUsage;
  }
  return Serve(coordinator, listen);
}

}  // namespace
}  // namespace ringmaster::exporter

int main(int argc, char** argv) { return ringmaster::exporter::Main(argc, argv); }
