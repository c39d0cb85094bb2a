// A coordinator over real gRPC for tests, a worker played by the test, and the calls of users and trainers.
#ifndef RINGMASTER_COORDINATOR_TESTING_COORDINATOR_FIXTURE_H_
#define RINGMASTER_COORDINATOR_TESTING_COORDINATOR_FIXTURE_H_

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "common/real_clock.h"
#include "common/status_matchers.h"
#include "coordinator/coordinator.h"
#include "grpcpp/grpcpp.h"
#include "proto/job_service.grpc.pb.h"
#include "proto/trainer_service.grpc.pb.h"
#include "proto/worker_service.grpc.pb.h"

namespace ringmaster {

// Far above what anything here takes: a hang ends as DEADLINE_EXCEEDED.
inline void Limit(grpc::ClientContext& context) {
  context.set_wait_for_ready(true);
  context.set_deadline(absl::ToChronoTime(RealClock().WallNow() + absl::Seconds(30)));
}

inline absl::Status ToAbsl(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

// One worker's stream, played by the test.
class ScriptedWorker {
 public:
  ScriptedWorker(v1::WorkerService::Stub* stub, const std::string& name, uint64_t incarnation = 11) : name_(name) {
    Limit(context_);
    stream_ = stub->Attach(&context_);
    hello_.set_worker_id(name);
    hello_.set_incarnation(incarnation);
    hello_.set_address("127.0.0.1");
    hello_.set_slots(2);
    hello_.set_protocol(1);
  }
  ~ScriptedWorker() { context_.TryCancel(); }

  v1::Hello& hello() { return hello_; }

  // Says hello and takes the welcome.
  v1::Welcome Attach() {
    v1::WorkerMessage up;
    *up.mutable_hello() = hello_;
    Send(up);
    v1::CoordinatorMessage down = Receive();
    EXPECT_TRUE(down.has_welcome()) << down.ShortDebugString();
    return down.welcome();
  }
  v1::Assign ReceiveAssign() {
    v1::CoordinatorMessage down = Receive();
    EXPECT_TRUE(down.has_assign()) << down.ShortDebugString();
    return down.assign();
  }
  v1::CoordinatorMessage Receive() {
    v1::CoordinatorMessage down;
    EXPECT_TRUE(stream_->Read(&down)) << name_ << ": the stream has ended";
    return down;
  }
  void Send(const v1::WorkerMessage& up) { EXPECT_TRUE(stream_->Write(up)); }

  void SendStarted(const v1::HostedRank& rank) {
    v1::WorkerMessage up;
    *up.mutable_rank_started()->mutable_rank() = rank;
    up.mutable_rank_started()->set_device("cpu0");
    Send(up);
  }
  // Until it is seen.
  void Exit(const v1::HostedRank& rank, int exit_code, int64_t step) {
    v1::WorkerMessage up;
    *up.mutable_rank_exited()->mutable_rank() = rank;
    up.mutable_rank_exited()->set_exit_code(exit_code);
    up.mutable_rank_exited()->mutable_last_progress()->set_step(step);
    Send(up);
    EXPECT_TRUE(Receive().has_exit_seen());
  }
  void SendLine(const std::string& job, int rank, const std::string& text) {
    v1::WorkerMessage up;
    up.mutable_log_lines()->set_job_id(job);
    v1::LogLine* line = up.mutable_log_lines()->add_lines();
    line->set_epoch(1);
    line->set_rank(rank);
    line->set_host(name_);
    line->set_text(text);
    Send(up);
  }
  // Everything until the end of the stream, and how it ended.
  absl::Status WaitForEnd() {
    v1::CoordinatorMessage down;
    while (stream_->Read(&down)) {
    }
    return ToAbsl(stream_->Finish());
  }

 private:
  const std::string name_;
  grpc::ClientContext context_;
  v1::Hello hello_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::WorkerMessage, v1::CoordinatorMessage>> stream_;
};

inline std::vector<v1::HostedRank> RanksOf(const v1::Assign& assign) {
  std::vector<v1::HostedRank> ranks;
  for (const v1::AssignedRank& assigned : assign.ranks()) {
    v1::HostedRank& rank = ranks.emplace_back();
    rank.set_job_id(assign.job_id());
    rank.set_epoch(assign.epoch());
    rank.set_rank(assigned.rank());
    rank.set_incarnation(assigned.incarnation());
    rank.set_pid(800 + assigned.rank());
  }
  return ranks;
}

inline v1::RankIdentity Identity(const v1::HostedRank& rank) {
  v1::RankIdentity identity;
  identity.set_job_id(rank.job_id());
  identity.set_epoch(rank.epoch());
  identity.set_rank(rank.rank());
  identity.set_incarnation(rank.incarnation());
  return identity;
}

class CoordinatorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    options_.state_directory = std::filesystem::path(::testing::TempDir()) / info->name();
    std::filesystem::remove_all(options_.state_directory);
    Restart();
  }

