#include "collectives/shm/memory_exchange.h"

#include <errno.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "collectives/shm/shared_memory.h"
#include "common/file_descriptor.h"
#include "common/status_macros.h"

namespace ringmaster::shm {
namespace {

constexpr size_t kMostFiles = 2;  // heap, and of rank 0 the segment

struct Greeting {
  uint64_t magic = 0x313048534d52;  // "RMSH01"
  uint64_t segment_bytes = 0;
  uint64_t slot_bytes = 0;
  uint64_t chunk_bytes = 0;
  uint64_t chunks = 0;
  uint64_t ring_bytes = 0;
  uint64_t heap_limit = 0;
  bool operator==(const Greeting&) const = default;
};

struct Mappings {
  SharedMapping segment;
  std::vector<SharedMapping> heaps;
  FileDescriptor heap_file;
  size_t heap_bytes = 0;  // usable
};

absl::Status AwaitReadable(int socket, int peer, absl::Time deadline, const Clock& clock) {
  while (true) {
    const absl::Duration left = deadline - clock.Now();
    if (left <= absl::ZeroDuration()) {
      return absl::DeadlineExceededError(absl::StrCat("rank ", peer, " did not share its memory"));
    }
    pollfd polled{.fd = socket, .events = POLLIN, .revents = 0};
    const timespec limit = absl::ToTimespec(left);
    if (ppoll(&polled, 1, &limit, nullptr) > 0) return absl::OkStatus();
  }
}

absl::Status Give(int socket, int peer, const Greeting& greeting, std::span<const int> files) {
  alignas(cmsghdr) char control[CMSG_SPACE(kMostFiles * sizeof(int))] = {};
  iovec part{const_cast<Greeting*>(&greeting), sizeof(greeting)};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = CMSG_SPACE(files.size_bytes());
  cmsghdr* const header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(files.size_bytes());
  std::memcpy(CMSG_DATA(header), files.data(), files.size_bytes());
  // Nothing was sent on this socket since its handshake: a few bytes have room.
  if (sendmsg(socket, &message, MSG_NOSIGNAL) == static_cast<ssize_t>(sizeof(greeting))) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("sharing memory with rank ", peer, ": ", strerror(errno)));
}

absl::StatusOr<std::vector<FileDescriptor>> Take(int socket, int peer, const Greeting& expected, size_t files) {
  alignas(cmsghdr) char control[CMSG_SPACE(kMostFiles * sizeof(int))] = {};
  Greeting greeting{.magic = 0};
  iovec part{&greeting, sizeof(greeting)};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  const ssize_t received = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  std::vector<FileDescriptor> taken;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    std::array<int, kMostFiles> numbers{};
    const size_t count = std::min((header->cmsg_len - CMSG_LEN(0)) / sizeof(int), numbers.size());
    std::memcpy(numbers.data(), CMSG_DATA(header), count * sizeof(int));
    for (size_t i = 0; i < count; ++i) taken.emplace_back(numbers[i]);
  }
  if (received == 0)
    return absl::UnavailableError(absl::StrCat("rank ", peer, " closed its connection before it shared its memory"));
  if (received != static_cast<ssize_t>(sizeof(greeting)) || greeting != expected || taken.size() != files) {
    return absl::InvalidArgumentError(absl::StrCat("rank ", peer, " shares memory in another way (", taken.size(),
                                                   " files, segment ", greeting.segment_bytes, " bytes; expected ", files, ", ",
                                                   expected.segment_bytes, "): is it the same version with the same options?"));
  }
  return taken;
}

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
    if (peer != rank) RM_RETURN_IF_ERROR(Give(sockets[static_cast<size_t>(peer)], peer, greeting, given));
  }
  for (int peer = 0; peer < size; ++peer) {
    const auto index = static_cast<size_t>(peer);
    if (peer == rank) {
      RM_ASSIGN_OR_RETURN(mappings->heaps[index], SharedMapping::Map(mappings->heap_file, options.heap_limit));
      continue;
    }
    RM_RETURN_IF_ERROR(AwaitReadable(sockets[index], peer, deadline, clock));
    RM_ASSIGN_OR_RETURN(std::vector<FileDescriptor> files, Take(sockets[index], peer, greeting, peer == 0 ? 2 : 1));
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
