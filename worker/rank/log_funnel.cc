#include "worker/rank/log_funnel.h"

#include <utility>

namespace ringmaster {

void LogFunnel::Add(RankLine line) {
  bytes_ += Cost(line);
  lines_.push_back(std::move(line));
  while (bytes_ > max_bytes_ && lines_.size() > 1) {
    const RankLine& oldest = lines_.front();
    dropped_[{oldest.job, oldest.epoch, oldest.rank}] += 1;
    bytes_ -= Cost(oldest);
    lines_.pop_front();
  }
}

std::vector<RankLine> LogFunnel::Take(size_t max_bytes) {
  std::vector<RankLine> taken;
  size_t bytes = 0;
  while (!lines_.empty()) {
    RankLine& line = lines_.front();
    if (!taken.empty() && (line.job != taken.front().job || bytes + Cost(line) > max_bytes)) break;
    if (const auto dropped = dropped_.find({line.job, line.epoch, line.rank}); dropped != dropped_.end()) {
      line.dropped_before = dropped->second;
      dropped_.erase(dropped);
    }
    bytes += Cost(line);
    bytes_ -= Cost(line);
    taken.push_back(std::move(line));
    lines_.pop_front();
  }
  return taken;
}

}  // namespace ringmaster
