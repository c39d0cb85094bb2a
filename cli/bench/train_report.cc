#include "cli/bench/train_report.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/bench/bench_row.h"

namespace ringmaster::cli {
namespace {

using trainer::ProfiledWork;

double Sum(const std::vector<ProfiledWork>& works, double ProfiledWork::*what, bool products) {
  double sum = 0;
  for (const ProfiledWork& work : works) sum += products == (work.flops > 0) ? work.*what : 0;
  return sum;
}

std::string NameOf(const TrainReport::Together& together) {
  std::string name = together.zero ? " with ZeRO-1" : "";
  const trainer::MeshShape& mesh = together.mesh;
  if (mesh.ranks_per_replica() == 1) return name;
  absl::StrAppendFormat(&name, ", data %d x pipeline %d x tensor %d", mesh.data, mesh.pipeline, mesh.tensor);
  if (mesh.pipeline > 1) absl::StrAppendFormat(&name, ", %d micro-batches", together.micro_batches);
  return name;
}

}  // namespace

double TrainReport::Snapshots::cost() const {
  std::vector<double> ratios;
  for (size_t round = 0; round < with_ms.size(); ++round) ratios.push_back(with_ms[round] / without_ms[round] - 1);
  return Quantile(ratios, 0.5);
}

std::string FormatBreakdown(std::vector<ProfiledWork> works) {
  double copy_rate = 0;  // bytes in a millisecond
  if (const auto copy = std::ranges::find(works, "device copy", &ProfiledWork::name); copy != works.end()) {
    copy_rate = copy->bytes / copy->milliseconds;
    works.erase(copy);
  }
  double best_rate = 0;
  double total = 0;
  for (const ProfiledWork& work : works) {
    total += work.milliseconds;
    if (!work.name.starts_with("attention")) best_rate = std::max(best_rate, work.flops / work.milliseconds);
  }
  std::string table = absl::StrFormat("%-28s %8s %6s %9s %8s\n", "work", "ms", "share", "rate", "floor ms");
  double floors = 0;
  for (const ProfiledWork& work : works) {
    double floor = 0;
    std::string rate = "-";
    if (work.flops > 0) {
      floor = work.flops / best_rate;
      rate = absl::StrFormat("%.0f TF/s", work.flops / work.milliseconds * 1e-9);
    } else if (work.bytes > 0 && copy_rate > 0) {
      floor = work.bytes / copy_rate;
      rate = absl::StrFormat("%.0f GB/s", work.bytes / work.milliseconds * 1e-6);
    }
    floors += floor;
    absl::StrAppendFormat(&table, "%-28s %8.3f %5.1f%% %9s %8.3f\n", work.name, work.milliseconds, 100 * work.milliseconds / total,
                          rate, floor);
  }
  absl::StrAppendFormat(&table, "%-28s %8.3f %5.1f%% %9s %8.3f\n", "all", total, 100.0, "", floors);
  absl::StrAppendFormat(&table, "products and attention %.3f ms at %.0f TF/s, everything else %.3f ms; device copy %.0f GB/s\n",
                        Sum(works, &ProfiledWork::milliseconds, true),
                        Sum(works, &ProfiledWork::flops, true) / Sum(works, &ProfiledWork::milliseconds, true) * 1e-9,
                        Sum(works, &ProfiledWork::milliseconds, false), copy_rate * 1e-6);
  return table;
}

std::string ToText(const TrainReport& report) {
  std::string text;
  if (report.device.empty()) return text;
  absl::StrAppendFormat(&text, "%s, %d sequences of %d tokens a step, bf16, on %s; ready in %.3f s\n", report.model,
                        report.sequences, report.context, report.device, report.setup_seconds);
  if (report.alone.has_value()) {
    const TrainReport::Alone& alone = *report.alone;
    absl::StrAppendFormat(
        &text, "step %.2f ms, %.0f tokens/s, MFU %.1f%% (6N + 6LCT) %.1f%% (6(N - positions) + 12LCT) of %.0f TFLOP/s, loss %.3f\n",
        alone.step_ms, alone.tokens_per_second, 100 * alone.mfu_llm_c, 100 * alone.mfu_palm, alone.peak_tflops, alone.loss);
  }
  if (report.together.has_value()) {
    const TrainReport::Together& all = *report.together;
    const int ranks = all.mesh.ranks();
    absl::StrAppendFormat(&text,
                          "%d GPUs%s: step %.2f ms, %.0f tokens/s, %.1f%% of %d times one alone, %.1f%% of %d times the slowest "
                          "while all work apart, "
                          "%.3f ms a step of communication not hidden, loss %.3f\n",
                          ranks, NameOf(all), all.step_ms, all.tokens_per_second, 100 * all.of_alone, ranks,
                          100 * all.of_slowest_apart, ranks, all.exposed_ms, all.loss);
  }
  if (report.snapshots.has_value()) {
    absl::StrAppendFormat(
        &text, "copies of shards after every step: %+.2f%%; ms a step, by turns without and with:", 100 * report.snapshots->cost());
    for (size_t round = 0; round < report.snapshots->with_ms.size(); ++round) {
      absl::StrAppendFormat(&text, " %.2f %.2f", report.snapshots->without_ms[round], report.snapshots->with_ms[round]);
    }
    absl::StrAppend(&text, "\n");
  }
  int64_t bytes = 0;
  for (const trainer::DeviceBytes& kind : report.memory) {
    absl::StrAppendFormat(&text, "%-26s %9.1f MB\n", kind.what, static_cast<double>(kind.bytes) * 1e-6);
    bytes += kind.bytes;
  }
  if (bytes > 0) absl::StrAppendFormat(&text, "%-26s %9.1f MB\n", "all", static_cast<double>(bytes) * 1e-6);
  if (!report.works.empty()) absl::StrAppend(&text, FormatBreakdown(report.works));
  return text;
}

nlohmann::ordered_json ToJson(const TrainReport& report) {
  nlohmann::ordered_json json = {{"model", report.model},
                                 {"sequences", report.sequences},
                                 {"context", report.context},
                                 {"device", report.device},
                                 {"setup_seconds", report.setup_seconds}};
  if (report.alone.has_value()) {
    const TrainReport::Alone& alone = *report.alone;
    json["alone"] = {{"step_ms", alone.step_ms},         {"tokens_per_second", alone.tokens_per_second},
                     {"mfu_llm_c", alone.mfu_llm_c},     {"mfu_palm", alone.mfu_palm},
                     {"peak_tflops", alone.peak_tflops}, {"loss", alone.loss}};
  }
  if (report.together.has_value()) {
    const TrainReport::Together& all = *report.together;
    json["together"] = {{"data", all.mesh.data},
                        {"pipeline", all.mesh.pipeline},
                        {"tensor", all.mesh.tensor},
                        {"micro_batches", all.micro_batches},
                        {"zero", all.zero ? 1 : 0},
                        {"step_ms", all.step_ms},
                        {"tokens_per_second", all.tokens_per_second},
                        {"of_alone", all.of_alone},
                        {"of_slowest_apart", all.of_slowest_apart},
                        {"exposed_ms", all.exposed_ms},
                        {"loss", all.loss}};
  }
  if (report.snapshots.has_value()) {
    json["snapshots"] = {
        {"cost", report.snapshots->cost()}, {"without_ms", report.snapshots->without_ms}, {"with_ms", report.snapshots->with_ms}};
  }
  json["memory"] = nlohmann::ordered_json::object();
  for (const trainer::DeviceBytes& kind : report.memory) json["memory"][kind.what] = kind.bytes;
  json["work"] = nlohmann::ordered_json::array();
  for (const ProfiledWork& work : report.works) {
    json["work"].push_back({{"name", work.name}, {"ms", work.milliseconds}, {"flops", work.flops}, {"bytes", work.bytes}});
  }
  return json;
}

}  // namespace ringmaster::cli
