// The ranks of this worker as they really are: their processes, boards, output and last words. Carries out what the core decided;
// decides nothing. Driver's thread only.
#ifndef RINGMASTER_WORKER_RANK_HOST_H_
#define RINGMASTER_WORKER_RANK_HOST_H_

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/clock.h"
#include "proto/worker_service.pb.h"
#include "worker/core/worker_machine.h"
#include "worker/host/device_inventory.h"
#include "worker/host/gpu_topology.h"
#include "worker/host/held_port.h"
#include "worker/process/process_runner.h"
#include "worker/rank/heartbeat_pace.h"
#include "worker/rank/log_funnel.h"
#include "worker/rank/rank_environment.h"
#include "worker/rank/rank_output.h"
#include "worker/rank/shared_board.h"
#include "worker/warm_spares.h"

namespace ringmaster {

struct RankHostOptions {
  std::string worker_id;
  std::string coordinator;
  std::string relay;  // where trainers call TrainerService
  std::filesystem::path work_directory;
  std::filesystem::path trainer_binary;  // absolute
  DeviceInventory devices;
  GpuTopology gpus;  // none: no driver, or no GPU
  Environment operator_environment;
};

class RankHost {
 public:
  RankHost(RankHostOptions options, const Clock& clock, std::unique_ptr<ProcessRunner> runner, HeldPort port);

  // Where peers reach this host; before the first Accept.
  void set_address(std::string address) { address_ = std::move(address); }
  const std::string& address() const { return address_; }
  int master_port() const { return port_.port(); }

  // Keeps what the epoch needs until EpochGone. If it names our held port as its MASTER_PORT, that port is set aside for it and
  // another one is held from now on.
  void Accept(const v1::Assign& assign);
  void EpochGone(const JobId& job, Epoch epoch);
  // The process of `from` is from now on that of `to`; its log file stays the one it began.
  void Keep(const RankKey& from, const RankKey& to);

  // Failures come back as ProcessGone, warm spares as ProcessStarted.
  std::vector<WorkerEvent> Start(const worker_effect::StartRanks& start);
  void Terminate(const RankKey& key);
  void Kill(const RankKey& key);
  void Destroy(const RankKey& key);
  void RecordNeverStarted(const worker_effect::RecordNeverStarted& record);
  void ForgetExit(const RankKey& key) { exits_.erase(key); }

  int poll_fd() const { return runner_->poll_fd(); }
  absl::Time NextDeadline() const { return spares_.NextDeadline(); }
  void OnDeadline(absl::Time now) { spares_.OnDeadline(now); }
  // Feeds what happened in order; each event before the next one is looked at.
  void PollProcesses(const std::function<void(WorkerEvent)>& feed);

  // 0 while it has none.
  int64_t PidOf(const RankKey& key) const;
  v1::WorkerMessage StartedMessage(const RunningRank& rank) const;
  v1::WorkerMessage ExitedMessage(const RunningRank& rank) const;
  std::vector<v1::RankProgress> ReadProgress() const;
  // A glance at the same boards.
  WorkerLook Look() const;

  // The next lines to forward; nothing if there are none.
  std::optional<v1::WorkerMessage> TakeLogLines();

 private:
  using EpochKey = std::pair<JobId, Epoch>;
  struct EpochState {
    v1::Assign assign;
    std::optional<HeldPort> master_port;
  };
  struct Process {
    RunningRank rank;
    int64_t pid = 0;
    std::string device;
    std::unique_ptr<SharedBoard> board;
    RankOutput output;
  };

  // Whether it runs already: a warm spare.
  absl::StatusOr<bool> StartRank(const v1::Assign& assign, const v1::AssignedRank& assigned);
  void KeepSpares(const v1::Assign& assign);
  // INVALID_ARGUMENT: the job cannot be told to a spare.
  absl::StatusOr<ProcessSpec> MakeSpareSpec(const v1::Assign& assign) const;
  ProcessSpec MakeSpec(const v1::Assign& assign, const v1::AssignedRank& assigned) const;
  Environment EnvironmentOf(const v1::Assign& assign, const v1::AssignedRank& assigned) const;
  std::vector<int> CoresOf(const v1::Assign& assign, const v1::AssignedRank& assigned) const;
  std::string DeviceOf(const v1::JobSpec& job, const v1::AssignedRank& assigned) const;
  // Whether ranks of this job get GPUs in our order: not where someone has chosen some already.
  bool ChoosesGpus(const v1::JobSpec& job) const;
  void OnStarted(Process& process, int64_t pid);
  void OnOutput(Process& process, const process_event::Output& output);
  void OnExited(Process& process, const process_event::Exited& exited);
  void RecordExit(const RankKey& key, v1::RankExited exited);
  void Forward(const Process& process, bool is_stderr, std::vector<std::string> lines);

  const RankHostOptions options_;
  const std::vector<int> gpu_order_;  // by local rank
  const Clock& clock_;
  const std::unique_ptr<ProcessRunner> runner_;
  ProcessId next_id_{1};
  WarmSpares spares_;
  HeldPort port_;
  std::string address_;
  std::map<EpochKey, EpochState> epochs_;
  std::map<ProcessId, Process> processes_;
  std::map<RankKey, ProcessId> ids_;
  std::map<RankKey, v1::RankExited> exits_;
  LogFunnel logs_;
};

}  // namespace ringmaster

#endif  // RINGMASTER_WORKER_RANK_HOST_H_
