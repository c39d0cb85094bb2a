#include "coordinator/store/sqlite_job_store.h"

#include <sqlite3.h>

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/crc32c.h"
#include "common/status_macros.h"

namespace ringmaster::coordinator {
namespace {

constexpr int kSchemaVersion = 1;

uint32_t RecordCrc(int64_t number, const void* bytes, size_t size) {
  return ExtendCrc32c(Crc32c(&number, sizeof(number)), bytes, size);
}

struct CloseDatabase {
  void operator()(sqlite3* db) const { sqlite3_close_v2(db); }
};
struct FinalizeStatement {
  void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};
using Database = std::unique_ptr<sqlite3, CloseDatabase>;
using Statement = std::unique_ptr<sqlite3_stmt, FinalizeStatement>;

class SqliteJobStore final : public JobStore {
 public:
  SqliteJobStore(std::filesystem::path file, Database db) : file_(std::move(file)), db_(std::move(db)) {}

  absl::Status Initialize() {
    // A second opener has been refused by the lock on the directory; exclusive mode also needs no shared-memory file.
    RM_RETURN_IF_ERROR(Execute("PRAGMA locking_mode=EXCLUSIVE"));
    RM_RETURN_IF_ERROR(Execute("PRAGMA journal_mode=WAL"));
    RM_RETURN_IF_ERROR(Execute("PRAGMA synchronous=FULL"));
    RM_ASSIGN_OR_RETURN(const int64_t version, QueryInteger("PRAGMA user_version"));
    if (version != 0 && version != kSchemaVersion) {
      return absl::FailedPreconditionError(absl::StrCat("job store ", file_.string(), " has format ", version,
                                                        "; this program reads format ", kSchemaVersion,
                                                        ": was it written by a newer one?"));
    }
    RM_RETURN_IF_ERROR(
        Execute("CREATE TABLE IF NOT EXISTS records (number INTEGER PRIMARY KEY, crc INTEGER NOT NULL, bytes BLOB NOT NULL)"));
    RM_RETURN_IF_ERROR(Execute(absl::StrCat("PRAGMA user_version=", kSchemaVersion)));
    // The highest number ever given may have been compacted away: it must not be given again while others stay.
    RM_ASSIGN_OR_RETURN(next_, QueryInteger("SELECT COALESCE(MAX(number), 0) + 1 FROM records"));
    return absl::OkStatus();
  }

  absl::Status Append(const std::vector<std::string>& records) override {
    return InTransaction(
        [&]() -> absl::Status {
          RM_ASSIGN_OR_RETURN(Statement insert, Prepare("INSERT INTO records (number, crc, bytes) VALUES (?, ?, ?)"));
          int64_t number = next_;
          for (const std::string& record : records) {
            sqlite3_bind_int64(insert.get(), 1, number);
            sqlite3_bind_int64(insert.get(), 2, RecordCrc(number, record.data(), record.size()));
            sqlite3_bind_blob64(insert.get(), 3, record.data(), record.size(), SQLITE_STATIC);
            RM_RETURN_IF_ERROR(RunOnce(insert.get()));
            ++number;
          }
          return absl::OkStatus();
        },
        static_cast<int64_t>(records.size()));
  }

  absl::Status Replay(const std::function<absl::Status(int64_t number, const std::string& bytes)>& visit) override {
    RM_ASSIGN_OR_RETURN(Statement select, Prepare("SELECT number, crc, bytes FROM records ORDER BY number"));
    while (true) {
      const int rc = sqlite3_step(select.get());
      if (rc == SQLITE_DONE) return absl::OkStatus();
      if (rc != SQLITE_ROW) return Error("reading records", rc);
      const int64_t number = sqlite3_column_int64(select.get(), 0);
      const int64_t crc = sqlite3_column_int64(select.get(), 1);
      const void* blob = sqlite3_column_blob(select.get(), 2);
      const std::string bytes(static_cast<const char*>(blob), blob == nullptr ? 0 : sqlite3_column_bytes(select.get(), 2));
      if (const uint32_t found = RecordCrc(number, bytes.data(), bytes.size()); found != crc) {
        return absl::DataLossError(
            absl::StrCat("job store ", file_.string(), ": record ", number, " of ", bytes.size(), " bytes is damaged: CRC32C ",
                         absl::Hex(found, absl::kZeroPad8), ", expected ", absl::Hex(static_cast<uint64_t>(crc), absl::kZeroPad8),
                         "; restore the file from a backup, or move the state directory away to begin anew"));
      }
      RM_RETURN_IF_ERROR(visit(number, bytes));
    }
  }

