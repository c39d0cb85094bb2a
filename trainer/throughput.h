// Recent averages of what a user wants to know while training: units per second and the share of communication. One thread.
#ifndef RINGMASTER_TRAINER_THROUGHPUT_H_
#define RINGMASTER_TRAINER_THROUGHPUT_H_

#include <array>
#include <cstddef>

#include "absl/time/time.h"

namespace ringmaster::trainer {

// Averages over the last 50 steps; validation and other pauses between steps do not count.
class Throughput {
 public:
  struct Step {
    absl::Duration duration;
    absl::Duration communication;  // of it, spent waiting in collectives
    double units = 0;              // tokens or samples of the whole job
  };

  void Add(const Step& step) {
    Step& oldest = steps_[next_];
    duration_ += step.duration - oldest.duration;
    communication_ += step.communication - oldest.communication;
    units_ += step.units - oldest.units;
    oldest = step;
    next_ = (next_ + 1) % steps_.size();
  }

  double UnitsPerSecond() const { return duration_ > absl::ZeroDuration() ? units_ / absl::ToDoubleSeconds(duration_) : 0; }
  double CommunicationShare() const { return duration_ > absl::ZeroDuration() ? absl::FDivDuration(communication_, duration_) : 0; }

 private:
  std::array<Step, 50> steps_{};
  size_t next_ = 0;
  absl::Duration duration_;
  absl::Duration communication_;
  double units_ = 0;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_THROUGHPUT_H_
