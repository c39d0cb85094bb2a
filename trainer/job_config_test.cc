#include "trainer/job_config.h"

#include <cmath>
#include <functional>
#include <string>

#include "common/status_matchers.h"
#include "gtest/gtest.h"

namespace ringmaster::trainer {
namespace {

using ::ringmaster::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

v1::JobSpec GoodSpec() {
  v1::JobSpec spec;
  spec.mutable_model()->mutable_mlp()->add_hidden(32);
  spec.mutable_train()->set_steps(10);
  spec.mutable_train()->set_global_batch(24);
  spec.mutable_train()->mutable_optimizer()->mutable_adamw()->set_learning_rate(1e-3);
  return spec;
}

TEST(JobConfig, EmptyFields_HaveTheDocumentedDefaults) {
  ASSERT_OK_AND_ASSIGN(const JobConfig config, ReadJobConfig(GoodSpec(), 4));
  const auto& adamw = std::get<AdamWConfig>(config.optimizer);
  EXPECT_EQ(adamw.beta1, 0.9);
  EXPECT_EQ(adamw.beta2, 0.95);
  EXPECT_EQ(adamw.epsilon, 1e-8);
  EXPECT_EQ(config.rank_batch, 6);
  EXPECT_EQ(config.micro_batch, 6);
  EXPECT_EQ(config.log_every, 10);
  EXPECT_EQ(config.schedule.kind, ScheduleKind::kConstant);
  EXPECT_EQ(config.collective_timeout, absl::Seconds(60));
}

TEST(JobConfig, MicroBatch_IsAtMostTheRanksPart) {
  v1::JobSpec spec = GoodSpec();
  spec.mutable_train()->set_micro_batch(4);
  EXPECT_EQ(ReadJobConfig(spec, 1)->micro_batch, 4);
  spec.mutable_train()->set_micro_batch(100);
  EXPECT_EQ(ReadJobConfig(spec, 2)->micro_batch, 12);
}

// Of a model that both axes divide.
v1::JobSpec Mesh(int tensor, int pipeline) {
  v1::JobSpec spec = GoodSpec();
  v1::Gpt& gpt = *spec.mutable_model()->mutable_gpt();
  gpt.set_layers(4);
  gpt.set_heads(4);
  gpt.set_channels(16);
  gpt.set_context(8);
  spec.mutable_parallel()->set_tensor(tensor);
  spec.mutable_parallel()->set_pipeline(pipeline);
  return spec;
}

TEST(JobConfig, AMeshDividesTheRanks_AndItsReplicasTheBatch) {
  v1::JobSpec spec = Mesh(2, 3);
  ASSERT_OK_AND_ASSIGN(const JobConfig config, ReadJobConfig(spec, 12));
  EXPECT_EQ(config.mesh, (MeshShape{.data = 2, .pipeline = 3, .tensor = 2}));
  EXPECT_EQ(config.rank_batch, 12);
  EXPECT_EQ(config.micro_batches(), 3) << "as many as there are stages";
  spec.mutable_parallel()->set_micro_batches(6);
  EXPECT_EQ(ReadJobConfig(spec, 12)->micro_batch, 2);
  spec.mutable_parallel()->clear_micro_batches();
  spec.mutable_train()->set_micro_batch(5);
  EXPECT_EQ(ReadJobConfig(spec, 12)->micro_batches(), 3) << "5, 5 and 2 samples";
}

TEST(JobConfig, BadFields_AreNamedWithFoundAndExpected) {
  const struct {
    std::string field;
    std::string found;
    std::function<void(v1::JobSpec&)> change;
  } cases[] = {
      {"model", "none", [](v1::JobSpec& s) { s.clear_model(); }},
      {"train.steps", "0", [](v1::JobSpec& s) { s.mutable_train()->set_steps(0); }},
      {"train.global_batch", "-1", [](v1::JobSpec& s) { s.mutable_train()->set_global_batch(-1); }},
      {"train.global_batch", "23", [](v1::JobSpec& s) { s.mutable_train()->set_global_batch(23); }},
      {"train.micro_batch", "-2", [](v1::JobSpec& s) { s.mutable_train()->set_micro_batch(-2); }},
      {"train.optimizer", "none", [](v1::JobSpec& s) { s.mutable_train()->clear_optimizer(); }},
      {"adamw.learning_rate", "0",
       [](v1::JobSpec& s) { s.mutable_train()->mutable_optimizer()->mutable_adamw()->set_learning_rate(0); }},
      {"adamw.learning_rate", "nan",
       [](v1::JobSpec& s) { s.mutable_train()->mutable_optimizer()->mutable_adamw()->set_learning_rate(std::nan("")); }},
      {"adamw.beta1", "1", [](v1::JobSpec& s) { s.mutable_train()->mutable_optimizer()->mutable_adamw()->set_beta1(1); }},
      {"sgd.momentum", "2",
       [](v1::JobSpec& s) {
         s.mutable_train()->mutable_optimizer()->mutable_sgd()->set_learning_rate(1);
         s.mutable_train()->mutable_optimizer()->mutable_sgd()->set_momentum(2);
       }},
      {"warmup_steps", "-1", [](v1::JobSpec& s) { s.mutable_train()->mutable_schedule()->mutable_cosine()->set_warmup_steps(-1); }},
      {"final_fraction", "1.5",
       [](v1::JobSpec& s) { s.mutable_train()->mutable_schedule()->mutable_linear()->set_final_fraction(1.5); }},
      {"train.clip_norm", "-1", [](v1::JobSpec& s) { s.mutable_train()->set_clip_norm(-1); }},
      {"device", "cuda",
       [](v1::JobSpec& s) {
         s.set_device("cuda");
         s.mutable_model()->mutable_gpt();
         s.mutable_train()->mutable_optimizer()->mutable_sgd()->set_learning_rate(1);
       }},
      {"device", "tpu", [](v1::JobSpec& s) { s.set_device("tpu"); }},
      {"parallel.tensor", "2", [](v1::JobSpec& s) { s.mutable_parallel()->set_tensor(2); }},  // of an mlp
      {"parallel.pipeline", "2", [](v1::JobSpec& s) { s.mutable_parallel()->set_pipeline(2); }},
      {"parallel.tensor", "2",
       [](v1::JobSpec& s) {
         s = Mesh(2, 1);
         s.mutable_model()->mutable_gpt()->set_heads(3);
       }},
      {"parallel.pipeline", "2",
       [](v1::JobSpec& s) {
         s = Mesh(1, 2);
         s.mutable_model()->mutable_gpt()->set_layers(1);
       }},
      {"parallel.zero", "1",
       [](v1::JobSpec& s) {
         s = Mesh(1, 2);
         s.set_device("cuda");
         s.mutable_train()->mutable_optimizer()->mutable_adamw()->set_learning_rate(1);
         s.mutable_parallel()->set_zero(1);
       }},
      {"parallel.data", "1 to 2",
       [](v1::JobSpec& s) {
         s = Mesh(2, 1);
         s.mutable_parallel()->mutable_data()->set_min(1);
         s.mutable_parallel()->mutable_data()->set_max(2);
       }},
      {"world size", "2", [](v1::JobSpec& s) { s = Mesh(2, 2); }},
      {"parallel.schedule", "2f2b",
       [](v1::JobSpec& s) {
         s = Mesh(1, 2);
         s.mutable_parallel()->set_schedule("2f2b");
       }},
      {"parallel.schedule", "gpipe", [](v1::JobSpec& s) { s.mutable_parallel()->set_schedule("gpipe"); }},
      {"parallel.micro_batches", "5",
       [](v1::JobSpec& s) {
         s = Mesh(1, 2);
         s.mutable_parallel()->set_micro_batches(5);
       }},
      {"parallel.micro_batches", "4", [](v1::JobSpec& s) { s.mutable_parallel()->set_micro_batches(4); }},
      {"parallel.micro_batches", "4",
       [](v1::JobSpec& s) {
         s = Mesh(1, 2);
         s.mutable_parallel()->set_micro_batches(4);
         s.mutable_train()->set_micro_batch(6);
       }},
      {"parallel.zero", "2",
       [](v1::JobSpec& s) {
         s.set_device("cuda");
         s.mutable_model()->mutable_gpt();
         s.mutable_parallel()->set_zero(2);
       }},
      {"parallel.zero", "1", [](v1::JobSpec& s) { s.mutable_parallel()->set_zero(1); }},
      {"command", "a program", [](v1::JobSpec& s) { s.add_command("ls"); }},
      {"checkpoint.when_busy", "drop", [](v1::JobSpec& s) { s.mutable_checkpoint()->set_when_busy("drop"); }},
      {"checkpoint.memory_every", "1", [](v1::JobSpec& s) { s.mutable_checkpoint()->set_memory_every(1); }},
      {"checkpoint.every_steps", "-3", [](v1::JobSpec& s) { s.mutable_checkpoint()->set_every_steps(-3); }},
      {"collective_timeout", "0", [](v1::JobSpec& s) { s.mutable_collective_timeout()->set_seconds(0); }},
  };
  for (const auto& bad : cases) {
    v1::JobSpec spec = GoodSpec();
    bad.change(spec);
    EXPECT_THAT(ReadJobConfig(spec, 2),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr(bad.field), HasSubstr("found " + bad.found), HasSubstr("expected"))))
        << bad.field;
  }
}

}  // namespace
}  // namespace ringmaster::trainer
