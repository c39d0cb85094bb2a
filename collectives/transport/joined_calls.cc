#include "collectives/transport/joined_calls.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>

#include "absl/time/time.h"
#include "common/file_descriptor.h"

namespace ringmaster {
namespace {

constexpr unsigned kEntries = 2;
constexpr uint64_t kSend = 0, kReceive = 1;
constexpr int kSendFlags = MSG_DONTWAIT | MSG_NOSIGNAL;

// One call must save this much of the time of two: what is within it is noise.
constexpr double kGain = 0.95;
constexpr int kRounds = 5;
constexpr int kOfRound = 32;

struct Pair {
  FileDescriptor ends[2];
};

Pair MakePair() {
  int ends[2] = {-1, -1};
  socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends);
  return {.ends = {FileDescriptor(ends[0]), FileDescriptor(ends[1])}};
}

JoinedCalls::Results TwoCalls(int socket, const iovec& out, const iovec& in) {
  const auto result = [](ssize_t returned) { return returned < 0 ? -errno : returned; };
  const ssize_t sent = result(send(socket, out.iov_base, out.iov_len, kSendFlags));
  return {.sent = sent, .received = result(recv(socket, in.iov_base, in.iov_len, MSG_DONTWAIT))};
}

// Each end sends and takes what the other one has sent before.
template <typename Exchange>
absl::Duration TimeOf(const Pair& pair, const Clock& clock, const Exchange& exchange) {
  char data[64] = {};
  const iovec message{data, sizeof(data)};
  const absl::Time begin = clock.Now();
  for (int i = 0; i < kOfRound; ++i) {
    exchange(pair.ends[0].get(), message, message);
    exchange(pair.ends[1].get(), message, message);
  }
  return clock.Now() - begin;
}

}  // namespace

std::unique_ptr<JoinedCalls> JoinedCalls::Create() {
  std::unique_ptr<JoinedCalls> made(new JoinedCalls);
  made->usable_ = io_uring_queue_init(kEntries, &made->ring_, 0) == 0;
  made->open_ = made->usable_;
  return made->open_ && made->EndsAtOnce() ? std::move(made) : nullptr;
}

std::unique_ptr<JoinedCalls> JoinedCalls::CreateWhereFaster(const Clock& clock) {
  std::unique_ptr<JoinedCalls> made = Create();
  if (made == nullptr) return nullptr;
  const Pair pair = MakePair();
  absl::Duration one = absl::InfiniteDuration(), two = absl::InfiniteDuration();
  for (int round = 0; round < kRounds; ++round) {
    one = std::min(
        one, TimeOf(pair, clock, [&](int socket, const iovec& out, const iovec& in) { made->SendAndReceive(socket, out, in); }));
    two = std::min(two, TimeOf(pair, clock, &TwoCalls));
  }
  return one < two * kGain ? std::move(made) : nullptr;
}

JoinedCalls::~JoinedCalls() {
  if (open_) io_uring_queue_exit(&ring_);
}

// Old kernels go on waiting for what is not there, although they are told not to.
bool JoinedCalls::EndsAtOnce() {
  const Pair pair = MakePair();
  char byte = 1, taken = 0;
  return SendAndReceive(pair.ends[0].get(), {&byte, 1}, {&taken, 1}).received == -EAGAIN && usable_;
}

JoinedCalls::Results JoinedCalls::SendAndReceive(int socket, const iovec& out, const iovec& in) {
  if (!usable_) return TwoCalls(socket, out, in);
  io_uring_sqe* const send = io_uring_get_sqe(&ring_);
  io_uring_prep_send(send, socket, out.iov_base, out.iov_len, kSendFlags);
  io_uring_sqe_set_data64(send, kSend);
  io_uring_sqe* const receive = io_uring_get_sqe(&ring_);
  io_uring_prep_recv(receive, socket, in.iov_base, in.iov_len, MSG_DONTWAIT);
  io_uring_sqe_set_data64(receive, kReceive);
  // What the kernel has taken is done, and what it has not (it has no memory) was not tried.
  Results results{.sent = -EAGAIN, .received = -EAGAIN};
  int ended = 0;
  const int taken = io_uring_submit(&ring_);
  for (io_uring_cqe* end = nullptr; ended < taken && io_uring_peek_cqe(&ring_, &end) == 0; ++ended) {
    (end->user_data == kSend ? results.sent : results.received) = end->res;
    io_uring_cqe_seen(&ring_, end);
  }
  usable_ = ended == static_cast<int>(kEntries);
  return results;
}

}  // namespace ringmaster