  void Restart() {
    coordinator_.reset();
    ASSERT_OK_AND_ASSIGN(coordinator_, Coordinator::Start(options_, clock_));
    channel_ = grpc::CreateChannel(coordinator_->address(), grpc::InsecureChannelCredentials());
    jobs_ = v1::JobService::NewStub(channel_);
    trainers_ = v1::TrainerService::NewStub(channel_);
    workers_ = v1::WorkerService::NewStub(channel_);
  }

  // One unary call of any service.
  template <typename Stub, typename Request, typename Response>
  absl::Status Call(Stub& stub, grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                    const Request& request, Response* response) {
    grpc::ClientContext context;
    Limit(context);
    return ToAbsl((stub.*method)(&context, request, response));
  }

  // The id of an accepted job.
  std::string Submit(const std::string& name, int world_size) {
    v1::SubmitJobRequest request;
    request.mutable_spec()->set_name(name);
    request.mutable_spec()->mutable_model()->mutable_mlp()->add_hidden(8);
    request.mutable_spec()->mutable_parallel()->mutable_data()->set_max(world_size);
    v1::SubmitJobResponse response;
    EXPECT_OK(Call(*jobs_, &v1::JobService::Stub::SubmitJob, request, &response));
    return response.job_id();
  }
  v1::JobStatus Get(const std::string& job) {
    v1::GetJobRequest request;
    request.set_job(job);
    v1::GetJobResponse response;
    EXPECT_OK(Call(*jobs_, &v1::JobService::Stub::GetJob, request, &response));
    return response.status();
  }
  absl::Status Cancel(const std::string& job) {
    v1::CancelJobRequest request;
    request.set_job(job);
    v1::CancelJobResponse response;
    return Call(*jobs_, &v1::JobService::Stub::CancelJob, request, &response);
  }
  absl::Status Join(const v1::HostedRank& rank, v1::JoinResponse* response) {
    v1::JoinRequest request;
    *request.mutable_identity() = Identity(rank);
    return Call(*trainers_, &v1::TrainerService::Stub::Join, request, response);
  }
  // Texts of the lines, and the status at the end.
  std::vector<std::string> Logs(const v1::StreamLogsRequest& request, absl::Status* end) {
    grpc::ClientContext context;
    Limit(context);
    auto reader = jobs_->StreamLogs(&context, request);
    std::vector<std::string> texts;
    v1::StreamLogsResponse response;
    while (reader->Read(&response)) {
      for (const v1::LogLine& line : response.lines()) texts.push_back(line.text());
    }
    *end = ToAbsl(reader->Finish());
    return texts;
  }

  const RealClock clock_{};
  CoordinatorOptions options_;
  std::unique_ptr<Coordinator> coordinator_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::JobService::Stub> jobs_;
  std::unique_ptr<v1::TrainerService::Stub> trainers_;
  std::unique_ptr<v1::WorkerService::Stub> workers_;
};

}  // namespace ringmaster

#endif  // RINGMASTER_COORDINATOR_TESTING_COORDINATOR_FIXTURE_H_
