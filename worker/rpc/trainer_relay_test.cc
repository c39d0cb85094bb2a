#include "worker/rpc/trainer_relay.h"

#include <poll.h>
#include <unistd.h>

#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/real_clock.h"
#include "common/status_matchers.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "proto/job_service.grpc.pb.h"
#include "proto/trainer_service.grpc.pb.h"

namespace ringmaster {
namespace {

using ::ringmaster::testing::StatusIs;

class TrainerRelayTest : public ::testing::Test {
 protected:
  void SetUp() override {
    name_ = absl::StrCat("ringmaster-relay-test-", getpid(), "-", ::testing::UnitTest::GetInstance()->current_test_info()->name());
    ASSERT_OK_AND_ASSIGN(relay_, CreateTrainerRelay(name_, clock_));
    channel_ = grpc::CreateChannel(relay_->address(), grpc::InsecureChannelCredentials());
  }

  // A trainer that asks for a key; how it ended is in `status` and `value` once it is joined.
  struct Trainer {
    std::unique_ptr<grpc::ClientContext> context = std::make_unique<grpc::ClientContext>();
    grpc::Status status;
    std::string value;
    std::thread thread;
  };
  void Ask(Trainer& trainer, std::string key) {
    trainer.context->set_deadline(absl::ToChronoTime(clock_.WallNow() + absl::Seconds(30)));
    trainer.thread = std::thread([this, &trainer, key = std::move(key)] {
      v1::AwaitRequest request;
      request.set_key(key);
      v1::AwaitResponse response;
      trainer.status = v1::TrainerService::NewStub(channel_)->Await(trainer.context.get(), request, &response);
      trainer.value = response.value();
    });
  }
  // The next calls; waits for them.
  v1::TrainerCalls Calls() {
    pollfd ready{relay_->poll_fd(), POLLIN, 0};
    EXPECT_EQ(poll(&ready, 1, 30'000), 1);
    const auto message = relay_->TakeCalls();
    EXPECT_TRUE(message.has_value());
    return message->trainer_calls();
  }
  static std::string KeyOf(const v1::TrainerCall& call) {
    v1::AwaitRequest request;
    EXPECT_TRUE(request.ParseFromString(call.request()));
    return request.key();
  }
  static v1::TrainerAnswers Value(uint64_t id, const std::string& value) {
    v1::AwaitResponse response;
    response.set_value(value);
    v1::TrainerAnswers answers;
    answers.add_answers()->set_id(id);
    answers.mutable_answers(0)->set_response(response.SerializeAsString());
    return answers;
  }

  const RealClock clock_{};
  std::string name_;
  std::unique_ptr<TrainerRelay> relay_;
  std::shared_ptr<grpc::Channel> channel_;
};

TEST_F(TrainerRelayTest, ACallIsTakenAndAnsweredToTheOneThatMadeIt) {
  Trainer first, second;
  Ask(first, "a");
  const v1::TrainerCalls a = Calls();
  ASSERT_EQ(a.calls_size(), 1);
  EXPECT_EQ(a.calls(0).method(), "Await");
  EXPECT_EQ(KeyOf(a.calls(0)), "a");
  Ask(second, "b");
  const v1::TrainerCalls b = Calls();
  relay_->Answer(Value(b.calls(0).id(), "of b"));
  second.thread.join();
  EXPECT_EQ(second.value, "of b");
  relay_->Answer(Value(b.calls(0).id(), "again"));  // nobody waits for it
  relay_->Answer(Value(a.calls(0).id(), "of a"));
  first.thread.join();
  EXPECT_EQ(first.value, "of a");
  EXPECT_EQ(relay_->TakeCalls(), std::nullopt);
}

TEST_F(TrainerRelayTest, ARefusalComesThroughWithCodeAndWords) {
  Trainer trainer;
  Ask(trainer, "a");
  v1::TrainerAnswers answers;
  answers.add_answers()->set_id(Calls().calls(0).id());
  answers.mutable_answers(0)->set_code(static_cast<int>(grpc::StatusCode::ABORTED));
  answers.mutable_answers(0)->set_message("epoch 1 is over");
  relay_->Answer(answers);
  trainer.thread.join();
  EXPECT_EQ(trainer.status.error_code(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(trainer.status.error_message(), "epoch 1 is over");
}

TEST_F(TrainerRelayTest, WhenTheStreamIsGoneAllThatWaitFailAndMayTryAgain) {
  Trainer taken, waiting;
  Ask(taken, "a");
  Calls();
  Ask(waiting, "b");
  pollfd ready{relay_->poll_fd(), POLLIN, 0};
  ASSERT_EQ(poll(&ready, 1, 30'000), 1);
  relay_->FailAll(absl::UnavailableError("the stream broke"));
  taken.thread.join();
  waiting.thread.join();
  for (const Trainer* one : {&taken, &waiting}) {
    EXPECT_EQ(one->status.error_code(), grpc::StatusCode::UNAVAILABLE);
    EXPECT_EQ(one->status.error_message(), "the stream broke");
  }
  EXPECT_EQ(relay_->TakeCalls(), std::nullopt);
  Trainer again;
  Ask(again, "a");
  relay_->Answer(Value(Calls().calls(0).id(), "now"));
  again.thread.join();
  EXPECT_EQ(again.value, "now");
}

TEST_F(TrainerRelayTest, WhoHangsUpIsForgotten) {
  Trainer trainer;
  Ask(trainer, "a");
  const uint64_t id = Calls().calls(0).id();
  trainer.context->TryCancel();
  trainer.thread.join();
  EXPECT_EQ(trainer.status.error_code(), grpc::StatusCode::CANCELLED);
  relay_->Answer(Value(id, "too late"));
}

TEST_F(TrainerRelayTest, CallsThatWaitGoTogetherButNotMoreThanAMessageHolds) {
  const std::string long_key(600 << 10, 'k');
  Trainer trainers[3];
  for (Trainer& trainer : trainers) Ask(trainer, long_key);
  int seen = 0;
  while (seen < 3) {
    pollfd ready{relay_->poll_fd(), POLLIN, 0};
    ASSERT_EQ(poll(&ready, 1, 30'000), 1);
    while (const auto message = relay_->TakeCalls()) {
      ASSERT_EQ(message->trainer_calls().calls_size(), 1);
      relay_->Answer(Value(message->trainer_calls().calls(0).id(), "ok"));
      ++seen;
    }
  }
  for (Trainer& trainer : trainers) trainer.thread.join();
  for (const Trainer& trainer : trainers) EXPECT_EQ(trainer.value, "ok");
}

TEST_F(TrainerRelayTest, OtherServicesAreNotPassedOn) {
  grpc::ClientContext context;
  v1::GetJobResponse response;
  const grpc::Status status = v1::JobService::NewStub(channel_)->GetJob(&context, {}, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(relay_->TakeCalls(), std::nullopt);
}

TEST_F(TrainerRelayTest, ANameThatIsTakenIsAnError) {
  EXPECT_THAT(CreateTrainerRelay(name_, clock_), StatusIs(absl::StatusCode::kUnavailable, ::testing::HasSubstr(name_)));
}

TEST_F(TrainerRelayTest, ItsEndIsTheEndOfThoseThatWait) {
  Trainer trainer;
  Ask(trainer, "a");
  Calls();
  relay_.reset();
  trainer.thread.join();
  EXPECT_EQ(trainer.status.error_code(), grpc::StatusCode::UNAVAILABLE);
}

}  // namespace
}  // namespace ringmaster
