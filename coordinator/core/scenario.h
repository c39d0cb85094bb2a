// Plays a scenario on the core: one line of text in, what the coordinator decided and sent out. For tests.
// A line is a verb, words and key=value pairs; scenario.cc lists them at Perform. Workers attached here send a heartbeat every
// second of `advance` unless they were silenced. Ids that come from entropy are written as demo#1 (first job of that name).
#ifndef RINGMASTER_COORDINATOR_CORE_SCENARIO_H_
#define RINGMASTER_COORDINATOR_CORE_SCENARIO_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "coordinator/core/machine.h"

namespace ringmaster::coordinator {

class Scenario {
 public:
  Scenario();

  // Lines of output, each with its end. An unknown line gives "error: ...".
  std::string Play(const std::string& line);

 private:
  struct Command {
    std::string verb;
    std::vector<std::string> words;
    std::map<std::string, std::string> options;

    std::string Word(size_t index) const { return index < words.size() ? words[index] : ""; }
    int64_t Number(const std::string& key, int64_t otherwise) const;
    absl::Duration Time(const std::string& key, absl::Duration otherwise) const;
    std::string Text(const std::string& key, const std::string& otherwise) const;
  };
  struct SimulatedWorker {
    StreamId stream;  // 0 = not attached
    uint64_t life = 1;
    int slots = 0;
    bool silent = false;
    std::vector<HostedRank> running;
  };

  void Perform(const Command& command);
  void Submit(const Command& command);
  void Attach(const Command& command);
  void Rank(const Command& command);     // started, exited
  void Trainer(const Command& command);  // join, publish, await, report, await-shards, commit, refuse
  void Advance(absl::Duration by);
  void Restart();
  void Status(const std::string& job);

  void Step(EventBody event);
  void Print(const Record& record);
  void Print(const Effect& effect);
  void Keep(const SendAssign& assign);  // what its worker does with the processes that run
  void Line(const std::string& text);
  std::string Readable(std::string text) const;  // without random ids
  std::string WorkerOf(StreamId stream) const;
  JobId IdOf(const std::string& readable) const;
  HostedRank Hosted(const Command& command, const Job& job, int rank) const;

  Machine machine_;
  std::vector<Record> log_;
  std::map<std::string, SimulatedWorker> workers_;
  std::map<std::string, int> submissions_;       // by name
  std::map<std::string, std::string> readable_;  // job id or incarnation -> what is printed
  std::map<std::string, JobId> ids_;             // "demo#1" and, for the newest, "demo"
  absl::Time now_;
  absl::Time begin_;
  uint64_t next_stream_ = 1;
  uint64_t next_call_ = 1;
  uint64_t entropy_ = 1;
  std::string output_;
};

}  // namespace ringmaster::coordinator

#endif  // RINGMASTER_COORDINATOR_CORE_SCENARIO_H_
