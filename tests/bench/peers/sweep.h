// What every peer's program does: checks an all-reduce of f32 sums in place over a list of sizes, times it as `ringmaster bench
// collectives` does, and prints one JSON object for each size on rank 0.
#ifndef RINGMASTER_TESTS_BENCH_PEERS_SWEEP_H_
#define RINGMASTER_TESTS_BENCH_PEERS_SWEEP_H_

#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

struct Sweep {
  int rank = 0;
  int ranks = 2;
  std::vector<long> sizes;
  double seconds = 0.2;
  bool huge = false;  // buffers in huge pages
  bool busy = false;  // gloo: poll instead of sleeping
};

inline Sweep ParseArguments(int argc, char** argv) {
  Sweep sweep;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    const char* const value = i + 1 < argc ? argv[i + 1] : "";
    if (name == "--huge") sweep.huge = true;
    if (name == "--busy") sweep.busy = true;
    if (name == "--ranks") sweep.ranks = std::atoi(value);
    if (name == "--seconds") sweep.seconds = std::atof(value);
    if (name != "--sizes") continue;
    for (const char* at = value; *at != 0;) {
      char* end = nullptr;
      sweep.sizes.push_back(std::strtol(at, &end, 10));
      at = *end == ',' ? end + 1 : end + std::strlen(end);
    }
  }
  return sweep;
}

inline void PinTo(int rank) {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  CPU_SET(rank % static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN)), &cores);
  sched_setaffinity(0, sizeof(cores), &cores);
}

inline double Microseconds() {
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

inline float* Allocate(long bytes, bool huge) {
  constexpr long kHugePage = 2 << 20;
  const long room = (bytes + kHugePage) / kHugePage * kHugePage + kHugePage;
  char* memory = static_cast<char*>(mmap(nullptr, room + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  memory += kHugePage - reinterpret_cast<uintptr_t>(memory) % kHugePage;
  madvise(memory, room, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  std::memset(memory, 0, room);
  return reinterpret_cast<float*>(memory);
}

// reduce(data, count): in place. broadcast(value): rank 0's.
inline int RunSweep(const Sweep& sweep, const std::function<void(float*, long)>& reduce,
                    const std::function<void(long*)>& broadcast) {
  float* const data = Allocate(*std::max_element(sweep.sizes.begin(), sweep.sizes.end()) + 64, sweep.huge);
  for (const long bytes : sweep.sizes) {
    const long count = bytes / 4;
    const auto check = [&] {
      for (long i = 0; i < count; ++i) data[i] = static_cast<float>((i + sweep.rank) % 4);
      reduce(data, count);
      long wrong = 0;
      for (long i = 0; i < count; ++i) {
        float expected = 0;
        for (int rank = 0; rank < sweep.ranks; ++rank) expected += static_cast<float>((i + rank) % 4);
        wrong += data[i] != expected ? 1 : 0;
      }
      return wrong;
    };
    long wrong = check();
    const double begin = Microseconds();
    long done = 0, more = 1;
    for (long batch = 1; more != 0; batch = std::min(2 * batch, 1000L)) {
      for (long i = 0; i < batch; ++i) reduce(data, count);
      done += batch;
      more = Microseconds() - begin < sweep.seconds * 1e6 * 0.2 ? 1 : 0;
      broadcast(&more);
    }
    const double estimate = (Microseconds() - begin) / static_cast<double>(done);
    long batch = std::clamp(static_cast<long>(50 / estimate), 1L, 64L);
    long total = std::clamp(static_cast<long>(sweep.seconds * 1e6 / estimate), 5L, 100'000L);
    broadcast(&batch);
    broadcast(&total);
    reduce(data, count);
    std::vector<double> times;
    double before = Microseconds();
    for (done = 0; done < total; done += batch) {
      for (long i = 0; i < batch; ++i) reduce(data, count);
      const double after = Microseconds();
      times.push_back((after - before) / static_cast<double>(batch));
      before = after;
    }
    wrong += check();
    std::sort(times.begin(), times.end());
    if (sweep.rank == 0) {
      std::printf("{\"bytes\": %ld, \"time_us_p50\": %.3f, \"time_us_p99\": %.3f, \"errors\": %ld}\n", bytes,
                  times[times.size() / 2], times[times.size() * 99 / 100], wrong);
      std::fflush(stdout);
    }
  }
  return 0;
}

#endif  // RINGMASTER_TESTS_BENCH_PEERS_SWEEP_H_
