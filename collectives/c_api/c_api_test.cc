// The library as a program outside sees it: through the header and the shared object alone.
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "collectives/c_api/ringmaster.h"
#include "common/mutex.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

extern char** environ;

namespace ringmaster {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kLong = 60000;

// What a caller would put behind publish and await.
class Meeting {
 public:
  static int Publish(void* context, const char* key, const void* value, size_t bytes) {
    Meeting& meeting = *static_cast<Meeting*>(context);
    MutexLock lock(&meeting.mu_);
    meeting.values_[key] = std::string(static_cast<const char*>(value), bytes);
    meeting.changed_.SignalAll();
    return RM_OK;
  }
  static int Await(void* context, const char* key, int64_t timeout_ms, void* value, size_t* bytes) {
    Meeting& meeting = *static_cast<Meeting*>(context);
    MutexLock lock(&meeting.mu_);
    while (!meeting.values_.contains(key)) {
      if (!meeting.changed_.WaitFor(&meeting.mu_, absl::Milliseconds(timeout_ms))) return RM_DEADLINE_EXCEEDED;
    }
    const std::string& found = meeting.values_[key];
    if (found.size() > *bytes) return RM_RESOURCE_EXHAUSTED;
    *bytes = found.copy(static_cast<char*>(value), found.size());
    return RM_OK;
  }

