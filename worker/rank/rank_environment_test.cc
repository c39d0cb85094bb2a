#include "worker/rank/rank_environment.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ringmaster {
namespace {

using ::testing::ElementsAre;
using ::testing::IsSupersetOf;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

RankPlace Place() {
  return {.job = JobId("char-gpt-7f3k2"),
          .epoch = Epoch(4),
          .rank = Rank(5),
          .incarnation = Incarnation(0xFFFFFFFFFFFFFFFF),
          .local_rank = 1,
          .local_world_size = 4,
          .world_size = 8,
          .group_rank = 1,
          .group_world_size = 2,
          .restart_count = 3,
          .max_restarts = 7,
          .master_address = "10.0.0.1",
          .master_port = 40001,
          .coordinator = "10.0.0.9:7077",
          .relay = "unix-abstract:ringmaster-relay-7",
          .host = "h2",
          .address = "10.0.0.2",
          .board_fd = 5,
          .usable_cores = 10};
}

TEST(RankEnvironment, WithoutAnyoneElse_IsExactlyTheContract) {
  EXPECT_THAT(BuildRankEnvironment(Place(), {}, {}),
              UnorderedElementsAre(
                  Pair("RANK", "5"), Pair("LOCAL_RANK", "1"), Pair("WORLD_SIZE", "8"), Pair("LOCAL_WORLD_SIZE", "4"),
                  Pair("GROUP_RANK", "1"), Pair("GROUP_WORLD_SIZE", "2"), Pair("ROLE_NAME", "default"), Pair("ROLE_RANK", "5"),
                  Pair("ROLE_WORLD_SIZE", "8"), Pair("MASTER_ADDR", "10.0.0.1"), Pair("MASTER_PORT", "40001"),
                  Pair("TORCHELASTIC_RESTART_COUNT", "3"), Pair("TORCHELASTIC_MAX_RESTARTS", "7"),
                  Pair("TORCHELASTIC_RUN_ID", "char-gpt-7f3k2"), Pair("TORCHELASTIC_USE_AGENT_STORE", "False"),
                  Pair("TORCH_NCCL_ASYNC_ERROR_HANDLING", "1"), Pair("OMP_NUM_THREADS", "2"), Pair("GOMP_SPINCOUNT", "1000"),
                  Pair("RINGMASTER_COORDINATOR", "10.0.0.9:7077"), Pair("RINGMASTER_RELAY", "unix-abstract:ringmaster-relay-7"),
                  Pair("RINGMASTER_JOB", "char-gpt-7f3k2"), Pair("RINGMASTER_EPOCH", "4"),
                  Pair("RINGMASTER_INCARNATION", "18446744073709551615"), Pair("RINGMASTER_HOST", "h2"),
                  Pair("RINGMASTER_ADDRESS", "10.0.0.2"), Pair("RINGMASTER_PROGRESS_BOARD_FD", "5"), Pair("NCCL_NVLS_ENABLE", "0"),
                  Pair("TORCH_SYMM_MEM_DISABLE_MULTICAST", "1"), Pair("NVSHMEM_DISABLE_NVLS", "1")));
}

TEST(WithoutRank, LeavesWhatAllRanksOfAJobHaveInCommon) {
  RankPlace other = Place();
  other.epoch = Epoch(5);
  other.rank = Rank(6);
  other.incarnation = Incarnation(1);
  other.local_rank = 2;
  other.group_rank = 0;
  other.restart_count = 4;
  other.master_address = "10.0.0.7";
  other.master_port = 40002;
  const Environment common = WithoutRank(BuildRankEnvironment(Place(), {}, {{"COLOR", "green"}}));
  EXPECT_EQ(common, WithoutRank(BuildRankEnvironment(other, {}, {{"COLOR", "green"}})));
  EXPECT_THAT(common,
              IsSupersetOf({Pair("COLOR", "green"), Pair("OMP_NUM_THREADS", "2"), Pair("RINGMASTER_JOB", "char-gpt-7f3k2")}));
}

struct Precedence {
  const char* name;
  const char* by_operator;  // null = not set
  const char* by_job;
  const char* wins;
};

TEST(RankEnvironment, Precedence) {
  const Precedence table[] = {
      {"NCCL_DEBUG", "INFO", nullptr, "INFO"},  // passes through untouched
      {"NCCL_DEBUG", "INFO", "WARN", "WARN"},
      {"PATH", "/opt/bin", nullptr, "/opt/bin"},
      {"OMP_NUM_THREADS", "3", nullptr, "3"},
      {"OMP_NUM_THREADS", "3", "4", "4"},
      {"OMP_NUM_THREADS", nullptr, "4", "4"},
      {"TORCH_NCCL_ASYNC_ERROR_HANDLING", "0", nullptr, "0"},
      {"RANK", "77", nullptr, "5"},  // the operator's is a left-over of something else
      {"MASTER_ADDR", nullptr, "localhost", "localhost"},
      {"NCCL_NVLS_ENABLE", "1", nullptr, "0"},
      {"NCCL_NVLS_ENABLE", nullptr, "1", "0"},
      {"TORCH_SYMM_MEM_DISABLE_MULTICAST", "0", "0", "1"},
      {"NVSHMEM_DISABLE_NVLS", "0", "0", "1"},
  };
  for (const Precedence& row : table) {
    Environment by_operator;
    Environment by_job;
    if (row.by_operator != nullptr) by_operator[row.name] = row.by_operator;
    if (row.by_job != nullptr) by_job[row.name] = row.by_job;
    EXPECT_EQ(BuildRankEnvironment(Place(), by_operator, by_job)[row.name], row.wins) << row.name;
  }
}

TEST(RankEnvironment, GpusAreADefault) {
  RankPlace place = Place();
  place.gpus = "GPU-b,GPU-a";
  EXPECT_THAT(BuildRankEnvironment(place, {}, {}), ::testing::Contains(Pair("CUDA_VISIBLE_DEVICES", "GPU-b,GPU-a")));
  EXPECT_THAT(BuildRankEnvironment(place, {{"CUDA_VISIBLE_DEVICES", "1"}}, {}),
              ::testing::Contains(Pair("CUDA_VISIBLE_DEVICES", "1")));
}

TEST(RankEnvironment, FewerCoresThanRanks_StillOneThreadEach) {
  RankPlace place = Place();
  place.usable_cores = 2;

  EXPECT_EQ(BuildRankEnvironment(place, {}, {})["OMP_NUM_THREADS"], "1");
}

TEST(RankEnvironment, ParseKeepsEverythingBehindTheFirstEqualsSign) {
  const char* const variables[] = {"A=1", "B=x=y", "C=", "broken", "=odd", nullptr};

  const Environment parsed = ParseEnvironment(variables);

  EXPECT_THAT(parsed, UnorderedElementsAre(Pair("A", "1"), Pair("B", "x=y"), Pair("C", "")));
  EXPECT_THAT(FormatEnvironment(parsed), ElementsAre("A=1", "B=x=y", "C="));
}

}  // namespace
}  // namespace ringmaster
