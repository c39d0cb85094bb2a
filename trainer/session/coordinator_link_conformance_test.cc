// What every CoordinatorLink promises; both the fake and the link over gRPC (against a server that answers from the fake) pass it.
#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/real_clock.h"
#include "common/status_matchers.h"
#include "gtest/gtest.h"
#include "proto/trainer_service.grpc.pb.h"
#include "trainer/session/grpc_coordinator_link.h"
#include "trainer/session/memory_coordinator.h"

namespace ringmaster::trainer {
namespace {

using ::ringmaster::testing::StatusIs;
using ::testing::HasSubstr;

constexpr absl::Duration kLong = absl::Seconds(60);
constexpr absl::Duration kShort = absl::Milliseconds(100);

grpc::Status ToGrpc(const absl::Status& status) {
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()));
}

// Answers from a MemoryCoordinator.
class Service final : public v1::TrainerService::Service {
 public:
  explicit Service(MemoryCoordinator& coordinator) : coordinator_(coordinator) {}

  grpc::Status Join(grpc::ServerContext*, const v1::JoinRequest* request, v1::JoinResponse* response) override {
    auto joined = LinkOf(request->identity())->Join(kLong);
    if (joined.ok()) *response = *joined;
    return ToGrpc(joined.status());
  }
  grpc::Status AwaitEpoch(grpc::ServerContext*, const v1::AwaitEpochRequest* request, v1::AwaitEpochResponse* response) override {
    const LostContact lost{.why = request->lost_contact(), .step = request->step()};
    auto next = LinkOf(request->identity())->AwaitEpoch(lost, Duration(request->timeout()));
    if (next.ok()) {
      *response->mutable_identity() = request->identity();
      response->mutable_identity()->set_epoch(next->epoch.value());
    }
    return ToGrpc(next.status());
  }
  grpc::Status Publish(grpc::ServerContext*, const v1::PublishRequest* request, v1::PublishResponse*) override {
    return ToGrpc(LinkOf(request->identity())->Publish(request->key(), request->value()));
  }
  grpc::Status Await(grpc::ServerContext*, const v1::AwaitRequest* request, v1::AwaitResponse* response) override {
    auto value = LinkOf(request->identity())->Await(request->key(), Duration(request->timeout()));
    if (value.ok()) response->set_value(*value);
    return ToGrpc(value.status());
  }
  grpc::Status ReportShard(grpc::ServerContext*, const v1::ReportShardRequest* request, v1::ReportShardResponse*) override {
    return ToGrpc(LinkOf(request->identity())->ReportShard(request->step(), request->shard(), kLong));
  }
  grpc::Status AwaitShards(grpc::ServerContext*, const v1::AwaitShardsRequest* request,
                           v1::AwaitShardsResponse* response) override {
    auto shards = LinkOf(request->identity())->AwaitShards(request->step(), Duration(request->timeout()));
    if (shards.ok()) response->mutable_shards()->Assign(shards->begin(), shards->end());
    return ToGrpc(shards.status());
  }
  grpc::Status CommitCheckpoint(grpc::ServerContext*, const v1::CommitCheckpointRequest* request,
                                v1::CommitCheckpointResponse* response) override {
    auto deleted = LinkOf(request->identity())->CommitCheckpoint(request->checkpoint(), kLong);
    if (deleted.ok()) response->mutable_delete_()->Assign(deleted->begin(), deleted->end());
    return ToGrpc(deleted.status());
  }
  grpc::Status RefuseCheckpoint(grpc::ServerContext*, const v1::RefuseCheckpointRequest* request,
                                v1::RefuseCheckpointResponse*) override {
    return ToGrpc(LinkOf(request->identity())->RefuseCheckpoint(request->path(), request->reason(), kLong));
  }

 private:
  static absl::Duration Duration(const google::protobuf::Duration& duration) {
    return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
  }
  std::unique_ptr<CoordinatorLink> LinkOf(const v1::RankIdentity& identity) {
    TrainerIdentity trainer;
    trainer.job = JobId(identity.job_id());
    trainer.epoch = Epoch(identity.epoch());
    trainer.rank = Rank(identity.rank());
    trainer.incarnation = Incarnation(identity.incarnation());
    return coordinator_.LinkFor(trainer);
  }

