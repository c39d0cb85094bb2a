// Lines of all ranks on their way to the coordinator, in bounded memory. When it is full (the coordinator is away or slow) the
// oldest lines go, and the number that went is told with the next line of their rank: a loss never looks like success.
#ifndef RINGMASTER_WORKER_RANK_LOG_FUNNEL_H_
#define RINGMASTER_WORKER_RANK_LOG_FUNNEL_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "absl/time/time.h"
#include "common/ids.h"

namespace ringmaster {

struct RankLine {
  JobId job;
  Epoch epoch;
  Rank rank;
  bool is_stderr = false;
  std::string text;
  absl::Time wall_time;
  int64_t dropped_before = 0;
};

// Driver's thread only.
class LogFunnel {
 public:
  // max_bytes: of text held, plus a constant per line.
  explicit LogFunnel(size_t max_bytes) : max_bytes_(max_bytes) {}

  void Add(RankLine line);
  bool empty() const { return lines_.empty(); }

  // Takes the oldest lines of one job: at least one, at most max_bytes beside the first.
  std::vector<RankLine> Take(size_t max_bytes);

 private:
  using RankName = std::tuple<JobId, Epoch, Rank>;
  static size_t Cost(const RankLine& line) { return line.text.size() + sizeof(RankLine) + 64; }

  const size_t max_bytes_;
  size_t bytes_ = 0;
  std::deque<RankLine> lines_;
  std::map<RankName, int64_t> dropped_;  // not told yet
};

}  // namespace ringmaster

#endif  // RINGMASTER_WORKER_RANK_LOG_FUNNEL_H_
