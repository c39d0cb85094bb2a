// A line of a benchmark's table, and its JSON (docs/formats.md).
#ifndef RINGMASTER_CLI_BENCH_BENCH_ROW_H_
#define RINGMASTER_CLI_BENCH_BENCH_ROW_H_

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace ringmaster::cli {

struct BenchRow {
  std::string op;
  std::string dtype;
  std::string reduction = {};
  int ranks = 0;
  std::string transport;
  std::string buffers;
  bool in_place = false;
  int64_t bytes = 0;
  double time_us_p50 = 0;
  double time_us_p99 = 0;
  double algbw_gbs = 0;
  double busbw_gbs = 0;
  int64_t errors = 0;  // wrong elements, of all ranks
  struct Peer {
    double time_us_p50 = 0;
    double ratio = 0;        // theirs / ours: above 1 means that ours is faster
    double ratio_least = 0;  // of the rounds
    double ratio_greatest = 0;
  };
  std::map<std::string, Peer> against = {};
};

// The value below which `share` (0..1) of `values` lies; 0 of none.
double Quantile(std::vector<double> values, double share);

nlohmann::ordered_json ToJson(const BenchRow& row);
// Throws nothing; fields that are missing stay as they are.
BenchRow RowFromJson(const nlohmann::json& json);

std::string TableHead(const std::vector<std::string>& peers);
// `failures`: why a peer has no figures, by name.
std::string TableLine(const BenchRow& row, const std::vector<std::string>& peers,
                      const std::map<std::string, std::string>& failures);

}  // namespace ringmaster::cli

#endif  // RINGMASTER_CLI_BENCH_BENCH_ROW_H_
