#include "collectives/shm/memory_exchange.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "collectives/shm/file_passing.h"
#include "collectives/shm/shared_memory.h"
#include "common/file_descriptor.h"
#include "common/status_macros.h"

namespace ringmaster::shm {
namespace {

struct Greeting {
  uint64_t magic = 0x313048534d52;  // "RMSH01"
  uint64_t segment_bytes = 0;
  uint64_t slot_bytes = 0;
  uint64_t chunk_bytes = 0;
  uint64_t chunks = 0;
  uint64_t ring_bytes = 0;
  uint64_t heap_limit = 0;
};

struct Mappings {
  SharedMapping segment;
  std::vector<SharedMapping> heaps;
  FileDescriptor heap_file;
  size_t heap_bytes = 0;  // usable
};

std::span<const char> BytesOf(const Greeting& greeting) { return {reinterpret_cast<const char*>(&greeting), sizeof(greeting)}; }

std::string NameOf(int rank) { return absl::StrCat("rank ", rank); }

// Touches what is new, so that missing memory is an error here and not a SIGBUS later.
absl::Status GrowHeap(Mappings& mappings, int rank, size_t bytes) {
  if (bytes <= mappings.heap_bytes) return absl::OkStatus();
  char* const begin = mappings.heaps[static_cast<size_t>(rank)].data() + mappings.heap_bytes;
  if (ftruncate(mappings.heap_file.get(), static_cast<off_t>(bytes)) != 0 ||
      (madvise(begin, bytes - mappings.heap_bytes, MADV_POPULATE_WRITE) != 0 && errno != EINVAL)) {
    return absl::ResourceExhaustedError(absl::StrCat("no memory for registered buffers of ", bytes, " bytes: ", strerror(errno)));
  }
  mappings.heap_bytes = bytes;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<GroupMemory> ExchangeMemory(const MemoryExchangeOptions& options, std::span<const int> sockets,
                                           absl::Duration timeout, const Clock& clock) {
  const absl::Time deadline = clock.Now() + timeout;
  const int rank = options.rank;
  const int size = static_cast<int>(sockets.size());
  const Greeting greeting{.segment_bytes = Segment::BytesFor(size, options.sizes),
                          .slot_bytes = options.sizes.slot_bytes,
                          .chunk_bytes = options.sizes.chunk_bytes,
                          .chunks = options.sizes.chunks,
                          .ring_bytes = options.sizes.ring_bytes,
                          .heap_limit = options.heap_limit};
  auto mappings = std::make_shared<Mappings>();
  mappings->heaps.resize(sockets.size());
  RM_ASSIGN_OR_RETURN(mappings->heap_file, CreateMemoryFile("ringmaster-registered", 0));
  FileDescriptor segment;
  std::vector<int> given{mappings->heap_file.get()};
  if (rank == 0) {
    RM_ASSIGN_OR_RETURN(segment, CreateMemoryFile("ringmaster-group", greeting.segment_bytes));
    given.push_back(segment.get());
  }
  for (int peer = 0; peer < size; ++peer) {
    if (peer != rank) RM_RETURN_IF_ERROR(GiveFiles(sockets[static_cast<size_t>(peer)], NameOf(peer), BytesOf(greeting), given));
  }
  for (int peer = 0; peer < size; ++peer) {
    const auto index = static_cast<size_t>(peer);
    if (peer == rank) {
      RM_ASSIGN_OR_RETURN(mappings->heaps[index], SharedMapping::Map(mappings->heap_file, options.heap_limit));
      continue;
    }
    RM_ASSIGN_OR_RETURN(std::vector<FileDescriptor> files,
                        TakeFiles(sockets[index], NameOf(peer), BytesOf(greeting), peer == 0 ? 2 : 1, deadline, clock));
    RM_RETURN_IF_ERROR(CheckMemoryFile(files[0], 0));
    RM_ASSIGN_OR_RETURN(mappings->heaps[index], SharedMapping::Map(files[0], options.heap_limit));
    if (peer == 0) segment = std::move(files[1]);
  }
  RM_RETURN_IF_ERROR(CheckMemoryFile(segment, greeting.segment_bytes));
  RM_ASSIGN_OR_RETURN(mappings->segment, SharedMapping::Map(segment, greeting.segment_bytes));
  GroupMemory memory{.segment = Segment(mappings->segment.data(), size, options.sizes),
                     .heaps = {},
                     .heap_limit = options.heap_limit,
                     .grow = [mappings = mappings.get(), rank](size_t bytes) { return GrowHeap(*mappings, rank, bytes); },
                     .owner = mappings};
  for (const SharedMapping& heap : mappings->heaps) memory.heaps.push_back(heap.data());
  return memory;
}

}  // namespace ringmaster::shm
