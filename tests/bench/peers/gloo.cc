// Gloo's all-reduce over TCP (it has no shared memory): the ring, its default; with --busy halving-doubling that polls, its
// fastest. Ranks are forked here and meet in a directory.
#include <gloo/allreduce.h>
#include <gloo/allreduce_halving_doubling.h>
#include <gloo/broadcast.h>
#include <gloo/math.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/file_store.h>
#include <gloo/transport/tcp/device.h>
#include <sys/wait.h>

#include <filesystem>
#include <memory>

#include "sweep.h"

namespace {

std::shared_ptr<gloo::rendezvous::Context> Connect(const Sweep& sweep, const std::string& directory) {
  gloo::transport::tcp::attr attributes;
  attributes.hostname = "127.0.0.1";
  auto context = std::make_shared<gloo::rendezvous::Context>(sweep.rank, sweep.ranks);
  gloo::rendezvous::FileStore store(directory);
  std::shared_ptr<gloo::transport::Device> device = gloo::transport::tcp::CreateDevice(attributes);
  context->connectFullMesh(store, device);
  return context;
}

int RunRank(const Sweep& sweep, const std::string& directory) {
  if (sweep.busy) PinTo(sweep.rank);  // else its threads share one core, and every hand-over waits for the scheduler
  const auto context = Connect(sweep, directory + "/control");
  const auto broadcast = [&](long* value) {
    gloo::BroadcastOptions options(context);
    options.setOutput(value, 1);
    options.setRoot(0);
    options.setTag(1);
    gloo::broadcast(options);
  };
  if (!sweep.busy) {
    return RunSweep(
        sweep,
        [&](float* data, long count) {
          gloo::AllreduceOptions options(context);
          options.setAlgorithm(gloo::AllreduceOptions::Algorithm::RING);
          options.setOutput(data, count);
          options.setReduceFunction([](void* a, const void* b, const void* c, size_t n) { gloo::sum<float>(a, b, c, n); });
          gloo::allreduce(options);
        },
        broadcast);
  }
  const auto polling = Connect(sweep, directory + "/data");
  for (int peer = 0; peer < sweep.ranks; ++peer) {
    if (peer != sweep.rank) polling->getPair(peer)->setSync(true, true);
  }
  std::unique_ptr<gloo::Algorithm> algorithm;
  long made_for = -1;
  return RunSweep(
      sweep,
      [&](float* data, long count) {
        if (made_for != count) {
          algorithm =
              std::make_unique<gloo::AllreduceHalvingDoubling<float>>(polling, std::vector<float*>{data}, static_cast<int>(count));
          made_for = count;
        }
        algorithm->run();
      },
      broadcast);
}

}  // namespace

int main(int argc, char** argv) {
  Sweep sweep = ParseArguments(argc, argv);
  std::string directory = (std::filesystem::temp_directory_path() / "gloo-bench-XXXXXX").string();
  if (mkdtemp(directory.data()) == nullptr) return 1;
  for (const char* part : {"/control", "/data"}) std::filesystem::create_directory(directory + part);
  std::vector<pid_t> children;
  for (int rank = 0; rank < sweep.ranks; ++rank) {
    const pid_t child = fork();
    if (child == 0) {
      sweep.rank = rank;
      int code = 1;
      try {
        code = RunRank(sweep, directory);
      } catch (const std::exception& error) {
        std::fprintf(stderr, "gloo, rank %d: %s\n", rank, error.what());
      }
      std::fflush(stdout);
      _exit(code);
    }
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
