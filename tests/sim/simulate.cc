// simulate --seeds A:B | --seed N [--trace] [--minimise]
// Runs seeds of the cluster simulator; prints what is broken, the fewest faults that still break it, and how to see it again.
#include <cstdio>
#include <cstdlib>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "common/exit_codes.h"
#include "tests/sim/cluster.h"
#include "tests/sim/minimise.h"

namespace ringmaster::sim {
namespace {

struct Arguments {
  uint64_t first = 0, end = 0;
  bool trace = false, minimise = false;
};

int Usage() {
  std::fprintf(stderr, "usage: simulate --seeds A:B | --seed N [--trace] [--minimise]\n");
  return kExitUsage;
}

bool Parse(int argc, char** argv, Arguments* arguments) {
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag == "--trace") {
      arguments->trace = true;
    } else if (flag == "--minimise") {
      arguments->minimise = true;
    } else if (flag == "--seed" && i + 1 < argc) {
      if (!absl::SimpleAtoi(argv[++i], &arguments->first)) return false;
      arguments->end = arguments->first + 1;
    } else if (flag == "--seeds" && i + 1 < argc) {
      const std::vector<std::string> ends = absl::StrSplit(absl::string_view(argv[++i]), ':');
      if (ends.size() != 2 || !absl::SimpleAtoi(ends[0], &arguments->first) || !absl::SimpleAtoi(ends[1], &arguments->end))
        return false;
    } else {
      return false;
    }
  }
  return arguments->first < arguments->end;
}

void Explain(const Plan& plan, const absl::Status& status, bool minimise) {
  std::printf("seed %lu: %s\n", static_cast<unsigned long>(plan.seed), std::string(status.message()).c_str());
  const Plan smaller = minimise ? Minimise(plan) : plan;
  std::printf("%zu of %zu faults:\n", smaller.faults.size(), plan.faults.size());
  for (const Fault& fault : smaller.faults) std::printf("  %s\n", ToString(fault).c_str());
  std::printf("again: bazel run //tests/sim:simulate -- --seed %lu --trace --minimise\n", static_cast<unsigned long>(plan.seed));
}

int Main(int argc, char** argv) {
  Arguments arguments;
  if (!Parse(argc, argv, &arguments)) return Usage();
  int64_t broken = 0, steps = 0, epochs = 0;
  for (uint64_t seed = arguments.first; seed < arguments.end; ++seed) {
    const Plan plan = MakePlan(seed);
    const Result result = Simulate(plan, nullptr);
    steps += result.steps;
    epochs += result.epochs;
    if (!result.status.ok()) {
      ++broken;
      Explain(plan, result.status, arguments.minimise);
    }
    if (!arguments.trace) continue;
    std::string text;
    const Result again = Simulate(arguments.minimise && !result.status.ok() ? Minimise(plan) : plan, &text);
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::printf("digest %016lx\n", static_cast<unsigned long>(again.digest));
  }
  std::printf("%lu seeds, %ld broken, %ld steps, %ld epochs\n", static_cast<unsigned long>(arguments.end - arguments.first), broken,
              steps, epochs);
  return broken == 0 ? kExitSucceeded : kExitFailed;
}

}  // namespace
}  // namespace ringmaster::sim

int main(int argc, char** argv) { return ringmaster::sim::Main(argc, argv); }
