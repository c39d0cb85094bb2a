#include <sys/mman.h>
#include <unistd.h>

#include <map>
#include <string>

#include "common/environment.h"
#include "common/status_matchers.h"
#include "gtest/gtest.h"
#include "trainer/session/board_writer.h"
#include "trainer/session/identity_from_environment.h"

namespace ringmaster::trainer {
namespace {

using ::ringmaster::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

std::map<std::string, std::string> GoodEnvironment() {
  return {{"RINGMASTER_COORDINATOR", "h1:7070"},
          {"RINGMASTER_JOB", "char-gpt-1"},
          {"RINGMASTER_EPOCH", "3"},
          {"RINGMASTER_INCARNATION", "18446744073709551615"},
          {"RINGMASTER_HOST", "h2"},
          {"RINGMASTER_RELAY", "unix-abstract:r-1"},
          {"RINGMASTER_ADDRESS", "10.0.0.2"},
          {"RANK", "1"},
          {"LOCAL_RANK", "0"},
          {"WORLD_SIZE", "2"},
          {"OMP_NUM_THREADS", "4"}};
}

absl::StatusOr<TrainerIdentity> Read(const std::map<std::string, std::string>& environment) {
  return IdentityFromEnvironment([&](const char* name) -> const char* {
    const auto found = environment.find(name);
    return found == environment.end() ? nullptr : found->second.c_str();
  });
}

TEST(IdentityFromEnvironment, ReadsEveryField) {
  ASSERT_OK_AND_ASSIGN(const TrainerIdentity identity, Read(GoodEnvironment()));
  EXPECT_EQ(identity.coordinator, "h1:7070");
  EXPECT_EQ(identity.relay, "unix-abstract:r-1");
  EXPECT_EQ(identity.job, JobId("char-gpt-1"));
  EXPECT_EQ(identity.epoch, Epoch(3));
  EXPECT_EQ(identity.rank, Rank(1));
  EXPECT_EQ(identity.incarnation, Incarnation(18446744073709551615u));
  EXPECT_EQ(identity.host, "h2");
  EXPECT_EQ(identity.address, "10.0.0.2");
  EXPECT_EQ(identity.local_rank, 0);
  EXPECT_EQ(identity.threads, 4);
}

TEST(IdentityFromEnvironment, NamesTheVariableWhatWasFoundAndWhatWasExpected) {
  for (const auto& [name, good] : GoodEnvironment()) {
    if (name == "OMP_NUM_THREADS" || name == "RINGMASTER_RELAY") continue;
    auto environment = GoodEnvironment();
    environment.erase(name);
    EXPECT_THAT(Read(environment),
                StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr(name + " is not set"), HasSubstr("expected"))));
  }
  const std::pair<const char*, const char*> wrong[] = {
      {"RANK", "2"},       {"RANK", "-1"},          {"RANK", "one"}, {"RINGMASTER_EPOCH", "0"}, {"RINGMASTER_INCARNATION", "0"},
      {"WORLD_SIZE", "0"}, {"OMP_NUM_THREADS", "0"}};
  for (const auto& [name, value] : wrong) {
    auto environment = GoodEnvironment();
    environment[name] = value;
    EXPECT_THAT(Read(environment), StatusIs(absl::StatusCode::kInvalidArgument,
                                            HasSubstr(std::string(name) + " is \"" + value + "\"; expected a whole number")));
  }
}

int MakeMemory(off_t bytes) {
  const int fd = memfd_create("board", MFD_CLOEXEC);
  EXPECT_EQ(ftruncate(fd, bytes), 0);
  return fd;
}

TEST(BoardWriter, WhatIsWrittenIsSeenThroughTheDescriptor) {
  const int fd = MakeMemory(ProgressBoard::kBytes);
  void* const outside = mmap(nullptr, ProgressBoard::kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  auto* const board = new (outside) ProgressBoard;
  ASSERT_OK_AND_ASSIGN(const auto writer, BoardWriter::Open(std::to_string(fd).c_str()));
  writer->SetPhase(TrainerPhase::kForward);
  writer->board().step = 41;
  EXPECT_EQ(board->phase, TrainerPhase::kForward);
  EXPECT_EQ(board->step, 41);
  munmap(outside, ProgressBoard::kBytes);
  close(fd);
}

TEST(BoardWriter, WithoutAWorkerTheBoardIsPrivate) {
  ASSERT_OK_AND_ASSIGN(const auto writer, BoardWriter::Open(nullptr));
  writer->board().step = 1;
  EXPECT_EQ(writer->board().step, 1);
}

TEST(BoardWriter, RefusesWhatIsNoBoard) {
  EXPECT_THAT(BoardWriter::Open("nine"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no descriptor number")));
  EXPECT_THAT(BoardWriter::Open("987"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("\"987\"")));
  const int small = MakeMemory(16), blank = MakeMemory(ProgressBoard::kBytes);
  EXPECT_THAT(BoardWriter::Open(std::to_string(small).c_str()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("16 bytes")));
  EXPECT_THAT(BoardWriter::Open(std::to_string(blank).c_str()), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("magic 0")));
  close(small);
  close(blank);
}

}  // namespace
}  // namespace ringmaster::trainer
