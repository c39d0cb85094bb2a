#include "cli/bench/bench_row.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace ringmaster::cli {

double Quantile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1, static_cast<size_t>(share * static_cast<double>(values.size())))];
}

nlohmann::ordered_json ToJson(const BenchRow& row) {
  nlohmann::ordered_json json = {{"op", row.op},
                                 {"dtype", row.dtype},
                                 {"reduction", row.reduction},
                                 {"ranks", row.ranks},
                                 {"transport", row.transport},
                                 {"buffers", row.buffers},
                                 {"in_place", row.in_place},
                                 {"bytes", row.bytes},
                                 {"time_us_p50", row.time_us_p50},
                                 {"time_us_p99", row.time_us_p99},
                                 {"algbw_gbs", row.algbw_gbs},
                                 {"busbw_gbs", row.busbw_gbs},
                                 {"errors", row.errors}};
  for (const auto& [name, peer] : row.against) {
    json["against"][name] = {{"time_us_p50", peer.time_us_p50},
                             {"ratio", peer.ratio},
                             {"ratio_least", peer.ratio_least},
                             {"ratio_greatest", peer.ratio_greatest}};
  }
  return json;
}

BenchRow RowFromJson(const nlohmann::json& json) {
  BenchRow row;
  row.op = json.value("op", "");
  row.dtype = json.value("dtype", "");
  row.reduction = json.value("reduction", "");
  row.ranks = json.value("ranks", 0);
  row.transport = json.value("transport", "");
  row.buffers = json.value("buffers", "");
  row.in_place = json.value("in_place", false);
  row.bytes = json.value("bytes", int64_t{0});
  row.time_us_p50 = json.value("time_us_p50", 0.0);
  row.time_us_p99 = json.value("time_us_p99", 0.0);
  row.algbw_gbs = json.value("algbw_gbs", 0.0);
  row.busbw_gbs = json.value("busbw_gbs", 0.0);
  row.errors = json.value("errors", int64_t{0});
  return row;
}

std::string TableHead(const std::vector<std::string>& peers) {
  std::string head = absl::StrFormat("%12s %6s %8s %10s %9s %12s %12s %10s %10s %7s", "bytes", "dtype", "redop", "buffers", "place",
                                     "p50 us", "p99 us", "algbw GB/s", "busbw GB/s", "#wrong");
  for (const std::string& peer : peers) absl::StrAppend(&head, absl::StrFormat(" %26s", absl::StrCat(peer, " us (x)")));
  return head;
}

std::string TableLine(const BenchRow& row, const std::vector<std::string>& peers,
                      const std::map<std::string, std::string>& failures) {
  std::string line =
      absl::StrFormat("%12d %6s %8s %10s %9s %12.2f %12.2f %10.2f %10.2f %7d", row.bytes, row.dtype, row.reduction, row.buffers,
                      row.in_place ? "in" : "out-of", row.time_us_p50, row.time_us_p99, row.algbw_gbs, row.busbw_gbs, row.errors);
  for (const std::string& name : peers) {
    const auto it = row.against.find(name);
    if (it == row.against.end()) {
      absl::StrAppend(&line, absl::StrFormat(" %26s", failures.contains(name) ? "failed" : "-"));
      continue;
    }
    absl::StrAppend(&line, absl::StrFormat(" %10.2f (%5.2f %5.2f-%.2f)", it->second.time_us_p50, it->second.ratio,
                                           it->second.ratio_least, it->second.ratio_greatest));
  }
  return line;
}

}  // namespace ringmaster::cli
