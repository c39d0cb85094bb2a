// Recent averages of what a user wants to know while training: units per second and the share of communication. One thread.
#ifndef RINGMASTER_TRAINER_THROUGHPUT_H_
#define RINGMASTER_TRAINER_THROUGHPUT_H_

#include <array>
#include <cstddef>

#include "absl/time/time.h"

namespace ringmaster::trainer {

// Averages over the last 50 steps, or over a fifth of a second of shorter ones: one that the system held up for a moment must not
// look like the rule. Validation and other pauses between steps do not count.
class Throughput {
 public:
  struct Step {
    absl::Duration duration;
    absl::Duration communication;  // of it, spent waiting in collectives
    double units = 0;              // tokens or samples of the whole job
  };

  void Add(const Step& step) {
    if (parts_[newest_].duration >= kPart) {
      newest_ = (newest_ + 1) % parts_.size();
      Count(parts_[newest_], -1);
      parts_[newest_] = {};
    }
    Step& part = parts_[newest_];
    part.duration += step.duration;
    part.communication += step.communication;
    part.units += step.units;
    Count(step, 1);
  }

  double UnitsPerSecond() const { return duration_ > absl::ZeroDuration() ? units_ / absl::ToDoubleSeconds(duration_) : 0; }
  double CommunicationShare() const { return duration_ > absl::ZeroDuration() ? absl::FDivDuration(communication_, duration_) : 0; }

 private:
  static constexpr absl::Duration kPart = absl::Milliseconds(4);

  void Count(const Step& step, int sign) {
    duration_ += sign * step.duration;
    communication_ += sign * step.communication;
    units_ += sign * step.units;
  }

  std::array<Step, 50> parts_{};  // of one step, or of as many as kPart holds
  size_t newest_ = 0;
  absl::Duration duration_;
  absl::Duration communication_;
  double units_ = 0;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_THROUGHPUT_H_
