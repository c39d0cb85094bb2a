#include "collectives/shm/group_sync.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/check.h"

namespace ringmaster::shm {
namespace {

// Looking this often takes one or two microseconds: more than most transfers between cores, less than is noticed when one is late.
constexpr int kLooks = 4000;

void CopyWords(std::string_view words, char (&to)[512]) {
  const size_t length = std::min(words.size(), sizeof(to) - 1);
  std::memcpy(to, words.data(), length);
  to[length] = 0;
}

}  // namespace

GroupSync::GroupSync(Segment segment, const Clock& clock, GroupSyncOptions options)
    : segment_(segment), clock_(clock), options_(std::move(options)), looks_(options_.share_cores ? 1 : kLooks) {
  RM_CHECK(size() <= kMaxRanks) << size() << " ranks";
}

void GroupSync::PublishCarefully(std::atomic<uint64_t>& counter, uint64_t value) {
  if (options_.before_publish) options_.before_publish();
  counter.store(value, std::memory_order_release);
  if (fences_) {
    segment_.control().sleepers.fetch_or(0);  // a full barrier
  } else {
    std::atomic_signal_fence(std::memory_order_seq_cst);
  }
  if (segment_.control().sleepers.load(std::memory_order_relaxed) != 0) Ring();
}

void GroupSync::Begin(const Call& call, bool collective, absl::Duration timeout, FlightRecorder* recorder) {
  call_ = &call;
  recorder_ = recorder;
  collective_ = collective;
  timeout_ = timeout;
  deadline_ = absl::InfiniteFuture();
  if (collective) ++sequence_;
}

void GroupSync::Finish() {
  if (collective_) segment_.state(rank()).finished.store(sequence_, std::memory_order_release);
}

void GroupSync::Ring() {
  const uint64_t sleepers = segment_.control().sleepers.load(std::memory_order_relaxed);
  for (int peer = 0; peer < size(); ++peer) {
    if ((sleepers & Bit(peer)) != 0 && peer != rank()) RingBell(peer);
  }
}

void GroupSync::RingBell(int rank) {
  std::atomic<uint32_t>& bell = segment_.state(rank).bell;
  bell.fetch_add(1);
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&bell), FUTEX_WAKE, 1, nullptr, nullptr, 0);
}

// Whether the current operation cannot end any more.
bool GroupSync::Troubled() {
  if (aborted_.load(std::memory_order_acquire)) return true;
  const auto unfinished = [this](int peer) {
    if (!collective_) return (exchanging_ & Bit(peer)) != 0;
    return segment_.state(peer).finished.load(std::memory_order_acquire) < sequence_;
  };
  if (const uint64_t packed = segment_.control().broken.load(std::memory_order_acquire); packed != 0) {
    const BrokenWord word = BrokenWord::Unpack(packed);
    if (word.cause != Cause::kPeerClosed || word.culprit >= size() || unfinished(word.culprit)) return true;
    // That one had finished this operation before it went; another may not have.
  }
  const uint64_t closed = closed_.load(std::memory_order_acquire);
  for (int peer = 0; closed != 0 && peer < size(); ++peer) {
    if ((closed & Bit(peer)) != 0 && unfinished(peer)) {
      Break(Cause::kPeerClosed, peer, absl::StrCat(NameOf(peer), " closed its connection", During()));
      return true;
    }
  }
  return false;
}

std::string GroupSync::During() const {
  return collective_ ? absl::StrCat(" during ", ringmaster::NameOf(call_->operation), " seq ", number())
                     : absl::StrCat(" during ", Describe(*call_));
}

// Those that have not called; if there are none, those that have done least: the others wait for them.
uint64_t GroupSync::Behind(int peer) const {
  if (!collective_) return exchanging_;
  uint64_t absent = 0, slowest = 0, least = UINT64_MAX;
  for (int other = 0; other < size(); ++other) {
    if (other == rank()) continue;
    if (segment_.slot(sequence_, other).sequence.load(std::memory_order_acquire) < sequence_) absent |= Bit(other);
    const RankState& state = segment_.state(other);
    if (state.finished.load(std::memory_order_relaxed) >= sequence_) continue;
    const uint64_t done = state.staged.load(std::memory_order_relaxed) + state.reduced.load(std::memory_order_relaxed) +
                          state.consumed.load(std::memory_order_relaxed);
    if (done < least) slowest = 0;
    least = std::min(least, done);
    if (done == least) slowest |= Bit(other);
  }
  if (absent != 0) return absent;
  return slowest == 0 && peer >= 0 ? Bit(peer) : slowest;
}

