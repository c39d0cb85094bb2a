// One suite for the fake and for the real client; the real one speaks to a gRPC server in this process whose jobs are a fake's.
#include "cli/job_client.h"

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "cli/fake_job_client.h"
#include "cli/grpc_job_client.h"
#include "common/status_matchers.h"
#include "gtest/gtest.h"
#include "proto/job_service.grpc.pb.h"

namespace ringmaster::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::StatusIs;

grpc::Status ToGrpc(const absl::Status& status) {
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()));
}

// JobService whose answers are a FakeJobClient's.
class FakeJobService final : public v1::JobService::Service {
 public:
  explicit FakeJobService(FakeJobClient* jobs) : jobs_(*jobs) {}

  grpc::Status SubmitJob(grpc::ServerContext*, const v1::SubmitJobRequest* request, v1::SubmitJobResponse* response) override {
    const auto id = jobs_.Submit(request->spec(), request->request_id());
    if (id.ok()) response->set_job_id(*id);
    return ToGrpc(id.status());
  }
  grpc::Status PlanJob(grpc::ServerContext*, const v1::PlanJobRequest* request, v1::PlanJobResponse* response) override {
    return Answer(jobs_.Plan(request->spec()), response);
  }
  grpc::Status GetJob(grpc::ServerContext*, const v1::GetJobRequest* request, v1::GetJobResponse* response) override {
    return Answer(jobs_.Get(request->job()), response);
  }
  grpc::Status ListJobs(grpc::ServerContext*, const v1::ListJobsRequest*, v1::ListJobsResponse* response) override {
    const auto jobs = jobs_.List();
    if (jobs.ok()) response->mutable_jobs()->Assign(jobs->begin(), jobs->end());
    return ToGrpc(jobs.status());
  }
  grpc::Status CancelJob(grpc::ServerContext*, const v1::CancelJobRequest* request, v1::CancelJobResponse* response) override {
    const auto id = jobs_.Cancel(request->job());
    if (id.ok()) response->set_job_id(*id);
    return ToGrpc(id.status());
  }
  grpc::Status WatchJob(grpc::ServerContext*, const v1::WatchJobRequest* request,
                        grpc::ServerWriter<v1::WatchJobResponse>* writer) override {
    return ToGrpc(jobs_.Watch(request->job(), [&](const v1::JobStatus& status) {
      v1::WatchJobResponse response;
      *response.mutable_status() = status;
      writer->Write(response);
    }));
  }
  grpc::Status StreamLogs(grpc::ServerContext*, const v1::StreamLogsRequest* request,
                          grpc::ServerWriter<v1::StreamLogsResponse>* writer) override {
    v1::StreamLogsResponse response;
    const absl::Status status = jobs_.StreamLogs(*request, [&](const v1::LogLine& line) { *response.add_lines() = line; });
    if (status.ok()) writer->Write(response);
    return ToGrpc(status);
  }
  grpc::Status GetVersion(grpc::ServerContext*, const v1::GetVersionRequest*, v1::GetVersionResponse* response) override {
    return Answer(jobs_.GetVersion(), response);
  }

 private:
  template <typename Response>
  static grpc::Status Answer(const absl::StatusOr<Response>& result, Response* response) {
    if (result.ok()) *response = *result;
    return ToGrpc(result.status());
  }

  FakeJobClient& jobs_;
};

// A client under test and the jobs that it sees.
class World {
 public:
  virtual ~World() = default;
  virtual JobClient& client() = 0;
  virtual FakeJobClient& jobs() = 0;
};

class FakeWorld final : public World {
 public:
  JobClient& client() override { return jobs_; }
  FakeJobClient& jobs() override { return jobs_; }

 private:
  FakeJobClient jobs_;
};

class GrpcWorld final : public World {
 public:
  GrpcWorld() : service_(&jobs_) {
    int port = 0;
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    client_ = NewGrpcJobClient("127.0.0.1:" + std::to_string(port));
  }
  ~GrpcWorld() override {
    jobs_.Abort();  // lets handlers that wait for a job's next state go
    server_->Shutdown();
  }
  JobClient& client() override { return *client_; }
  FakeJobClient& jobs() override { return jobs_; }

 private:
  FakeJobClient jobs_;
  FakeJobService service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<JobClient> client_;
};

template <typename T>
class JobClientConformance : public ::testing::Test {
 protected:
  T world_;
};

using Worlds = ::testing::Types<FakeWorld, GrpcWorld>;
TYPED_TEST_SUITE(JobClientConformance, Worlds);

v1::JobSpec Named(const std::string& name) {
  v1::JobSpec spec;
  spec.set_name(name);
  return spec;
}

v1::JobStatus State(const std::string& job, v1::JobState state) {
  v1::JobStatus status;
  status.set_job_id(job);
  status.set_state(state);
  return status;
}

