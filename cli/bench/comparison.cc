#include "cli/bench/comparison.h"

#include "absl/strings/str_cat.h"
#include "cli/bench/bench_options.h"

namespace ringmaster::cli {

void Comparison::AddOwn(const std::vector<BenchRow>& rows) {
  rows_ = rows;
  ++rounds_;
  for (const BenchRow& row : rows) {
    p50_[row.bytes].push_back(row.time_us_p50);
    p99_[row.bytes].push_back(row.time_us_p99);
  }
}

void Comparison::AddPeer(const std::string& name, const absl::StatusOr<std::vector<BenchRow>>& rows) {
  std::string failure(rows.status().message());
  for (const BenchRow& row : rows.ok() ? *rows : std::vector<BenchRow>()) {
    if (row.errors > 0) failure = absl::StrCat(row.errors, " wrong elements at ", row.bytes, " bytes");
    theirs_[name][row.bytes].push_back(row.time_us_p50);
  }
  if (failure.empty()) return;
  failures_[name] = absl::StrCat("round ", rounds_, ": ", failure);
  theirs_.erase(name);
}

std::vector<BenchRow> Comparison::Rows() const {
  std::vector<BenchRow> rows = rows_;
  for (BenchRow& row : rows) {
    const std::vector<double>& own = p50_.at(row.bytes);
    row.time_us_p50 = Quantile(own, 0.5);
    row.time_us_p99 = Quantile(p99_.at(row.bytes), 0.5);
    row.algbw_gbs = static_cast<double>(row.bytes) / row.time_us_p50 * 1e-3;
    row.busbw_gbs = row.algbw_gbs * BusFactor(Operation::kAllReduce, row.ranks);
    for (const auto& [name, figures] : theirs_) {
      const auto it = figures.find(row.bytes);
      if (it != figures.end() && it->second.size() == own.size()) row.against[name] = Against(own, it->second);
    }
  }
  return rows;
}

BenchRow::Peer Comparison::Against(const std::vector<double>& ours, const std::vector<double>& theirs) const {
  std::vector<double> ratios;
  for (size_t round = 0; round < ours.size(); ++round) ratios.push_back(theirs[round] / ours[round]);
  return {.time_us_p50 = Quantile(theirs, 0.5),
          .ratio = Quantile(ratios, 0.5),
          .ratio_least = Quantile(ratios, 0),
          .ratio_greatest = Quantile(ratios, 1)};
}

}  // namespace ringmaster::cli
