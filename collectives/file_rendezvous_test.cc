#include "collectives/file_rendezvous.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>
#include <vector>

#include "common/real_clock.h"
#include "common/status_matchers.h"
#include "gmock/gmock.h"

namespace ringmaster {
namespace {

using testing::StatusIs;

std::filesystem::path NewDirectory() {
  std::string name = ::testing::TempDir() + "/rendezvous.XXXXXX";
  return mkdtemp(name.data());
}

const RealClock& TheClock() {
  static const RealClock clock;
  return clock;
}

TEST(FileRendezvousTest, AwaitReturnsWhatIsOrWillBePublished) {
  const std::filesystem::path directory = NewDirectory();
  FileRendezvous here(directory, TheClock());
  FileRendezvous there(directory, TheClock());
  EXPECT_OK(here.Publish("world/a", std::string("1\0\n2", 4)));
  std::thread publisher([&] { EXPECT_OK(there.Publish("b", "")); });
  EXPECT_EQ(there.Await("world/a", absl::ZeroDuration()).value(), std::string("1\0\n2", 4));
  EXPECT_EQ(here.Await("b", absl::Seconds(60)).value(), "");
  publisher.join();
}

TEST(FileRendezvousTest, ProcessesMeet) {
  const std::filesystem::path directory = NewDirectory();
  const pid_t child = fork();
  if (child == 0) {
    FileRendezvous rendezvous(directory, TheClock());
    const absl::StatusOr<std::string> ping = rendezvous.Await("ping", absl::Seconds(60));
    _exit(ping.ok() && rendezvous.Publish("pong", *ping + "!").ok() ? 0 : 1);
  }
  FileRendezvous rendezvous(directory, TheClock());
  EXPECT_OK(rendezvous.Publish("ping", "hello"));
  EXPECT_EQ(rendezvous.Await("pong", absl::Seconds(60)).value(), "hello!");
  int status = -1;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST(FileRendezvousTest, OneOfManyValuesWinsAndTheOthersAreRefused) {
  const std::filesystem::path directory = NewDirectory();
  FileRendezvous rendezvous(directory, TheClock());
  std::vector<absl::Status> results(8);
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] { results[i] = FileRendezvous(directory, TheClock()).Publish("a", std::to_string(i)); });
  }
  for (std::thread& thread : threads) thread.join();
  const std::string value = rendezvous.Await("a", absl::ZeroDuration()).value();
  for (int i = 0; i < 8; ++i) {
    if (std::to_string(i) == value) {
      EXPECT_OK(results[i]);
    } else {
      EXPECT_THAT(results[i], StatusIs(absl::StatusCode::kAlreadyExists, ::testing::HasSubstr("key a")));
    }
  }
  EXPECT_OK(rendezvous.Publish("a", value));
}

TEST(FileRendezvousTest, KeysThatLookAlikeAreDifferent) {
  FileRendezvous rendezvous(NewDirectory(), TheClock());
  EXPECT_OK(rendezvous.Publish("a/b", "slash"));
  EXPECT_OK(rendezvous.Publish("a%2Fb", "percent"));
  EXPECT_OK(rendezvous.Publish("a_b", "underscore"));
  EXPECT_OK(rendezvous.Publish("..", "dots"));
  EXPECT_OK(rendezvous.Publish("epoch.over", "not the end"));
  EXPECT_EQ(rendezvous.Await("a/b", absl::ZeroDuration()).value(), "slash");
  EXPECT_EQ(rendezvous.Await("a%2Fb", absl::ZeroDuration()).value(), "percent");
  EXPECT_EQ(rendezvous.Await("..", absl::ZeroDuration()).value(), "dots");
}

TEST(FileRendezvousTest, NamesTheKeyThatNobodyPublished) {
  FileRendezvous rendezvous(NewDirectory(), TheClock());
  EXPECT_OK(rendezvous.Publish("other", "1"));
  EXPECT_THAT(rendezvous.Await("late", absl::Milliseconds(10)),
              StatusIs(absl::StatusCode::kDeadlineExceeded, ::testing::HasSubstr("nobody published key late")));
}

TEST(FileRendezvousTest, TheEndOfTheEpochWakesAndRefusesEverywhere) {
  const std::filesystem::path directory = NewDirectory();
  FileRendezvous here(directory, TheClock());
  std::thread ender([&] { EXPECT_OK(FileRendezvous(directory, TheClock()).EndEpoch()); });
  EXPECT_THAT(here.Await("a", absl::Seconds(60)), StatusIs(absl::StatusCode::kAborted, "the epoch is over"));
  ender.join();
  EXPECT_THAT(here.Publish("a", "1"), StatusIs(absl::StatusCode::kAborted, "the epoch is over"));
  EXPECT_OK(here.EndEpoch());
}

TEST(FileRendezvousTest, ARemovedDirectoryWakesAndRefuses) {
  const std::filesystem::path directory = NewDirectory();
  FileRendezvous rendezvous(directory, TheClock());
  std::thread remover([&] { std::filesystem::remove_all(directory); });
  EXPECT_THAT(rendezvous.Await("a", absl::Seconds(60)), StatusIs(absl::StatusCode::kAborted, ::testing::HasSubstr("rendezvous")));
  remover.join();
  EXPECT_THAT(rendezvous.Publish("a", "1"), StatusIs(absl::StatusCode::kAborted, ::testing::HasSubstr("rendezvous")));
}

TEST(FileRendezvousTest, RefusesKeysThatNoFileCanHave) {
  FileRendezvous rendezvous(NewDirectory(), TheClock());
  EXPECT_THAT(rendezvous.Publish("", "1"), StatusIs(absl::StatusCode::kInvalidArgument, ::testing::_));
  EXPECT_THAT(rendezvous.Await(std::string(300, 'k'), absl::Seconds(60)),
              StatusIs(absl::StatusCode::kInvalidArgument, ::testing::_));
}

}  // namespace
}  // namespace ringmaster