TYPED_TEST(JobClientConformance, SubmittingTwiceWithOneRequestIdGivesOneJob) {
  JobClient& client = this->world_.client();
  ASSERT_OK_AND_ASSIGN(const std::string first, client.Submit(Named("a"), "r1"));
  ASSERT_OK_AND_ASSIGN(const std::string again, client.Submit(Named("a"), "r1"));
  EXPECT_EQ(first, again);
  ASSERT_OK_AND_ASSIGN(const std::vector<v1::JobStatus> jobs, client.List());
  EXPECT_EQ(jobs.size(), 1u);
  ASSERT_OK_AND_ASSIGN(const v1::GetJobResponse got, client.Get(first));
  EXPECT_EQ(got.spec().name(), "a");
}

TYPED_TEST(JobClientConformance, ErrorsKeepTheirCodeAndMessage) {
  JobClient& client = this->world_.client();
  EXPECT_THAT(client.Get("none"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("no job none")));
  EXPECT_THAT(client.Cancel("none"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("no job none")));
  EXPECT_THAT(client.Watch("none", [](const v1::JobStatus&) {}), StatusIs(absl::StatusCode::kNotFound, HasSubstr("no job none")));
  this->world_.jobs().Break(absl::InvalidArgumentError("name: bad"));
  EXPECT_THAT(client.Submit(Named("?"), "r"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("name: bad")));
}

TYPED_TEST(JobClientConformance, WatchGivesEveryStateAndEndsWithTheJob) {
  this->world_.jobs().PutState(State("j", v1::JOB_STATE_PENDING));
  this->world_.jobs().PutState(State("j", v1::JOB_STATE_RUNNING));
  this->world_.jobs().PutState(State("j", v1::JOB_STATE_SUCCEEDED));
  std::vector<v1::JobState> seen;
  EXPECT_OK(this->world_.client().Watch("j", [&](const v1::JobStatus& status) { seen.push_back(status.state()); }));
  EXPECT_THAT(seen, ElementsAre(v1::JOB_STATE_PENDING, v1::JOB_STATE_RUNNING, v1::JOB_STATE_SUCCEEDED));
}

TYPED_TEST(JobClientConformance, AbortEndsAWatch) {
  this->world_.jobs().PutState(State("j", v1::JOB_STATE_RUNNING));
  JobClient& client = this->world_.client();
  std::thread aborter;
  const absl::Status status = client.Watch("j", [&](const v1::JobStatus&) { aborter = std::thread([&] { client.Abort(); }); });
  aborter.join();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kCancelled, ::testing::_));
  EXPECT_THAT(client.Watch("j", [](const v1::JobStatus&) {}), StatusIs(absl::StatusCode::kCancelled, ::testing::_))
      << "and later ones";
}

TYPED_TEST(JobClientConformance, LogsOfOneRankFromTheTail) {
  this->world_.jobs().PutState(State("j", v1::JOB_STATE_SUCCEEDED));
  for (int i = 0; i < 4; ++i) {
    v1::LogLine line;
    line.set_rank(i % 2);
    line.set_text(std::to_string(i));
    this->world_.jobs().PutLine("j", line);
  }
  const auto lines = [&](int rank, int tail) {
    v1::StreamLogsRequest request;
    request.set_job("j");
    if (rank >= 0) request.set_rank(rank);
    request.set_tail_lines(tail);
    std::vector<std::string> texts;
    EXPECT_OK(this->world_.client().StreamLogs(request, [&](const v1::LogLine& line) { texts.push_back(line.text()); }));
    return texts;
  };
  EXPECT_THAT(lines(-1, 0), ElementsAre("0", "1", "2", "3"));
  EXPECT_THAT(lines(0, 0), ElementsAre("0", "2")) << "rank 0 is a rank, not \"all\"";
  EXPECT_THAT(lines(1, 1), ElementsAre("3"));
}

TYPED_TEST(JobClientConformance, CancelIsSeenByTheWatcher) {
  this->world_.jobs().PutState(State("j", v1::JOB_STATE_RUNNING));
  JobClient& client = this->world_.client();
  v1::JobState last = v1::JOB_STATE_UNSPECIFIED;
  EXPECT_OK(client.Watch("j", [&](const v1::JobStatus& status) {
    if (status.state() == v1::JOB_STATE_RUNNING) {
      EXPECT_OK(client.Cancel("j"));
    }
    last = status.state();
  }));
  EXPECT_EQ(last, v1::JOB_STATE_CANCELLED);
  EXPECT_THAT(client.Cancel("j"), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("has finished")));
}

TEST(GrpcJobClient, NamesTheAddressThatDoesNotAnswer) {
  // Port 1 of this machine: nobody listens there.
  const auto client = NewGrpcJobClient("127.0.0.1:1");
  EXPECT_THAT(client->GetVersion(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("no coordinator answers at 127.0.0.1:1")));
  EXPECT_THAT(client->Watch("j", [](const v1::JobStatus&) {}), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("127.0.0.1:1")));
}

}  // namespace
}  // namespace ringmaster::cli
