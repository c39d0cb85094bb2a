// An explicit-state model of how ranks are formed: one coordinator's record, a worker per slot, processes, and the messages and
// calls between them in every order. Search visits every state that a bounded number of faults can lead to. docs/simulator.md
#ifndef RINGMASTER_TESTS_MODEL_RENDEZVOUS_MODEL_H_
#define RINGMASTER_TESTS_MODEL_RENDEZVOUS_MODEL_H_

#include <cstdint>
#include <string>

namespace ringmaster::model {

// What is left out of the protocol, to see that the search finds it.
enum class Bug {
  kNone,
  kOldCommitAccepted,
  kOldJoinAccepted,
  kStartsBesideOld,         // a worker starts a rank while another process has its slot
  kLateAssignmentStarts,    // a worker starts again what it has started before
  kAssignmentsNotRepeated,  // after a coordinator's restart
  kWaiterForgotten,         // who waits for the next epoch is not told of it
};

struct Bounds {
  int ranks = 2;
  int slots = 3;
  int kills = 1;    // of processes
  int crashes = 1;  // of the coordinator
};

struct Found {
  std::string broken;  // empty: every state keeps every promise
  int64_t states = 0;
  int64_t steps = 0;
};

// Promises: the record changes only by the rules of job_record.h; no two processes that live are the same rank of the same epoch,
// or have one slot; no process is started twice; a commit counts for the current epoch alone; and from every state the job can
// still finish when no more faults come.
Found Search(const Bounds& bounds, Bug bug);

}  // namespace ringmaster::model

#endif  // RINGMASTER_TESTS_MODEL_RENDEZVOUS_MODEL_H_
