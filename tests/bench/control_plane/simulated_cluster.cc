#include "tests/bench/control_plane/simulated_cluster.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "proto/job_service.grpc.pb.h"

namespace ringmaster::bench {
namespace {

v1::SubmitJobRequest Request(int ranks, uint64_t number) {
  v1::SubmitJobRequest request;
  request.set_request_id(absl::StrCat("control-plane-", number));
  v1::JobSpec& spec = *request.mutable_spec();
  spec.set_name(absl::StrCat("size", ranks));
  spec.mutable_model()->mutable_gpt()->set_layers(1);
  spec.mutable_parallel()->mutable_data()->set_min(ranks);
  spec.mutable_parallel()->mutable_data()->set_max(ranks);
  spec.mutable_restart()->set_max_failures(1000);
  return request;
}

}  // namespace

SimulatedCluster::SimulatedCluster(const ClusterOptions& options, const Clock& clock)
    : options_(options), clock_(clock), random_(options.seed) {}

SimulatedCluster::~SimulatedCluster() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    news_.SignalAll();
  }
  if (heartbeats_.joinable()) heartbeats_.join();
  hosts_.clear();
}

absl::Status SimulatedCluster::Attach() {
  TrainerObserver* const observer = this;
  for (int i = 0; i < options_.hosts; ++i) {
    hosts_.push_back(std::make_unique<SimulatedHost>(
        HostOptions{.coordinator = options_.coordinator,
                    .name = absl::StrCat("h", i),
                    .incarnation = random_() | 1,
                    .slots = options_.slots},
        [this] { OnWelcome(); }, observer));
    hosts_.back()->Attach();
  }
  heartbeats_ = std::thread([this] { Beat(); });
  const absl::Time limit = clock_.Now() + kLimit;
  MutexLock lock(&mu_);
  while (welcome_ < options_.hosts && fault_.empty() && clock_.Now() < limit) news_.WaitFor(&mu_, absl::Seconds(1));
  if (!fault_.empty()) return absl::UnavailableError(fault_);
  if (welcome_ == options_.hosts) return absl::OkStatus();
  return absl::DeadlineExceededError(
      absl::StrCat(welcome_, " of ", options_.hosts, " hosts were welcome after ", absl::FormatDuration(kLimit)));
}

absl::StatusOr<absl::Duration> SimulatedCluster::FormEpoch(int ranks) {
  const auto stub = v1::JobService::NewStub(grpc::CreateChannel(options_.coordinator, grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + absl::ToChronoSeconds(kLimit));
  v1::SubmitJobResponse response;
  {
    MutexLock lock(&mu_);
    ranks_ = ranks;
  }
  const absl::Time began = clock_.Now();
  const grpc::Status status = stub->SubmitJob(&context, Request(ranks, random_()), &response);
  if (!status.ok()) return absl::UnavailableError(absl::StrCat("SubmitJob: ", status.error_message()));
  return WaitUntilFormed(began);
}

absl::StatusOr<absl::Duration> SimulatedCluster::Churn(int trainers) {
  std::vector<std::pair<SimulatedHost*, uint64_t>> all;
  for (const auto& host : hosts_) {
    for (const uint64_t incarnation : host->incarnations()) all.emplace_back(host.get(), incarnation);
  }
  std::shuffle(all.begin(), all.end(), random_);
  all.resize(std::min(all.size(), static_cast<size_t>(trainers)));
  std::map<SimulatedHost*, std::vector<uint64_t>> victims;
  for (const auto& [host, incarnation] : all) victims[host].push_back(incarnation);
  int64_t step = 0;
  {
    MutexLock lock(&mu_);
    waited_for_ = formed_.empty() ? 1 : formed_.rbegin()->first + 1;
    step = beats_ + 1;
  }
  const absl::Time began = clock_.Now();
  for (const auto& [host, incarnations] : victims) host->Kill(incarnations, step);
  return WaitUntilFormed(began);
}

int64_t SimulatedCluster::Idle(absl::Duration time) {
  const absl::Time end = clock_.Now() + time;
  MutexLock lock(&mu_);
  const int64_t before = beats_;
  while (clock_.Now() < end && fault_.empty()) news_.WaitFor(&mu_, end - clock_.Now());
  return (beats_ - before) * options_.hosts;
}

absl::StatusOr<absl::Duration> SimulatedCluster::WaitUntilFormed(absl::Time began) {
  MutexLock lock(&mu_);
  while (!IsFormed() && fault_.empty() && clock_.Now() < began + kLimit) news_.WaitFor(&mu_, absl::Seconds(1));
  if (!fault_.empty()) return absl::UnavailableError(fault_);
  if (IsFormed()) return clock_.Now() - began;
  const int best = formed_.empty() ? 0 : formed_.rbegin()->second;
  return absl::DeadlineExceededError(absl::StrCat(best, " of ", ranks_, " ranks were ready after ", absl::FormatDuration(kLimit)));
}

bool SimulatedCluster::IsFormed() const {
  return !formed_.empty() && formed_.rbegin()->first >= waited_for_ && formed_.rbegin()->second >= ranks_;
}

void SimulatedCluster::OnWelcome() {
  MutexLock lock(&mu_);
  ++welcome_;
  news_.SignalAll();
}

void SimulatedCluster::OnFormed(int64_t epoch) {
  MutexLock lock(&mu_);
  ++formed_[epoch];
  if (IsFormed()) news_.SignalAll();
}

void SimulatedCluster::OnFault(const std::string& what) {
  MutexLock lock(&mu_);
  if (fault_.empty()) fault_ = what;
  news_.SignalAll();
}

void SimulatedCluster::Beat() {
  while (true) {
    int64_t step = 0;
    const absl::Time next = clock_.Now() + options_.heartbeat;
    {
      MutexLock lock(&mu_);
      step = ++beats_;
    }
    for (const auto& host : hosts_) host->Heartbeat(step);
    MutexLock lock(&mu_);
    while (!stopping_ && clock_.Now() < next) news_.WaitFor(&mu_, next - clock_.Now());
    if (stopping_) return;
  }
}

}  // namespace ringmaster::bench
