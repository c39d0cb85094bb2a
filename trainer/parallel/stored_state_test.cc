// What all ranks of a mesh store together is every tensor once, whatever the cuts.
#include "trainer/parallel/stored_state.h"

#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "collectives/host_communicator.h"
#include "collectives/transport/inproc_transport.h"
#include "common/mutex.h"
#include "common/real_clock.h"
#include "common/status_matchers.h"
#include "gtest/gtest.h"

namespace ringmaster::trainer {
namespace {

// Tensors whose elements are their own places, cut in all ways; sizes that few numbers of ranks divide.
struct Whole {
  std::string name;
  std::vector<int64_t> shape;
  TensorCut cut;
};
const std::vector<Whole> kWholes = {
    {"rows", {9, 4}, {.extent = 9, .inner = 4}},
    {"columns", {7, 10}, {.outer = 7, .extent = 10}},
    {"heads", {12, 5}, {.outer = 3, .extent = 4, .inner = 5}},
    {"everywhere", {6}, {}},
};

// The state of one rank.
struct Held {
  explicit Held(const MeshPlace& place, const MeshShape& mesh) {
    for (const Whole& whole : kWholes) {
      std::vector<float> values(static_cast<size_t>(ElementsOf(whole.shape)));
      std::iota(values.begin(), values.end(), 0.0f);
      TensorCut cut;
      if (whole.name != "everywhere") {
        cut = whole.cut.PartOf(place.tensor, mesh.tensor);
        std::vector<float> part(static_cast<size_t>(cut.elements()));
        CopyPart(cut, values.data(), part.data());
        values = part;
      }
      memory.push_back(std::move(values));
      tensors.push_back({.name = whole.name,
                         .shape = whole.shape,
                         .values = memory.back(),  // stays where it is when the vector of vectors grows
                         .cut = cut,
                         .is_counted = whole.name != "everywhere" || place.tensor == 0});
    }
  }

  std::vector<std::vector<float>> memory;
  std::vector<StateTensor> tensors;
};

TEST(StoredState, AllRanksTogetherStoreEveryElementOnce) {
  const RealClock clock;
  for (const MeshShape mesh :
       {MeshShape{}, MeshShape{.data = 3}, MeshShape{.tensor = 2}, MeshShape{.tensor = 4}, MeshShape{.data = 2, .tensor = 3}}) {
    std::map<std::string, std::vector<int>> hits;
    for (const Whole& whole : kWholes) hits[whole.name].resize(static_cast<size_t>(ElementsOf(whole.shape)));
    Mutex mu;
    for (int replica = 0; replica < mesh.data; ++replica) {
      std::vector<std::thread> threads;
      for (std::unique_ptr<Transport>& transport : CreateInprocTransports(mesh.tensor)) {
        const MeshPlace place = {.data = replica, .tensor = static_cast<int>(threads.size())};
        threads.emplace_back([&, place, transport = std::move(transport)]() mutable {
          auto group = std::make_unique<HostCommunicator>(std::move(transport), clock, HostCommunicatorOptions{});
          GradientSync tensor(std::move(group), clock, nullptr, {.timeout = absl::Seconds(20)});
          const Held held(place, mesh);
          StoredState stored(held.tensors, place, mesh);
          EXPECT_OK(stored.Gather(tensor));
          EXPECT_LE(stored.pieces().size(), 7u) << "few ranges";
          MutexLock lock(&mu);
          for (const TensorPiece& piece : stored.pieces()) {
            for (int64_t i = piece.begin; i < piece.end; ++i) {
              ++hits[piece.name][static_cast<size_t>(i)];
              EXPECT_EQ(piece.values[i - piece.begin], static_cast<float>(i)) << piece.name;
            }
          }
        });
      }
      for (std::thread& thread : threads) thread.join();
    }
    for (const auto& [name, counts] : hits) {
      EXPECT_EQ(counts, std::vector<int>(counts.size(), 1)) << name << ", data " << mesh.data << ", tensor " << mesh.tensor;
    }
  }
}

}  // namespace
}  // namespace ringmaster::trainer