 private:
  Mutex mu_;
  CondVar changed_;
  std::map<std::string, std::string> values_ ABSL_GUARDED_BY(mu_);
};

// Runs `body(group)` on `size` ranks, one thread each.
template <typename Body>
void OnAllRanks(int size, const Body& body) {
  Meeting meeting;
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      rm_options options;
      rm_options_init(&options);
      options.rank = rank;
      options.size = size;
      options.publish = Meeting::Publish;
      options.await = Meeting::Await;
      options.context = &meeting;
      rm_communicator* group = nullptr;
      ASSERT_EQ(rm_create(&options, kLong, &group), RM_OK) << rm_last_error();
      body(group);
      rm_destroy(group);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

rm_call CallOf(int operation, const void* send, void* receive, int64_t count, int type) {
  rm_call call = {};
  call.struct_bytes = sizeof(call);
  call.operation = operation;
  call.type = type;
  call.count = count;
  call.send = send;
  call.receive = receive;
  return call;
}

using Values = std::vector<int32_t>;

TEST(CApi, EveryOperationDoesWhatItsNameSays) {
  OnAllRanks(2, [](rm_communicator* group) {
    const int rank = rm_rank(group);
    const int other = 1 - rank;
    const Values mine{rank + 1, 10 * (rank + 1)};
    Values two(2), four(4);
    const int64_t counts[] = {1, 2};
    EXPECT_EQ(rm_all_reduce(group, mine.data(), two.data(), 2, RM_I32, RM_SUM, kLong), RM_OK) << rm_last_error();
    EXPECT_EQ(two, Values({3, 30}));
    EXPECT_EQ(rm_reduce_scatter(group, mine.data(), two.data(), 1, RM_I32, RM_PRODUCT, kLong), RM_OK);
    EXPECT_EQ(two[0], rank == 0 ? 2 : 200);
    EXPECT_EQ(rm_all_gather(group, mine.data(), four.data(), 2, RM_I32, kLong), RM_OK);
    EXPECT_EQ(four, Values({1, 10, 2, 20}));
    two = rank == 1 ? Values{7, 8} : Values{0, 0};
    EXPECT_EQ(rm_broadcast(group, two.data(), 2, RM_I32, 1, kLong), RM_OK);
    EXPECT_EQ(two, Values({7, 8}));
    EXPECT_EQ(rm_reduce(group, mine.data(), two.data(), 2, RM_I32, RM_MAX, 0, kLong), RM_OK);
    if (rank == 0) {
      EXPECT_EQ(two, Values({2, 20}));
    }
    EXPECT_EQ(rm_gather(group, mine.data(), four.data(), 2, RM_I32, 1, kLong), RM_OK);
    if (rank == 1) {
      EXPECT_EQ(four, Values({1, 10, 2, 20}));
    }
    four = {1, 2, 3, 4};
    EXPECT_EQ(rm_scatter(group, four.data(), two.data(), 2, RM_I32, 0, kLong), RM_OK);
    EXPECT_EQ(two, rank == 0 ? Values({1, 2}) : Values({3, 4}));
    EXPECT_EQ(rm_all_to_all(group, mine.data(), two.data(), 1, RM_I32, kLong), RM_OK);
    EXPECT_EQ(two, rank == 0 ? Values({1, 2}) : Values({10, 20}));
    four.assign(4, -1);
    EXPECT_EQ(rm_all_gather_v(group, mine.data(), four.data(), counts, RM_I32, kLong), RM_OK);
    EXPECT_EQ(four, Values({1, 2, 20, -1}));
    const Values three{rank + 1, rank + 2, rank + 3};
    EXPECT_EQ(rm_reduce_scatter_v(group, three.data(), two.data(), counts, RM_I32, RM_SUM, kLong), RM_OK);
    EXPECT_EQ(two[0], rank == 0 ? 3 : 5);
    const int64_t to_all[] = {1, 1};
    EXPECT_EQ(rm_all_to_all_v(group, mine.data(), to_all, two.data(), to_all, RM_I32, kLong), RM_OK);
    EXPECT_EQ(two, rank == 0 ? Values({1, 2}) : Values({10, 20}));
    if (rank == 0) {
      EXPECT_EQ(rm_send(group, mine.data(), 2, RM_I32, 1, kLong), RM_OK);
    } else {
      EXPECT_EQ(rm_receive(group, two.data(), 2, RM_I32, 0, kLong), RM_OK);
      EXPECT_EQ(two, Values({1, 10}));
    }
    rm_call pair[] = {CallOf(RM_SEND, mine.data(), nullptr, 2, RM_I32), CallOf(RM_RECEIVE, nullptr, four.data(), 2, RM_I32)};
    pair[0].root = pair[1].root = other;
    EXPECT_EQ(rm_run_group(group, pair, 2, kLong), RM_OK) << rm_last_error();
    EXPECT_EQ(four[1], 10 * (other + 1));
    EXPECT_EQ(rm_barrier(group, kLong), RM_OK);
    char text[200];
    EXPECT_EQ(rm_explain(group, &pair[0], text, sizeof(text)), RM_OK);
    EXPECT_STRNE(text, "");
  });
}

TEST(CApi, IssuedWorkSharesTheOrderWithWhatIsCalledAfterIt) {
  OnAllRanks(3, [](rm_communicator* group) {
    rm_buffer* memory = nullptr;
    ASSERT_EQ(rm_register(group, 4096, kLong, &memory), RM_OK) << rm_last_error();
    EXPECT_EQ(rm_buffer_bytes(memory), 4096);
    auto* const values = static_cast<float*>(rm_buffer_data(memory));
    values[0] = static_cast<float>(rm_rank(group));
    rm_call call = CallOf(RM_ALL_REDUCE, values, values, 1, RM_F32);
    rm_work* work = nullptr;
    ASSERT_EQ(rm_issue(group, &call, kLong, &work), RM_OK) << rm_last_error();
    EXPECT_EQ(rm_barrier(group, kLong), RM_OK) << rm_last_error();
    EXPECT_EQ(rm_work_done(work), 1) << "the barrier came after it";
    EXPECT_EQ(rm_work_wait(work, 0), RM_OK);
    EXPECT_EQ(values[0], 3);
    rm_work_release(work);
    rm_buffer_release(memory);

    rm_communicator* child = nullptr;
    ASSERT_EQ(rm_split(group, rm_rank(group) == 1 ? -1 : 5, 0, kLong, &child), RM_OK) << rm_last_error();
    EXPECT_EQ(child == nullptr, rm_rank(group) == 1);
    if (child != nullptr) {
      EXPECT_EQ(rm_size(child), 2);
      EXPECT_EQ(rm_barrier(child, kLong), RM_OK) << rm_last_error();
    }
    rm_destroy(child);
  });
}

TEST(CApi, MistakesAreCodesWithWords) {
  rm_communicator* group = nullptr;
  rm_options options;
  rm_options_init(&options);
  options.size = 2;
  EXPECT_EQ(rm_create(&options, kLong, &group), RM_INVALID_ARGUMENT);
  EXPECT_THAT(rm_last_error(), HasSubstr("how do ranks meet"));
  options.struct_bytes = 3;
  EXPECT_EQ(rm_create(&options, kLong, &group), RM_INVALID_ARGUMENT);
  EXPECT_THAT(rm_last_error(), HasSubstr("struct_bytes is 3"));
  rm_options_init(&options);
  options.order = 7;
  EXPECT_EQ(rm_create(&options, kLong, &group), RM_INVALID_ARGUMENT);
  EXPECT_THAT(rm_last_error(), HasSubstr("order 7 does not exist"));
  EXPECT_STREQ(rm_status_name(RM_UNAVAILABLE), "UNAVAILABLE");
  EXPECT_EQ(rm_version(), RM_VERSION);

  rm_options_init(&options);
  ASSERT_EQ(rm_create(&options, kLong, &group), RM_OK) << rm_last_error();
  float value = 1;
  EXPECT_EQ(rm_all_reduce(group, &value, &value, 1, 99, RM_SUM, kLong), RM_INVALID_ARGUMENT);
  EXPECT_THAT(rm_status_message(group), HasSubstr("element type 99 does not exist"));
  EXPECT_EQ(rm_all_reduce(group, &value, &value, 1, 256, RM_SUM, kLong), RM_INVALID_ARGUMENT) << "256 is not type 0";
  EXPECT_EQ(rm_all_reduce(group, &value, &value, 1, RM_F32, RM_SUM, kLong), RM_OK) << "a refused call breaks nothing";
  rm_abort(group, "enough");
  rm_destroy(group);
}

TEST(CApi, AbortEndsTheOthersOperationAndNamesTheReason) {
  OnAllRanks(2, [](rm_communicator* group) {
    if (rm_rank(group) == 0) {
      rm_abort(group, "the caller gave up");
      EXPECT_EQ(rm_barrier(group, kLong), RM_ABORTED);
      EXPECT_THAT(rm_last_error(), HasSubstr("the caller gave up"));
    } else {
      EXPECT_NE(rm_barrier(group, kLong), RM_OK);
      EXPECT_THAT(rm_status_message(group), HasSubstr("rank 0"));
    }
  });
}

TEST(SharedLibrary, ExportsOnlyItsOwnVersionedFunctions) {
  const std::string listing = ::testing::TempDir() + "/symbols";
  std::string program = "objdump", option = "-T", library = "collectives/c_api/libringmaster_collectives.so";
  char* const arguments[] = {program.data(), option.data(), library.data(), nullptr};
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, listing.c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0600);
  pid_t child = 0;
  ASSERT_EQ(posix_spawnp(&child, program.c_str(), &actions, nullptr, arguments, environ), 0);
  posix_spawn_file_actions_destroy(&actions);
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  std::ifstream lines(listing);
  int functions = 0;
  for (std::string line; std::getline(lines, line);) {
    const bool ours = line.find(" g ") != std::string::npos && line.find("*UND*") == std::string::npos;
    if (!ours || line.find("*ABS*") != std::string::npos) continue;  // *ABS*: the version itself
    EXPECT_THAT(line, HasSubstr("RINGMASTER_1.0"));
    EXPECT_THAT(line, HasSubstr(" rm_"));
    ++functions;
  }
  EXPECT_EQ(functions, 37);
}

void RunExample(int ranks) {
  std::string directory = ::testing::TempDir() + "/meet.XXXXXX";
  ASSERT_NE(mkdtemp(directory.data()), nullptr);
  std::vector<pid_t> children;
  for (int rank = 0; rank < ranks; ++rank) {
    std::string program = "examples/collectives_c/all_reduce", number = std::to_string(rank), size = std::to_string(ranks);
    char* const arguments[] = {program.data(), directory.data(), number.data(), size.data(), nullptr};
    pid_t child = 0;
    ASSERT_EQ(posix_spawn(&child, program.c_str(), nullptr, nullptr, arguments, environ), 0);
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = -1;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
}

TEST(Example, RunsWithTwoAndThreeProcesses) {
  RunExample(2);
  RunExample(3);
}

}  // namespace
}  // namespace ringmaster
