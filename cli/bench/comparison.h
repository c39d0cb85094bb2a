// Rounds of ours and of peers, measured in turn, made into one table: medians of the rounds, and ratios of figures of the same
// round. A peer that fails loses its figures and keeps its reason; the others go on. One thread.
#ifndef RINGMASTER_CLI_BENCH_COMPARISON_H_
#define RINGMASTER_CLI_BENCH_COMPARISON_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/bench/bench_row.h"

namespace ringmaster::cli {

class Comparison {
 public:
  // Begins a round.
  void AddOwn(const std::vector<BenchRow>& rows);
  // What a peer measured in this round, or why it did not.
  void AddPeer(const std::string& name, const absl::StatusOr<std::vector<BenchRow>>& rows);

  // The rows of the last round with the figures of all.
  std::vector<BenchRow> Rows() const;
  // By name of the peer: "round 2: ..".
  const std::map<std::string, std::string>& failures() const { return failures_; }

 private:
  using Figures = std::map<int64_t, std::vector<double>>;  // by size, then round

  BenchRow::Peer Against(const std::vector<double>& ours, const std::vector<double>& theirs) const;

  std::vector<BenchRow> rows_;
  int rounds_ = 0;
  Figures p50_, p99_;
  std::map<std::string, Figures> theirs_;
  std::map<std::string, std::string> failures_;
};

}  // namespace ringmaster::cli

#endif  // RINGMASTER_CLI_BENCH_COMPARISON_H_
