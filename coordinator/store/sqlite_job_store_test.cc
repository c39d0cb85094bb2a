#include "coordinator/store/sqlite_job_store.h"

#include <sqlite3.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "coordinator/store/job_store_conformance.h"

namespace ringmaster::coordinator {
namespace {

using ::ringmaster::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A directory of its own for each test.
std::filesystem::path NewFile() {
  static int made = 0;
  const std::filesystem::path directory = std::filesystem::path(::testing::TempDir()) / absl::StrCat("store-", ++made);
  std::filesystem::remove_all(directory);
  std::filesystem::create_directories(directory);
  return directory / "jobs.sqlite";
}

std::unique_ptr<JobStore> MustOpen(const std::filesystem::path& file) {
  absl::StatusOr<std::unique_ptr<JobStore>> store = OpenSqliteJobStore(file);
  EXPECT_OK(store);
  return store.ok() ? *std::move(store) : nullptr;
}

std::string ReadFile(const std::filesystem::path& file) {
  std::stringstream text;
  text << std::ifstream(file, std::ios::binary).rdbuf();
  return text.str();
}

// Runs SQL on a closed store, past it.
void Execute(const std::filesystem::path& file, const std::string& sql) {
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open(file.c_str(), &db), SQLITE_OK);
  EXPECT_EQ(sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK) << sqlite3_errmsg(db);
  sqlite3_close(db);
}

INSTANTIATE_TEST_SUITE_P(Sqlite, JobStoreConformance, ::testing::Values([] { return MustOpen(NewFile()); }));

TEST(SqliteJobStore, RecordsAndNumbersOutliveTheProcess) {
  const std::filesystem::path file = NewFile();
  std::unique_ptr<JobStore> store = MustOpen(file);
  ASSERT_OK(store->Append({"a", "b", "c"}));
  ASSERT_OK(store->Compact({1}));
  store = nullptr;
  store = MustOpen(file);
  ASSERT_OK(store->Append({"d"}));
  EXPECT_THAT(Records(*store), ElementsAre(NumberedRecord(2, "b"), NumberedRecord(3, "c"), NumberedRecord(4, "d")));
}

TEST(SqliteJobStore, WhatIsAppendedIsOnDiskWithoutAClose) {
  const std::filesystem::path file = NewFile();
  const std::unique_ptr<JobStore> store = MustOpen(file);
  ASSERT_OK(store->Append({"a"}));
  // As after a SIGKILL: the files as they are now, elsewhere.
  const std::filesystem::path copy = NewFile();
  std::filesystem::copy_file(file, copy);
  std::filesystem::copy_file(file.string() + "-wal", copy.string() + "-wal");
  const std::unique_ptr<JobStore> recovered = MustOpen(copy);
  EXPECT_THAT(Records(*recovered), ElementsAre(NumberedRecord(1, "a")));
}

TEST(SqliteJobStore, AnAppendThatFailsHalfWayLeavesNothing) {
  const std::filesystem::path file = NewFile();
  { ASSERT_OK(MustOpen(file)->Append({"a"})); }
  Execute(file,
          "CREATE TRIGGER refuse BEFORE INSERT ON records WHEN NEW.bytes = CAST('bad' AS BLOB) "
          "BEGIN SELECT RAISE(ABORT, 'refused by the test'); END");
  const std::unique_ptr<JobStore> store = MustOpen(file);
  EXPECT_THAT(store->Append({"b", "bad", "c"}),
              StatusIs(absl::StatusCode::kUnavailable, AllOf(HasSubstr(file.string()), HasSubstr("refused by the test"))));
  EXPECT_THAT(Records(*store), ElementsAre(NumberedRecord(1, "a")));
  ASSERT_OK(store->Append({"d"})) << "usable again after an error";
  EXPECT_THAT(Records(*store), ElementsAre(NumberedRecord(1, "a"), NumberedRecord(2, "d")));
}

TEST(SqliteJobStore, AFlippedByteIsFoundAndItsRecordNamed) {
  const std::filesystem::path file = NewFile();
  { ASSERT_OK(MustOpen(file)->Append({"first record", "second record", "third record"})); }
  std::string bytes = ReadFile(file);
  const size_t at = bytes.find("second record");
  ASSERT_NE(at, std::string::npos);
  bytes[at + 3] ^= 0x10;
  std::ofstream(file, std::ios::binary) << bytes;
  const std::unique_ptr<JobStore> store = MustOpen(file);
  std::vector<int64_t> visited;
  EXPECT_THAT(store->Replay([&](int64_t number, const std::string&) {
    visited.push_back(number);
    return absl::OkStatus();
  }),
              StatusIs(absl::StatusCode::kDataLoss, AllOf(HasSubstr(file.string()), HasSubstr("record 2 of 13 bytes is damaged"))));
  EXPECT_THAT(visited, ElementsAre(1)) << "what is damaged is never given out";
}

TEST(SqliteJobStore, ARecordInAnothersPlaceIsFound) {
  const std::filesystem::path file = NewFile();
  { ASSERT_OK(MustOpen(file)->Append({"a", "b"})); }
  Execute(file, "UPDATE records SET number = 9 WHERE number = 2");
  EXPECT_THAT(MustOpen(file)->Replay([](int64_t, const std::string&) { return absl::OkStatus(); }),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("record 9")));
}

TEST(SqliteJobStore, AFileThatIsNoStoreIsRefusedAndLeftAlone) {
  const std::filesystem::path file = NewFile();
  const std::string text(8192, 'x');
  std::ofstream(file) << text;
  EXPECT_THAT(OpenSqliteJobStore(file), StatusIs(absl::StatusCode::kDataLoss, HasSubstr(file.string())));
  EXPECT_EQ(ReadFile(file), text);
}

TEST(SqliteJobStore, AStoreOfANewerProgramIsRefused) {
  const std::filesystem::path file = NewFile();
  { ASSERT_OK(MustOpen(file)->Append({"a"})); }
  Execute(file, "PRAGMA user_version=7");
  EXPECT_THAT(OpenSqliteJobStore(file), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("has format 7")));
}

TEST(SqliteJobStore, ADirectoryThatIsNotThereIsNamed) {
  const std::filesystem::path file = NewFile().parent_path() / "nowhere" / "jobs.sqlite";
  EXPECT_THAT(OpenSqliteJobStore(file), StatusIs(absl::StatusCode::kUnavailable, HasSubstr(file.string())));
}

}  // namespace
}  // namespace ringmaster::coordinator
