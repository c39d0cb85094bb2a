// What the recorder costs an operation: ns for Begin and End together.
#include <chrono>
#include <cstdio>

#include "collectives/flight/flight_recorder.h"
#include "common/real_clock.h"

int main() {
  const ringmaster::RealClock clock;
  auto recorder = ringmaster::FlightRecorder::Create("bench", 0, 1, clock);
  if (!recorder.ok()) return 1;
  constexpr int kRounds = 10'000'000;
  const ringmaster::Call call{.operation = ringmaster::Operation::kAllReduce, .count = 1000};
  const auto start = std::chrono::steady_clock::now();
  for (int round = 0; round < kRounds; ++round) (*recorder)->End((*recorder)->Begin(call), absl::StatusCode::kOk);
  const std::chrono::duration<double, std::nano> taken = std::chrono::steady_clock::now() - start;
  std::printf("%.1f ns\n", taken.count() / kRounds);
}