  MemoryCoordinator& coordinator_;
};

class CoordinatorLinkConformance : public ::testing::TestWithParam<bool> {
 protected:
  CoordinatorLinkConformance() : coordinator_(Spec(), 2, clock_), service_(coordinator_) {
    if (GetParam()) Serve();
  }
  ~CoordinatorLinkConformance() override {
    if (server_ != nullptr) server_->Shutdown();
  }

  static v1::JobSpec Spec() {
    v1::JobSpec spec;
    spec.set_name("digits");
    spec.mutable_checkpoint()->set_resume("/old/step-5");
    return spec;
  }

  std::unique_ptr<CoordinatorLink> LinkOf(int rank, int64_t epoch = 1) {
    TrainerIdentity identity;
    identity.coordinator = absl::StrCat("127.0.0.1:", port_);
    identity.job = JobId("digits-1");
    identity.epoch = Epoch(epoch);
    identity.rank = Rank(rank);
    identity.incarnation = Incarnation(77);
    return GetParam() ? CreateGrpcCoordinatorLink(identity, clock_) : coordinator_.LinkFor(identity);
  }

  void Serve() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(absl::StrCat("127.0.0.1:", port_), grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
  }

  void GoAway() {
    if (GetParam()) {
      server_->Shutdown();
      server_.reset();
    } else {
      coordinator_.GoAway();
    }
  }
  void ComeBack() { GetParam() ? Serve() : coordinator_.ComeBack(); }

  static v1::CheckpointInfo Checkpoint(int64_t step) {
    v1::CheckpointInfo checkpoint;
    checkpoint.set_step(step);
    checkpoint.set_path(absl::StrCat("/new/step-", step));
    return checkpoint;
  }

  RealClock clock_;
  MemoryCoordinator coordinator_;
  Service service_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

TEST_P(CoordinatorLinkConformance, JoinReturnsSpecWorldAndWhereToResume) {
  ASSERT_OK_AND_ASSIGN(const v1::JoinResponse response, LinkOf(0)->Join(kLong));
  EXPECT_EQ(response.spec().name(), "digits");
  EXPECT_EQ(response.world_size(), 2);
  ASSERT_EQ(response.checkpoints_size(), 1);
  EXPECT_EQ(response.checkpoints(0).path(), "/old/step-5");
  EXPECT_EQ(coordinator_.joined(), std::set<int32_t>{0});
}

TEST_P(CoordinatorLinkConformance, AwaitReturnsWhatAnotherRankPublishesLater) {
  const auto first = LinkOf(0), second = LinkOf(1);
  absl::StatusOr<std::string> value;
  std::thread waiter([&] { value = first->Await("collectives/world/1", kLong); });
  const std::string binary("a\0\xff z", 5);
  EXPECT_OK(second->Publish("collectives/world/1", binary));
  waiter.join();
  ASSERT_OK(value);
  EXPECT_EQ(*value, binary);
  EXPECT_OK(second->Publish("collectives/world/1", binary)) << "safe to repeat";
  EXPECT_THAT(first->Publish("collectives/world/1", "other"), StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("world/1")));
  EXPECT_THAT(first->Await("nobody", kShort), StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("nobody")));
}

TEST_P(CoordinatorLinkConformance, ACheckpointCommitsWhenAllShardsAreThereAndRetentionNamesTheOldest) {
  const auto first = LinkOf(0), second = LinkOf(1);
  v1::ShardInfo shard;
  shard.set_file("rank-1.safetensors");
  EXPECT_THAT(first->CommitCheckpoint(Checkpoint(10), kLong),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("missing")));
  for (const int64_t step : {10, 20, 30}) {
    shard.set_rank(0);
    EXPECT_OK(first->ReportShard(step, shard, kLong));
    if (step == 10) {
      EXPECT_THAT(first->AwaitShards(step, kShort), StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("10")));
    }
    shard.set_rank(1);
    EXPECT_OK(second->ReportShard(step, shard, kLong));
    ASSERT_OK_AND_ASSIGN(const auto shards, first->AwaitShards(step, kLong));
    ASSERT_EQ(shards.size(), 2u);
    EXPECT_EQ(shards[1].rank(), 1);
    for (int repeat = 0; repeat < 2; ++repeat) {
      ASSERT_OK_AND_ASSIGN(const auto deleted, first->CommitCheckpoint(Checkpoint(step), kLong));
      EXPECT_EQ(deleted.size(), step == 30 ? 1u : 0u);
    }
  }
  EXPECT_OK(first->RefuseCheckpoint("/new/step-30", "flipped bit", kLong));
  ASSERT_OK_AND_ASSIGN(const v1::JoinResponse response, first->Join(kLong));
  ASSERT_EQ(response.checkpoints_size(), 2);
  EXPECT_EQ(response.checkpoints(0).path(), "/new/step-20");
}