bool GroupSync::GiveUp(int peer) {
  const uint64_t behind = Behind(peer);
  std::vector<std::string> names;
  for (int other = 0; other < size(); ++other) {
    if ((behind & Bit(other)) == 0) continue;
    const bool called = !collective_ || segment_.slot(sequence_, other).sequence.load(std::memory_order_acquire) >= sequence_;
    names.push_back(absl::StrCat(NameOf(other), called ? "" : ", which did not call it"));
  }
  const std::string what = collective_ ? absl::StrCat(ringmaster::NameOf(call_->operation), " seq ", number()) : Describe(*call_);
  return Break(
      Cause::kPeerSilent, behind == 0 ? rank() : std::countr_zero(behind),
      absl::StrCat(what, " did not end within ", absl::FormatDuration(timeout_), ": waited for ", absl::StrJoin(names, ", ")));
}

// A rank in a send or receive with this one, and this one in a collective (or the other way round), would wait for ever. What is
// read here is stable only then, hence the order: a rank calls itself blocked before it waits and unblocked before it moves bytes,
// so a ring that is seen empty (full) first and its rank blocked afterwards will not move without this rank.
bool GroupSync::IsCrossed(int peer, absl::FunctionRef<bool()> done) const {
  const RankState& state = segment_.state(peer);
  if (!collective_) {
    return (exchanging_ & Bit(peer)) != 0 &&
           segment_.slot(sequence_ + 1, peer).sequence.load(std::memory_order_acquire) == sequence_ + 1 && !done();
  }
  const auto filled = [](const shm::Ring& ring) {
    return ring.head.load(std::memory_order_acquire) - ring.tail.load(std::memory_order_acquire);
  };
  const bool sent_all = filled(segment_.ring(rank(), peer)) == 0;
  const bool full = filled(segment_.ring(peer, rank())) == segment_.sizes().ring_bytes;
  const bool blocked = (sent_all && (state.blocked_receiving.load(std::memory_order_acquire) & Bit(rank())) != 0) ||
                       (full && (state.blocked_sending.load(std::memory_order_acquire) & Bit(rank())) != 0);
  // A peer that has posted is in or behind this operation: what it waits for comes after it.
  return blocked && segment_.slot(sequence_, peer).sequence.load(std::memory_order_acquire) < sequence_;
}

bool GroupSync::CheckForCrossedCalls(absl::FunctionRef<bool()> done) {
  for (int peer = 0; peer < size(); ++peer) {
    if (peer == rank() || !IsCrossed(peer, done)) continue;
    const PostedCall& theirs = collective_ ? segment_.state(peer).blocked_call : segment_.slot(sequence_ + 1, peer).call;
    return Break(Cause::kMismatch, peer,
                 absl::StrCat("rank ", rank(), " called ", Describe(*call_), ", ", NameOf(peer), " called ", Describe(theirs),
                              " at the same point: all ranks must make the same calls in the same order"));
  }
  return true;
}

bool GroupSync::Claim(BrokenWord word) {
  uint64_t whole = 0;
  const bool first = segment_.control().broken.compare_exchange_strong(whole, word.Pack());
  for (int peer = 0; first && peer < size(); ++peer) RingBell(peer);
  return first;
}

bool GroupSync::Break(Cause cause, int culprit, std::string_view words) {
  if (segment_.control().broken.load() == 0) {
    CopyWords(words, segment_.state(rank()).words[0]);
    Claim({cause, static_cast<uint8_t>(culprit), static_cast<uint8_t>(rank()), 0});
  }
  return false;
}

absl::Status GroupSync::status() {
  {
    MutexLock lock(&mu_);
    if (aborted_.load()) return absl::AbortedError(abort_reason_);
  }
  const uint64_t packed = segment_.control().broken.load(std::memory_order_acquire);
  if (packed == 0) return absl::OkStatus();
  const BrokenWord word = BrokenWord::Unpack(packed);
  const int teller = std::min<int>(word.teller, size() - 1);
  const char* const words = segment_.state(teller).words[word.words];
  std::string text(words, strnlen(words, sizeof(RankState::words[0])));
  if (teller != rank()) absl::StrAppend(&text, " (told by rank ", teller, ")");
  switch (word.cause) {
    case Cause::kPeerClosed:
    case Cause::kAborted: return absl::UnavailableError(text);
    case Cause::kPeerSilent: return absl::DeadlineExceededError(text);
    case Cause::kMismatch: return absl::InvalidArgumentError(text);
    default: return absl::InternalError(text);
  }
}

void GroupSync::PeerClosed(int peer) {
  closed_.fetch_or(Bit(peer));
  RingBell(rank());
}

void GroupSync::Abort(std::string_view reason) {
  {
    MutexLock lock(&mu_);
    if (aborted_.load() || segment_.control().broken.load() != 0) return;
    abort_reason_ = std::string(reason);
    CopyWords(absl::StrCat(NameOf(rank()), " aborted its group: ", abort_reason_), segment_.state(rank()).words[1]);
    aborted_.store(true);
  }
  Claim({Cause::kAborted, static_cast<uint8_t>(rank()), static_cast<uint8_t>(rank()), 1});
  RingBell(rank());
}

}  // namespace ringmaster::shm
