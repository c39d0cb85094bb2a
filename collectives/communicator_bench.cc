// Latency of all-reduce (f32 sum, in place) between processes of one host over loopback TCP:
//   communicator_bench [ranks] [direct|ring|automatic] [chunk bytes] [direct bytes]
// Inputs are rewritten before each operation, outside the measured time; one line per size, microseconds on rank 0.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "collectives/tcp_communicator.h"
#include "common/real_clock.h"

namespace ringmaster {
namespace {

// Keys as files: ranks here are processes without a coordinator.
class FileRendezvous final : public Rendezvous {
 public:
  explicit FileRendezvous(std::filesystem::path directory) : directory_(std::move(directory)) {}

  absl::Status Publish(const std::string& key, const std::string& value) override {
    const std::filesystem::path path = PathOf(key), partial = path.string() + ".partial";
    std::ofstream(partial) << value;
    std::filesystem::rename(partial, path);
    return absl::OkStatus();
  }

  absl::StatusOr<std::string> Await(const std::string& key, absl::Duration timeout) override {
    while (!std::filesystem::exists(PathOf(key))) std::this_thread::yield();
    std::ifstream file(PathOf(key));
    return std::string(std::istreambuf_iterator<char>(file), {});
  }

 private:
  std::filesystem::path PathOf(std::string key) const {
    std::replace(key.begin(), key.end(), '/', '_');
    return directory_ / key;
  }

  const std::filesystem::path directory_;
};

double Microseconds(std::chrono::steady_clock::duration duration) {
  return std::chrono::duration<double, std::micro>(duration).count();
}

int RunRank(int rank, int ranks, const std::string& directory, const HostCommunicatorOptions& host) {
  const RealClock clock;
  FileRendezvous rendezvous(directory);
  const TcpCommunicatorOptions options{.mesh = {.rank = rank,
                                                .size = ranks,
                                                .group = "bench",
                                                .job = "bench",
                                                .epoch = 1,
                                                .host = "localhost",
                                                .pid = getpid(),
                                                .listen_address = "127.0.0.1"},
                                       .ranks_on_host = ranks,
                                       .host = host};
  auto communicator = CreateTcpCommunicator(options, rendezvous, absl::Seconds(30), clock);
  if (!communicator.ok()) return std::fprintf(stderr, "%s\n", communicator.status().ToString().c_str()), 1;
  for (const int64_t bytes : {4, 4096, 16384, 65536, 262144, 1 << 20, 2'700'000, 4 << 20, 16 << 20}) {
    const int64_t count = bytes / 4;
    std::vector<float> data(count);
    const int rounds = static_cast<int>(std::clamp<int64_t>(400'000'000 / (bytes + 20'000), 20, 5000));
    std::vector<double> times;
    for (int round = 0; round < rounds + rounds / 10; ++round) {
      std::fill(data.begin(), data.end(), static_cast<float>(rank + 1));
      absl::Status status = (*communicator)->Barrier(absl::Seconds(30));
      const auto start = std::chrono::steady_clock::now();
      if (status.ok()) {
        status = (*communicator)->AllReduce(data.data(), data.data(), count, DataType::kF32, Reduction::kSum, absl::Seconds(30));
      }
      const auto end = std::chrono::steady_clock::now();
      if (!status.ok()) return std::fprintf(stderr, "%s\n", status.ToString().c_str()), 1;
      if (data[count - 1] != static_cast<float>(ranks * (ranks + 1) / 2)) return std::fprintf(stderr, "wrong sum\n"), 1;
      if (round >= rounds / 10) times.push_back(Microseconds(end - start));
    }
    std::sort(times.begin(), times.end());
    if (rank == 0) {
      std::printf("%10ld bytes  min %9.1f  p50 %9.1f  p99 %9.1f us\n", static_cast<long>(bytes), times.front(),
                  times[times.size() / 2], times[times.size() * 99 / 100]);
      std::fflush(stdout);
    }
  }
  return 0;
}

int Main(int argc, char** argv) {
  const int ranks = argc > 1 ? std::atoi(argv[1]) : 2;
  HostCommunicatorOptions host;
  const std::string algorithm = argc > 2 ? argv[2] : "automatic";
  if (algorithm == "ring") host.algorithm = Algorithm::kRing;
  if (algorithm == "direct") host.algorithm = Algorithm::kDirect;
  if (argc > 3) host.chunk_bytes = static_cast<uint32_t>(std::atoi(argv[3]));
  if (argc > 4) host.direct_bytes = static_cast<uint32_t>(std::atoi(argv[4]));
  std::string directory = std::filesystem::temp_directory_path() / "communicator_bench.XXXXXX";
  if (mkdtemp(directory.data()) == nullptr) return std::perror(directory.c_str()), 1;
  std::vector<pid_t> children;
  for (int rank = 0; rank < ranks; ++rank) {
    const pid_t child = fork();
    if (child == 0) _exit(RunRank(rank, ranks, directory, host));
    children.push_back(child);
  }
  int failed = 0;
  for (const pid_t child : children) {
    int status = 0;
    waitpid(child, &status, 0);
    failed |= status;
  }
  std::filesystem::remove_all(directory);
  return failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace ringmaster

int main(int argc, char** argv) { return ringmaster::Main(argc, argv); }