TEST_P(CoordinatorLinkConformance, AnOldEpochIsAbortedAlsoWhileItWaits) {
  const auto link = LinkOf(0);
  EXPECT_OK(link->Join(kLong));
  absl::StatusOr<std::string> value;
  std::thread waiter([&] { value = link->Await("never", kLong); });
  coordinator_.OpenEpoch(Epoch(2));
  waiter.join();
  EXPECT_THAT(value, StatusIs(absl::StatusCode::kAborted, HasSubstr("epoch 1")));
  EXPECT_THAT(link->Join(kLong), StatusIs(absl::StatusCode::kAborted, HasSubstr("epoch 1")));
  EXPECT_OK(LinkOf(0, 2)->Join(kLong));
}

TEST_P(CoordinatorLinkConformance, WhoWaitsForTheNextEpochLearnsWhoItIsInIt) {
  coordinator_.KeepProcesses(/*survivors=*/1);
  const auto watching = LinkOf(0), lost = LinkOf(1);
  EXPECT_THAT(watching->AwaitEpoch({}, kShort), StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("epoch 1")));
  absl::StatusOr<TrainerIdentity> seen;
  std::thread watch([&] { seen = watching->AwaitEpoch({}, kLong); });
  ASSERT_OK_AND_ASSIGN(const TrainerIdentity next, lost->AwaitEpoch({.why = "rank 0 is gone", .step = 7}, kLong));
  watch.join();
  EXPECT_EQ(next.epoch, Epoch(2));
  EXPECT_EQ(next.rank, Rank(1));
  EXPECT_EQ(next.incarnation, Incarnation(77));
  ASSERT_OK(seen);
  EXPECT_EQ(seen->rank, Rank(0));
  EXPECT_OK(lost->LinkFor(next)->Join(kLong));
  EXPECT_THAT(lost->Join(kLong), StatusIs(absl::StatusCode::kAborted, HasSubstr("epoch 1"))) << "a link stays with its epoch";
}

TEST_P(CoordinatorLinkConformance, WhereTheJobGoesOnWithoutThisProcessAwaitEpochIsAborted) {
  coordinator_.OpenEpoch(Epoch(2));
  EXPECT_THAT(LinkOf(0)->AwaitEpoch({}, kLong), StatusIs(absl::StatusCode::kAborted, HasSubstr("without this process")));
}

TEST_P(CoordinatorLinkConformance, CancelEndsAwaitEpochNowAndLaterAndNothingElse) {
  const auto link = LinkOf(0);
  absl::StatusOr<TrainerIdentity> next;
  std::thread waiter([&] { next = link->AwaitEpoch({}, kLong); });
  link->CancelAwaitEpoch();
  waiter.join();
  EXPECT_THAT(next, StatusIs(absl::StatusCode::kCancelled, ::testing::_));
  EXPECT_THAT(link->AwaitEpoch({}, kLong), StatusIs(absl::StatusCode::kCancelled, ::testing::_));
  EXPECT_OK(link->Join(kLong));
}

TEST_P(CoordinatorLinkConformance, CallsOutliveACoordinatorThatIsAwayForAWhile) {
  const auto link = LinkOf(0);
  EXPECT_OK(link->Join(kLong));
  GoAway();
  EXPECT_THAT(link->Join(kShort), StatusIs(absl::StatusCode::kUnavailable, ::testing::_));
  absl::Status status;
  std::thread caller([&] { status = link->Publish("key", "value"); });
  ComeBack();
  caller.join();
  EXPECT_OK(status);
}

INSTANTIATE_TEST_SUITE_P(Links, CoordinatorLinkConformance, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "Grpc" : "Memory"; });

}  // namespace
}  // namespace ringmaster::trainer
