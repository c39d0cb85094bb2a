// What `ringmaster bench train` has measured, and how it is said: to people, and as JSON (docs/formats.md).
#ifndef RINGMASTER_CLI_BENCH_TRAIN_REPORT_H_
#define RINGMASTER_CLI_BENCH_TRAIN_REPORT_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "trainer/cuda/cuda_gpt.h"
#include "trainer/parallel/mesh.h"

namespace ringmaster::cli {

struct TrainReport {
  std::string model;
  int64_t sequences = 0;  // a step and GPU
  int64_t context = 0;
  std::string device = {};   // empty: nothing has been set up
  double setup_seconds = 0;  // of the last model part that rank 0 has planned

  struct Alone {
    double step_ms = 0;
    double tokens_per_second = 0;
    double mfu_llm_c = 0;  // 0..1; TokenFlops
    double mfu_palm = 0;
    double peak_tflops = 0;
    double loss = 0;
  };
  std::optional<Alone> alone = {};

  struct Together {
    trainer::MeshShape mesh;
    int64_t micro_batches = 1;
    bool zero = false;
    double step_ms = 0;
    double tokens_per_second = 0;
    double of_alone = 0;          // 1: as many times one GPU alone
    double of_slowest_apart = 0;  // the same of the slowest while all work apart
    double exposed_ms = 0;        // communication of a step that is not hidden
    double loss = 0;
  };
  std::optional<Together> together = {};

  // Copies of shards on other ranks after every step, by turns with none.
  struct Snapshots {
    std::vector<double> without_ms;  // a step; one for each round
    std::vector<double> with_ms;
    double cost() const;  // median of the rounds' with / without, less 1
  };
  std::optional<Snapshots> snapshots = {};

  std::vector<trainer::DeviceBytes> memory = {};  // of rank 0
  std::vector<trainer::ProfiledWork> works = {};
};

// Of what there is so far.
std::string ToText(const TrainReport& report);
nlohmann::ordered_json ToJson(const TrainReport& report);

// One table of the step's work: milliseconds, share, TFLOP/s or GB/s, and the floor, which is products at the peak rate of this
// run's best product and bytes at the rate of a device copy.
std::string FormatBreakdown(std::vector<trainer::ProfiledWork> works);

}  // namespace ringmaster::cli

#endif  // RINGMASTER_CLI_BENCH_TRAIN_REPORT_H_
