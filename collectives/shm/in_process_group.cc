#include "collectives/shm/in_process_group.h"

#include <sys/mman.h>
#include <sys/socket.h>

#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/check.h"
#include "common/real_clock.h"

namespace ringmaster::testing {
namespace {

std::shared_ptr<char> Map(size_t bytes) {
  void* const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  RM_CHECK(memory != MAP_FAILED) << bytes << " bytes";
  return {static_cast<char*>(memory), [bytes](char* begin) { munmap(begin, bytes); }};
}

}  // namespace

Group MakeInProcessShmGroup(int size, const InProcessShmOptions& options) {
  static const RealClock clock;
  const auto ranks = static_cast<size_t>(size);
  const size_t segment_bytes = shm::Segment::BytesFor(size, options.sizes);
  const std::shared_ptr<char> memory = Map(segment_bytes + ranks * options.heap_limit);
  std::vector<std::vector<FileDescriptor>> sockets(ranks);
  for (auto& row : sockets) row.resize(ranks);
  std::vector<std::string> names;
  std::vector<char*> heaps;
  for (size_t rank = 0; rank < ranks; ++rank) {
    names.push_back(absl::StrCat("rank ", rank, " (host here, pid 7)"));
    heaps.push_back(memory.get() + segment_bytes + rank * options.heap_limit);
    for (size_t peer = 0; peer < rank; ++peer) {
      int pair[2] = {-1, -1};
      RM_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0) << "socketpair";
      sockets[rank][peer] = FileDescriptor(pair[0]);
      sockets[peer][rank] = FileDescriptor(pair[1]);
    }
  }
  Group group(ranks);
  std::vector<std::thread> threads;
  for (size_t rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] {
      shm::GroupMemory view{.segment = shm::Segment(memory.get(), size, options.sizes),
                            .heaps = heaps,
                            .heap_limit = options.heap_limit,
                            .grow = [](size_t) { return absl::OkStatus(); },
                            .owner = memory};
      ShmCommunicatorOptions communicator{.sync = {.rank = static_cast<int>(rank),
                                                   .names = names,
                                                   .share_cores = options.share_cores,
                                                   .patience = options.patience},
                                          .tuning = options.tuning,
                                          .helpers = options.helpers};
      auto made = ShmCommunicator::Create(std::move(view), std::move(sockets[rank]), clock, std::move(communicator), kLong);
      RM_CHECK(made.ok()) << made.status().ToString();
      group[rank] = *std::move(made);
    });
  }
  for (std::thread& thread : threads) thread.join();
  return group;
}

}  // namespace ringmaster::testing
