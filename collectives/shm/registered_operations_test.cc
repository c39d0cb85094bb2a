// Registered buffers give the bits that private ones give, whatever they are offset by, and fall back where ranks differ.
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "collectives/shm/in_process_group.h"
#include "common/status_matchers.h"

namespace ringmaster {
namespace {

using testing::Group;
using testing::kLong;
using testing::OnAllRanks;

constexpr int64_t kLarge = 50'003;  // of each part: several blocks, and no whole number of cache lines
constexpr int64_t kSmall = 201;     // fits into a post

// Values that round, so that the order of addition shows.
void Fill(float* data, int64_t count, int rank) {
  for (int64_t i = 0; i < count; ++i) data[i] = 1.0f / static_cast<float>(1 + (i * 7 + rank * 13) % 1001);
}

absl::Status ExpectSame(const float* found, const std::vector<float>& expected, const char* what) {
  if (std::memcmp(found, expected.data(), expected.size() * sizeof(float)) == 0) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(what, " differs from the same with private buffers"));
}

// Each operation with private buffers, then with `send` and `receive` (which may be the same memory).
absl::Status CompareAll(Communicator& ranks, int64_t count, float* send, float* receive) {
  const int64_t whole = count * ranks.size();
  const bool in_place = send == receive;
  std::vector<float> input(whole), expected(whole);
  // Twice: neighbouring operations walk their slices in opposite directions.
  for (int round = 0; round < 2; ++round) {
    Fill(input.data(), whole, ranks.rank());
    absl::Status status = ranks.AllReduce(input.data(), expected.data(), whole, DataType::kF32, Reduction::kSum, kLong);
    std::memcpy(send, input.data(), whole * sizeof(float));
    if (status.ok()) status = ranks.AllReduce(send, receive, whole, DataType::kF32, Reduction::kSum, kLong);
    if (status.ok()) status = ExpectSame(receive, expected, "all_reduce");
    if (!status.ok()) return status;

    expected.resize(count);
    status = ranks.ReduceScatter(input.data(), expected.data(), count, DataType::kF32, Reduction::kAverage, kLong);
    std::memcpy(send, input.data(), whole * sizeof(float));
    float* const part = in_place ? send + ranks.rank() * count : receive;
    if (status.ok()) status = ranks.ReduceScatter(send, part, count, DataType::kF32, Reduction::kAverage, kLong);
    if (status.ok()) status = ExpectSame(part, expected, "reduce_scatter");
    if (!status.ok()) return status;

    expected.resize(whole);
    status = ranks.AllGather(input.data(), expected.data(), count, DataType::kF32, kLong);
    float* const own = in_place ? receive + ranks.rank() * count : send;
    std::memcpy(own, input.data(), count * sizeof(float));
    if (status.ok()) status = ranks.AllGather(own, receive, count, DataType::kF32, kLong);
    if (status.ok()) status = ExpectSame(receive, expected, "all_gather");
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

void OnEveryRank(int size, const std::function<absl::Status(Communicator&)>& body) {
  for (const int helpers : {0, 3}) {
    SCOPED_TRACE(absl::StrCat(size, " ranks, each with ", helpers, " helpers"));
    // With a core for each: small vectors go straight from inputs to results too.
    Group group = testing::MakeInProcessShmGroup(size, {.helpers = helpers, .share_cores = false});
    for (const absl::Status& result : OnAllRanks(group, body)) EXPECT_OK(result);
  }
}

TEST(RegisteredOperationsTest, GiveTheBitsOfPrivateBuffers) {
  for (const int size : {2, 3, 5}) {
    OnEveryRank(size, [](Communicator& ranks) -> absl::Status {
      const int64_t bytes = kLarge * ranks.size() * 4 + 4096;
      auto first = ranks.Register(bytes, kLong), second = ranks.Register(bytes, kLong);
      if (!first.ok() || !second.ok()) return absl::InternalError("no buffers");
      auto* const send = static_cast<float*>(first->data()) + 32;  // not at the beginning
      auto* const receive = static_cast<float*>(second->data()) + 16;
      for (const int64_t count : {kLarge, kSmall}) {
        absl::Status status = CompareAll(ranks, count, send, receive);
        if (status.ok()) status = CompareAll(ranks, count, send, send);
        if (!status.ok()) return status;
      }
      return absl::OkStatus();
    });
  }
}

TEST(RegisteredOperationsTest, RanksWhoseBuffersLieElsewhereGetTheSameBits) {
  for (const int size : {2, 3}) {
    OnEveryRank(size, [](Communicator& ranks) -> absl::Status {
      auto buffer = ranks.Register(kLarge * ranks.size() * 8 + 4096, kLong);
      if (!buffer.ok()) return buffer.status();
      auto* const data = static_cast<float*>(buffer->data());
      std::vector<float> own(kLarge * ranks.size());
      for (const int64_t count : {kLarge, kSmall}) {
        float* const mine = ranks.rank() == 0 ? own.data() : data + 16 * ranks.rank();  // private, or another offset on each
        if (const absl::Status status = CompareAll(ranks, count, mine, mine); !status.ok()) return status;
      }
      return absl::OkStatus();
    });
  }
}

TEST(RegisteredOperationsTest, TooMuchIsRefusedOnAllRanksAndHarmsNobody) {
  OnEveryRank(2, [](Communicator& ranks) -> absl::Status {
    const absl::Status much = ranks.Register(int64_t{1} << 40, kLong).status();
    if (!absl::IsResourceExhausted(much)) return absl::InternalError(absl::StrCat("too much: ", much.ToString()));
    const absl::Status unlike = ranks.Register(4096 + ranks.rank(), kLong).status();
    if (!absl::IsInvalidArgument(unlike)) return absl::InternalError(absl::StrCat("unlike: ", unlike.ToString()));
    return ranks.Register(4096, kLong).status();
  });
}

}  // namespace
}  // namespace ringmaster