  absl::Status Compact(const std::vector<int64_t>& superseded) override {
    return InTransaction(
        [&]() -> absl::Status {
          RM_ASSIGN_OR_RETURN(Statement remove, Prepare("DELETE FROM records WHERE number = ?"));
          for (const int64_t number : superseded) {
            sqlite3_bind_int64(remove.get(), 1, number);
            RM_RETURN_IF_ERROR(RunOnce(remove.get()));
          }
          return absl::OkStatus();
        },
        0);
  }

 private:
  template <typename Body>
  absl::Status InTransaction(Body body, int64_t appended) {
    RM_RETURN_IF_ERROR(Execute("BEGIN IMMEDIATE"));
    absl::Status status = body();
    if (status.ok()) status = Execute("COMMIT");
    if (status.ok()) {
      next_ += appended;
      return status;
    }
    // Some errors (a full disk) have rolled back already; a second attempt is then refused, which is what we want.
    if (sqlite3_get_autocommit(db_.get()) == 0) sqlite3_exec(db_.get(), "ROLLBACK", nullptr, nullptr, nullptr);
    return status;
  }

  absl::Status RunOnce(sqlite3_stmt* statement) {
    const int rc = sqlite3_step(statement);
    const absl::Status status = rc == SQLITE_DONE ? absl::OkStatus() : Error("writing a record", rc);
    sqlite3_reset(statement);
    return status;
  }

  absl::StatusOr<Statement> Prepare(const std::string& sql) {
    sqlite3_stmt* statement = nullptr;
    const int rc = sqlite3_prepare_v2(db_.get(), sql.c_str(), -1, &statement, nullptr);
    if (rc != SQLITE_OK) return Error(sql, rc);
    return Statement(statement);
  }

  absl::Status Execute(const std::string& sql) {
    const int rc = sqlite3_exec(db_.get(), sql.c_str(), nullptr, nullptr, nullptr);
    return rc == SQLITE_OK ? absl::OkStatus() : Error(sql, rc);
  }

  absl::StatusOr<int64_t> QueryInteger(const std::string& sql) {
    RM_ASSIGN_OR_RETURN(Statement query, Prepare(sql));
    const int rc = sqlite3_step(query.get());
    if (rc != SQLITE_ROW) return Error(sql, rc);
    return sqlite3_column_int64(query.get(), 0);
  }

  absl::Status Error(const std::string& doing, int rc) {
    std::string message = absl::StrCat("job store ", file_.string(), ": ", doing, ": ", sqlite3_errmsg(db_.get()));
    const int system_error = sqlite3_system_errno(db_.get());
    if (system_error != 0) absl::StrAppend(&message, " (", std::strerror(system_error), ")");
    switch (rc & 0xFF) {
      case SQLITE_FULL: return absl::ResourceExhaustedError(message + "; free some space");
      case SQLITE_CORRUPT:
      case SQLITE_NOTADB: return absl::DataLossError(message);
      default: return system_error == ENOSPC ? absl::ResourceExhaustedError(message) : absl::UnavailableError(message);
    }
  }

  const std::filesystem::path file_;
  const Database db_;
  int64_t next_ = 1;
};

}  // namespace

absl::StatusOr<std::unique_ptr<JobStore>> OpenSqliteJobStore(const std::filesystem::path& file) {
  sqlite3* raw = nullptr;
  const int rc = sqlite3_open_v2(file.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX, nullptr);
  Database db(raw);
  if (rc != SQLITE_OK) {
    return absl::UnavailableError(absl::StrCat("job store ", file.string(),
                                               " cannot be opened: ", raw == nullptr ? sqlite3_errstr(rc) : sqlite3_errmsg(raw)));
  }
  auto store = std::make_unique<SqliteJobStore>(file, std::move(db));
  RM_RETURN_IF_ERROR(store->Initialize());
  return store;
}

}  // namespace ringmaster::coordinator
