// The rendezvous and epoch protocol as rules on one job's record: which change may follow which. The search of tests/model changes
// its record by these rules alone, and every record that a run of tests/sim writes is checked against them. Written from
// docs/architecture.md and coordinator/core/types.h, sharing no code with the core.
#ifndef RINGMASTER_TESTS_MODEL_JOB_RECORD_H_
#define RINGMASTER_TESTS_MODEL_JOB_RECORD_H_

#include <compare>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace ringmaster::model {

enum class Phase : uint8_t { kPending, kStarting, kRunning, kRecovering, kDraining, kFinished };
enum class RankPhase : uint8_t { kAssigned, kStarted, kJoined, kEnded };

struct RankRecord {
  RankPhase phase = RankPhase::kAssigned;
  uint64_t process = 0;  // never given again
  bool stays = false;
  auto operator<=>(const RankRecord&) const = default;
};

struct JobRecord {
  Phase phase = Phase::kPending;
  int64_t epoch = 0;
  std::vector<RankRecord> ranks;
  auto operator<=>(const JobRecord&) const = default;
};

struct Open {
  int64_t epoch = 0;
  std::vector<uint64_t> processes;  // by rank
};
struct Start {
  int64_t epoch = 0;
  int rank = 0;
};
struct Join {
  int64_t epoch = 0;
  int rank = 0;
  bool stays = false;
};
struct End {
  int64_t epoch = 0;
  int rank = 0;
};
struct Commit {
  int64_t epoch = 0;
};
struct Move {
  Phase to = Phase::kPending;
  bool succeeds = false;  // with kDraining: it has
};
using Change = std::variant<Open, Start, Join, End, Commit, Move>;

// Makes the change. Returns what forbids it; empty: nothing.
//   Open    the next epoch; pending, or recovering with some rank kept or none alive, or running and for more ranks, all kept.
//           Who is kept was a rank, lives and stays, and goes on in the same order
//   Start, Join, Commit, End    of the current epoch, of a rank that has not ended; Join only while the epoch is open
//   Move    along the arrows; to Running when every rank has joined or ended, to success when every rank has ended
std::string Take(const Change& change, JobRecord* record);

}  // namespace ringmaster::model

#endif  // RINGMASTER_TESTS_MODEL_JOB_RECORD_H_
