// Conformance: what operations deliver.
#ifndef RINGMASTER_COLLECTIVES_CONFORMANCE_COMMUNICATOR_CONFORMANCE_RESULTS_H_
#define RINGMASTER_COLLECTIVES_CONFORMANCE_COMMUNICATOR_CONFORMANCE_RESULTS_H_

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "collectives/conformance/communicator_conformance_group.h"
#include "collectives/conformance/communicator_trial.h"

namespace ringmaster::testing {

constexpr Operation kCollectives[] = {
    Operation::kAllReduce, Operation::kReduceScatter,  Operation::kAllGather,  Operation::kBroadcast,
    Operation::kBarrier,   Operation::kReduce,         Operation::kGather,     Operation::kScatter,
    Operation::kAllToAll,  Operation::kReduceScatterV, Operation::kAllGatherV, Operation::kAllToAllV,
};

// A status that says in which trial it arose.
inline absl::Status In(const TrialOptions& options, int size, const absl::Status& status) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(Describe(options, size), ": ", std::string(status.message())));
}

// Carries out all trials on one group, one after the other.
inline void CheckTrials(Group& group, const std::vector<TrialOptions>& all) {
  const int size = static_cast<int>(group.size());
  std::vector<std::unique_ptr<Trial>> trials;
  for (const TrialOptions& options : all) trials.push_back(std::make_unique<Trial>(size, options));
  const auto results = OnAllRanks(group, [&](Communicator& ranks) {
    for (size_t index = 0; index < all.size(); ++index) {
      absl::Status status = In(all[index], size, trials[index]->Check(ranks, kLong));
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  });
  for (size_t rank = 0; rank < results.size(); ++rank) EXPECT_OK(results[rank]) << "on rank " << rank;
}

inline int ReductionsOf(Operation operation) { return IsReduction(operation) ? kReductions : 1; }

TEST_P(CommunicatorConformance, KnowsRankAndSize) {
  const Group group = Make(3);
  for (int rank = 0; rank < 3; ++rank) {
    EXPECT_EQ(group[rank]->rank(), rank);
    EXPECT_EQ(group[rank]->size(), 3);
  }
}

TEST_P(CommunicatorConformance, EveryOperationIsExactForEveryTypeReductionCountAndRankNumber) {
  for (const int size : {1, 2, 3, 4, 5, 7, 8}) {
    Group group = Make(size);
    for (const Operation operation : kCollectives) {
      SCOPED_TRACE(absl::StrCat(NameOf(operation), ", ", size, " ranks"));
      std::vector<TrialOptions> trials;
      for (int type = 0; type < kDataTypes; ++type) {
        for (int reduction = 0; reduction < ReductionsOf(operation); ++reduction) {
          for (const int64_t count : {0, 1, 2, 3, 37}) {
            for (const bool in_place : {false, true}) {
              if (!Thorough() && (type + reduction + count) % 3 != 0) continue;
              trials.push_back({.operation = operation,
                                .type = static_cast<DataType>(type),
                                .reduction = static_cast<Reduction>(reduction),
                                .root = (type + reduction) % size,
                                .count = count,
                                .in_place = in_place,
                                .shift = static_cast<int>(count) % 4,
                                .seed = static_cast<uint32_t>(type * 100 + reduction * 10 + count)});
            }
          }
        }
      }
      CheckTrials(group, trials);
      if (HasFailure()) return;
    }
  }
}

// Several chunks, odd lengths, buffers that no vector is aligned to.
TEST_P(CommunicatorConformance, LargeVectorsAreExact) {
  for (const int size : {2, 3, 4}) {
    Group group = Make(size);
    for (const Operation operation : kCollectives) {
      for (const DataType type : {DataType::kF32, DataType::kBF16, DataType::kF16, DataType::kU8}) {
        for (const int64_t count : {1021, 4099, 69'001, 1024 * 1024 + 3}) {
          const bool largest = count > 100'000;
          if (count > GetParam().largest_count) continue;
          if (largest && (type != (operation == Operation::kAllReduce ? DataType::kF32 : DataType::kU8) || size == 4)) continue;
          CheckTrials(group, {{.operation = operation,
                               .type = type,
                               .reduction = count % 4 == 1 ? Reduction::kSum : Reduction::kAverage,
                               .root = size - 1,
                               .count = count,
                               .in_place = count % 4 == 1,
                               .shift = 1}});
          if (HasFailure()) return;
        }
      }
    }
  }
}

TEST_P(CommunicatorConformance, NothingNeedsNoBuffer) {
  Group group = Make(2);
  ExpectAllOk(OnAllRanks(group, [](Communicator& ranks) {
    absl::Status status = ranks.AllReduce(nullptr, nullptr, 0, DataType::kF32, Reduction::kSum, kLong);
    if (status.ok()) status = ranks.AllToAll(nullptr, nullptr, 0, DataType::kF32, kLong);
    if (status.ok()) status = ranks.Gather(nullptr, nullptr, 0, DataType::kF32, 1, kLong);
    const int peer = 1 - ranks.rank();
    if (status.ok())
      status = ranks.rank() == 0 ? ranks.Send(nullptr, 0, DataType::kF32, peer, kLong)
                                 : ranks.Receive(nullptr, 0, DataType::kF32, peer, kLong);
    return status;
  }));
}

// Messages of one step of a program, known to all ranks.
struct Message {
  int from = 0;
  int to = 0;
  int64_t count = 0;
  uint32_t seed = 0;
};

inline std::vector<char> ContentOf(const Message& message) {
  std::mt19937 random(message.seed);
  std::vector<char> content(static_cast<size_t>(message.count));
  for (char& byte : content) byte = static_cast<char>(random());
  return content;
}

// All messages of this rank at once, in an order of its own (that of the messages of one sender to one receiver stays).
inline absl::Status Exchange(Communicator& ranks, const std::vector<Message>& messages, uint32_t seed) {
  std::vector<size_t> mine;
  std::vector<std::vector<char>> buffers;
  for (const Message& message : messages) {
    std::vector<char> buffer = ContentOf(message);
    if (message.to == ranks.rank()) buffer.assign(buffer.size(), 0);
    buffers.push_back(std::move(buffer));
    if (message.from == ranks.rank() || message.to == ranks.rank()) mine.push_back(buffers.size() - 1);
  }
  std::mt19937 random(seed + static_cast<uint32_t>(ranks.rank()));
  const int turn = static_cast<int>(random() % 97);
  std::stable_sort(mine.begin(), mine.end(), [&](size_t a, size_t b) {  // by peer and direction, the peers in a random order
    const auto place = [&](size_t index) { return (messages[index].from * 13 + messages[index].to * 7 + turn) % 5; };
    return place(a) < place(b);
  });
  std::vector<Call> calls;
  for (const size_t index : mine) {
    const Message& message = messages[index];
    const bool sends = message.from == ranks.rank();
    calls.push_back({.operation = sends ? Operation::kSend : Operation::kReceive,
                     .type = DataType::kU8,
                     .root = sends ? message.to : message.from,
                     .count = message.count,
                     .send = sends ? buffers[index].data() : nullptr,
                     .receive = sends ? nullptr : buffers[index].data()});
  }
  if (absl::Status status = ranks.RunGroup(calls, kLong); !status.ok()) return status;
  for (const size_t index : mine) {
    if (buffers[index] != ContentOf(messages[index])) {
      return absl::InternalError(absl::StrCat("message from ", messages[index].from, " to ", messages[index].to, " of ",
                                              messages[index].count, " bytes arrived with other content"));
    }
  }
  return absl::OkStatus();
}

inline std::vector<Message> RandomMessages(std::mt19937& random, int size) {
  std::vector<Message> messages(1 + random() % 6);
  for (Message& message : messages) {
    message.from = static_cast<int>(random() % static_cast<uint32_t>(size));
    message.to = (message.from + 1 + static_cast<int>(random() % static_cast<uint32_t>(size - 1))) % size;
    message.count = random() % 4 == 0 ? static_cast<int64_t>(random() % 300'000) : static_cast<int64_t>(random() % 20);
    message.seed = random();
  }
  return messages;
}

inline TrialOptions RandomTrial(std::mt19937& random, int size) {
  TrialOptions options;
  options.operation = kCollectives[random() % std::size(kCollectives)];
  options.type = static_cast<DataType>(random() % kDataTypes);
  options.reduction = static_cast<Reduction>(random() % kReductions);
  options.root = static_cast<int>(random() % static_cast<uint32_t>(size));
  options.count = random() % 4 == 0 ? static_cast<int64_t>(random() % 20'000) : static_cast<int64_t>(random() % 40);
  options.in_place = random() % 2 == 0;
  options.shift = static_cast<int>(random() % 5);
  options.seed = random();
  return options;
}

// The same random program on all ranks: collectives and exchanges, in groups of a part of the ranks too.
inline absl::Status RunProgram(Communicator& ranks, uint32_t seed, int steps, bool splits) {
  std::mt19937 random(seed);
  for (int step = 0; step < steps; ++step) {
    const uint32_t kind = random() % 8;
    const TrialOptions options = RandomTrial(random, ranks.size());
    const std::vector<Message> messages = ranks.size() > 1 ? RandomMessages(random, ranks.size()) : std::vector<Message>();
    const uint32_t draw = random();
    absl::Status status;
    if (kind == 0 && splits && step % 4 == 0) {
      const int colour = static_cast<int>((draw >> ranks.rank()) & 1);
      auto part = ranks.Split(colour, /*key=*/-ranks.rank(), kLong);
      status = part.status();
      if (status.ok()) status = RunProgram(**part, draw + static_cast<uint32_t>(colour), 4, /*splits=*/false);
    } else if (kind < 3) {
      status = Exchange(ranks, messages, draw);
    } else {
      status = In(options, ranks.size(), Trial(ranks.size(), options).Check(ranks, kLong));
    }
    if (!status.ok()) return absl::Status(status.code(), absl::StrCat("step ", step, ": ", std::string(status.message())));
  }
  return absl::OkStatus();
}

TEST_P(CommunicatorConformance, AnyProgramIsExact) {
  for (const uint32_t seed : {1u, 2u, 3u, 4u}) {
    const int size = 2 + static_cast<int>(seed % 4);
    Group group = Make(size);
    ExpectAllOk(
        OnAllRanks(group, [&](Communicator& ranks) { return RunProgram(ranks, seed, Thorough() ? 120 : 40, GetParam().splits); }));
    if (HasFailure()) FAIL() << "seed " << seed;
  }
}

TEST_P(CommunicatorConformance, SplitOrdersByKeyAndLeavesNegativeColoursOut) {
  if (!GetParam().splits) return;  // Split is UNIMPLEMENTED: the next test says so
  Group group = Make(5);
  ExpectAllOk(OnAllRanks(group, [](Communicator& ranks) -> absl::Status {
    const int colour = ranks.rank() == 2 ? -1 : ranks.rank() % 2;  // {0, 4}, {1, 3}
    auto part = ranks.Split(colour, /*key=*/10 - ranks.rank(), kLong);
    if (!part.ok()) return part.status();
    if (ranks.rank() == 2) return *part == nullptr ? absl::OkStatus() : absl::InternalError("a group for a negative colour");
    const int expected = ranks.rank() >= 3 ? 0 : 1;
    if ((*part)->size() != 2 || (*part)->rank() != expected) return absl::InternalError("wrong rank or size");
    int32_t sum = ranks.rank();
    absl::Status status = (*part)->AllReduce(&sum, &sum, 1, DataType::kI32, Reduction::kSum, kLong);
    if (status.ok() && sum != 4) return absl::InternalError(absl::StrCat("sum ", sum));
    return status;
  }));
}

TEST_P(CommunicatorConformance, WhoCannotSplitSaysSo) {
  if (GetParam().splits) return;
  Group group = Make(2);
  const auto results = OnAllRanks(group, [](Communicator& ranks) { return ranks.Split(0, 0, kLong).status(); });
  for (const absl::Status& result : results) EXPECT_THAT(result, StatusIs(absl::StatusCode::kUnimplemented, ::testing::_));
}

// Everyone sends to everyone, far more than streams hold, and nobody receives before it has sent.
TEST_P(CommunicatorConformance, AnExchangeLargerThanAllBuffersMakesProgress) {
  Group group = Make(3);
  std::vector<Message> messages;
  const int64_t bytes = std::min<int64_t>(GetParam().largest_count * 4, 8'000'000);
  for (int from = 0; from < 3; ++from) {
    for (int to = 0; to < 3; ++to) {
      if (from != to)
        messages.push_back({.from = from, .to = to, .count = bytes + from, .seed = static_cast<uint32_t>(10 * from + to)});
    }
  }
  ExpectAllOk(OnAllRanks(group, [&](Communicator& ranks) { return Exchange(ranks, messages, 1); }));
}

TEST_P(CommunicatorConformance, MessagesOfOneSenderArriveInOrder) {
  Group group = Make(2);
  ExpectAllOk(OnAllRanks(group, [](Communicator& ranks) {
    for (int32_t round = 0; round < 200; ++round) {
      int32_t value = round;
      absl::Status status =
          ranks.rank() == 0 ? ranks.Send(&value, 1, DataType::kI32, 1, kLong) : ranks.Receive(&value, 1, DataType::kI32, 0, kLong);
      if (!status.ok()) return status;
      if (value != round) return absl::InternalError(absl::StrCat("message ", round, " is ", value));
    }
    return ranks.Barrier(kLong);
  }));
}

// A group may hold collectives: they follow the exchange.
TEST_P(CommunicatorConformance, AGroupRunsItsCollectivesAfterItsMessages) {
  Group group = Make(3);
  ExpectAllOk(OnAllRanks(group, [](Communicator& ranks) {
    const int next = (ranks.rank() + 1) % 3, previous = (ranks.rank() + 2) % 3;
    int32_t mine = ranks.rank() + 1, theirs = 0, sum = 0;
    const Call calls[] = {
        {.operation = Operation::kAllReduce, .type = DataType::kI32, .count = 1, .send = &theirs, .receive = &sum},
        {.operation = Operation::kReceive, .type = DataType::kI32, .root = previous, .count = 1, .receive = &theirs},
        {.operation = Operation::kSend, .type = DataType::kI32, .root = next, .count = 1, .send = &mine}};
    absl::Status status = ranks.RunGroup(calls, kLong);
    if (status.ok() && (theirs != previous + 1 || sum != 6)) return absl::InternalError(absl::StrCat(theirs, " and ", sum));
    return status;
  }));
}

TEST_P(CommunicatorConformance, RegisteredMemoryIsMemory) {
  Group group = Make(2);
  ExpectAllOk(OnAllRanks(group, [](Communicator& ranks) -> absl::Status {
    constexpr int64_t kCount = 100'000;
    auto memory = ranks.Register(kCount * 4, kLong);
    if (!memory.ok()) return memory.status();
    auto* const values = static_cast<int32_t*>(memory->data());
    for (int64_t i = 0; i < kCount; ++i) {
      if (values[i] != 0) return absl::InternalError("not zeroed");
      values[i] = static_cast<int32_t>(i) + ranks.rank();
    }
    absl::Status status = ranks.AllReduce(values, values, kCount, DataType::kI32, Reduction::kSum, kLong);
    for (int64_t i = 0; i < kCount && status.ok(); ++i) {
      if (values[i] != 2 * i + 1) return absl::InternalError(absl::StrCat("element ", i, " is ", values[i]));
    }
    return status;
  }));
}

TEST_P(CommunicatorConformance, BarrierWaitsForEveryRank) {
  Group group = Make(3);
  std::atomic<int> arrived{0};
  ExpectAllOk(OnAllRanks(group, [&](Communicator& ranks) {
    for (int round = 1; round <= 50; ++round) {
      ++arrived;
      if (absl::Status status = ranks.Barrier(kLong); !status.ok()) return status;
      if (arrived < 3 * round) return absl::InternalError("left the barrier before all had come");
    }
    return absl::OkStatus();
  }));
}

}  // namespace ringmaster::testing

#endif  // RINGMASTER_COLLECTIVES_CONFORMANCE_COMMUNICATOR_CONFORMANCE_RESULTS_H_
