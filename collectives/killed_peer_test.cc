// Ranks as processes: what the others learn when one is killed or stopped.
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "collectives/create_communicator.h"
#include "common/file_descriptor.h"
#include "common/real_clock.h"
#include "common/status_matchers.h"

namespace ringmaster {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::StatusIs;

constexpr int kMostRanks = 6;
constexpr absl::Duration kLong = absl::Seconds(60);

struct Pipe {
  Pipe() {
    int ends[2] = {-1, -1};
    EXPECT_EQ(pipe(ends), 0);
    read = FileDescriptor(ends[0]);
    write = FileDescriptor(ends[1]);
  }
  FileDescriptor read, write;
};

// Everything published travels in one write, which is whole for a reader.
std::string ReadMessage(const FileDescriptor& pipe, absl::Duration timeout) {
  pollfd ready{.fd = pipe.get(), .events = POLLIN, .revents = 0};
  std::array<char, 4096> text{};
  if (poll(&ready, 1, static_cast<int>(absl::ToInt64Milliseconds(timeout))) <= 0) return "";
  const ssize_t bytes = read(pipe.get(), text.data(), text.size());
  return {text.data(), static_cast<size_t>(std::max<ssize_t>(bytes, 0))};
}

void WriteMessage(const FileDescriptor& pipe, const std::string& text) {
  EXPECT_EQ(write(pipe.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
}

// Pipes between processes that were forked after its making. The mesh publishes one key per rank, which ends in the rank.
class PipeRendezvous final : public Rendezvous {
 public:
  explicit PipeRendezvous(int size) : size_(size) {}

  void SetRank(int rank) { rank_ = rank; }

  absl::Status Publish(const std::string&, const std::string& value) override {
    for (int peer = 0; peer < size_; ++peer) WriteMessage(pipes_[rank_][peer].write, value);
    return absl::OkStatus();
  }

  absl::StatusOr<std::string> Await(const std::string& key, absl::Duration timeout) override {
    int peer = -1;
    if (!absl::SimpleAtoi(key.substr(key.rfind('/') + 1), &peer)) return absl::InternalError(key);
    std::string value = ReadMessage(pipes_[peer][rank_].read, timeout);
    if (value.empty()) return absl::DeadlineExceededError(key);
    return value;
  }

 private:
  const int size_;
  int rank_ = 0;
  std::array<std::array<Pipe, kMostRanks>, kMostRanks> pipes_;  // [from][to]
};

struct Way {
  const char* name;
  TransportChoice transport;
  int channels = 1;
  HostCommunicatorOptions host = {};
  int size = 3;

  int victim() const { return size - 1; }
};

absl::StatusOr<std::unique_ptr<Communicator>> Join(int rank, const Way& way, PipeRendezvous& rendezvous, const Clock& clock) {
  rendezvous.SetRank(rank);
  const CommunicatorOptions options{.mesh = {.rank = rank,
                                             .size = way.size,
                                             .group = "world",
                                             .job = "killed",
                                             .epoch = 1,
                                             .host = "here",
                                             .pid = getpid(),
                                             .listen_address = "127.0.0.1"},
                                    .transport = way.transport,
                                    .ranks_on_host = 1000,
                                    .host = way.host,
                                    .channels = way.channels};
  return CreateCommunicator(options, rendezvous, kLong, clock);
}

// All-reduces until one fails.
absl::Status RunUntilBroken(Communicator& ranks, int64_t count, absl::Duration timeout) {
  std::vector<float> data(count);
  absl::Status status;
  while (status.ok()) status = ranks.AllReduce(data.data(), data.data(), count, DataType::kF32, Reduction::kMax, timeout);
  return status;
}

class KilledPeerTest : public ::testing::TestWithParam<Way> {
 protected:
  // All ranks but 0 run in processes of their own; `strike` happens to the victim's, and the statuses of rank 0 (here) and of rank
  // 1 come back.
  void Run(const std::function<void(pid_t)>& strike, int64_t count, absl::Duration timeout) {
    Pipe told;
    PipeRendezvous rendezvous(GetParam().size);
    const RealClock clock;
    for (int rank = 1; rank < GetParam().size; ++rank) {
      const pid_t child = fork();
      ASSERT_GE(child, 0);
      if (child == 0) {
        auto ranks = Join(rank, GetParam(), rendezvous, clock);
        const absl::Status status = ranks.ok() ? RunUntilBroken(**ranks, count, rank == 1 ? timeout : kLong) : ranks.status();
        if (rank == 1) WriteMessage(told.write, status.ToString());
        _exit(0);
      }
      children_[rank] = child;
    }
    auto ranks = Join(0, GetParam(), rendezvous, clock);
    ASSERT_OK(ranks);
    std::vector<float> data(count);
    for (int round = 0; round < 3; ++round) {
      ASSERT_OK((*ranks)->AllReduce(data.data(), data.data(), count, DataType::kF32, Reduction::kMax, kLong));
    }
    const absl::Time struck = clock.Now();
    strike(children_[GetParam().victim()]);
    here_ = RunUntilBroken(**ranks, count, timeout);
    took_ = clock.Now() - struck;
    there_ = ReadMessage(told.read, kLong);
  }

  void TearDown() override { EndChildren(); }

  void EndChildren() {
    for (pid_t& child : children_) {
      if (child <= 0) continue;
      kill(child, SIGKILL);
      waitpid(child, nullptr, 0);
      child = 0;
    }
  }

  std::string VictimsName() const {
    return absl::StrCat("rank ", GetParam().victim(), " (host here, pid ", children_[GetParam().victim()], ")");
  }

  std::array<pid_t, kMostRanks> children_{};
  absl::Status here_;
  absl::Duration took_;  // from the strike until rank 0 knew
  std::string there_;
};

TEST_P(KilledPeerTest, SurvivorsNameRankHostAndPidOfAKilledProcess) {
  for (const int64_t count : {10, 100'000}) {
    Run([](pid_t victim) { kill(victim, SIGKILL); }, count, kLong);
    EXPECT_THAT(here_, StatusIs(absl::StatusCode::kUnavailable,
                                HasSubstr(absl::StrCat(VictimsName(), " closed its connection during all_reduce seq "))));
    EXPECT_THAT(there_, AllOf(HasSubstr("UNAVAILABLE"), HasSubstr(VictimsName())));
    EndChildren();
  }
}

TEST_P(KilledPeerTest, AStoppedProcessIsNamedAtTheDeadline) {
  const auto stop = [](pid_t victim) {
    kill(victim, SIGSTOP);
    waitpid(victim, nullptr, WUNTRACED);
  };
  for (const int64_t count : {10, 1'000'000}) {             // the second leaves data that the stopped process does not take
    constexpr absl::Duration kDeadline = absl::Seconds(2);  // of which the operations before the stop need little
    SCOPED_TRACE(absl::StrCat(count, " elements"));
    Run(stop, count, kDeadline);
    EXPECT_THAT(here_, StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr(VictimsName())));
    EXPECT_THAT(there_, AllOf(HasSubstr("DEADLINE_EXCEEDED"), HasSubstr(VictimsName())));
    RecordProperty(absl::StrCat("late_with_", count), absl::FormatDuration(took_ - kDeadline));
    EndChildren();
  }
}

// At some moment of a busy group: the draw of the system, many times.
TEST_P(KilledPeerTest, AtWhateverMomentAPeerDiesSurvivorsNameIt) {
  absl::Duration longest;
  for (int trial = 0; trial < 24; ++trial) {
    constexpr int64_t kCounts[] = {1, 5'000, 300'000};
    SCOPED_TRACE(absl::StrCat("trial ", trial));
    Run([](pid_t victim) { kill(victim, SIGKILL); }, kCounts[trial % 3], kLong);
    EXPECT_THAT(here_, StatusIs(absl::StatusCode::kUnavailable, HasSubstr(VictimsName())));
    EXPECT_THAT(there_, AllOf(HasSubstr("UNAVAILABLE"), HasSubstr(VictimsName())));
    EndChildren();
    longest = std::max(longest, took_);
    if (HasFailure()) return;
  }
  RecordProperty("longest", absl::FormatDuration(longest));  // for people: it is the machine's as much as ours
}

INSTANTIATE_TEST_SUITE_P(
    Transports, KilledPeerTest,
    ::testing::Values(
        Way{"Shm", TransportChoice::kShm}, Way{"Tcp", TransportChoice::kTcp}, Way{"Channels", TransportChoice::kTcp, 8},
        Way{"Bruck", TransportChoice::kTcp, 1, {.algorithm = Algorithm::kBruck, .hearing = absl::Milliseconds(100)}, 6}),
    [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace ringmaster
