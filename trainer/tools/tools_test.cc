#include <cmath>
#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

#include "common/status_matchers.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "trainer/data/random.h"
#include "trainer/tools/digits.h"
#include "trainer/tools/evaluate.h"
#include "trainer/tools/generate.h"
#include "trainer/train_cluster.h"

namespace ringmaster::trainer {
namespace {

using ::ringmaster::testing::StatusIs;
using ::testing::HasSubstr;

struct Trained {
  std::string job_directory;
  double validation_loss = 0;
  double validation_accuracy = 0;
};

Trained Train(const v1::JobSpec& spec) {
  TrainCluster cluster(spec, 2);
  for (const TrainResult& result : cluster.RunEpoch()) EXPECT_OK(result.status);
  return {spec.checkpoint().directory() + "/tiny-1", cluster.board(0).validation_loss.load(),
          cluster.board(0).validation_accuracy.load()};
}

v1::JobSpec TinyMlp(const std::string& checkpoints) {
  v1::JobSpec spec = TinyGpt(checkpoints);
  spec.mutable_model()->mutable_mlp()->add_hidden(32);
  spec.mutable_data()->mutable_synthetic_digits()->set_train(100);
  spec.mutable_data()->mutable_synthetic_digits()->set_validation(70);
  return spec;
}

std::string Generated(const GenerateRequest& request) {
  std::string text;
  EXPECT_OK(Generate(request, [&](std::string_view part) { text += part; }));
  return text;
}

TEST(Generate, SameSeed_SameTextAndAnotherSeedAnother) {
  v1::JobSpec spec = TinyGpt(FreshDirectory("generate"));
  spec.mutable_train()->set_steps(60);
  const Trained trained = Train(spec);
  GenerateRequest request{
      .checkpoint = trained.job_directory, .prompt = "the ring", .bytes = 40, .temperature = 1, .top_k = 0, .seed = 1};

  const std::string text = Generated(request);

  EXPECT_EQ(text.size(), 48u);  // longer than the context of 8
  EXPECT_EQ(text.substr(0, 8), "the ring");
  EXPECT_EQ(Generated(request), text);
  request.seed = 2;
  EXPECT_NE(Generated(request), text);
  request.temperature = 0;
  const std::string greedy = Generated(request);
  request.seed = 3;
  EXPECT_EQ(Generated(request), greedy);
  request.prompt = "";
  EXPECT_EQ(Generated(request).size(), 40u);
}

TEST(Generate, WrongCheckpoint_IsRefusedByName) {
  const Trained trained = Train(TinyMlp(FreshDirectory("no-text")));
  const auto nothing = [](std::string_view) {};
  EXPECT_THAT(Generate({.checkpoint = trained.job_directory, .prompt = ""}, nothing),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("expected a GPT")));
  EXPECT_THAT(Generate({.checkpoint = "/no/such", .prompt = ""}, nothing),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/no/such")));
}

TEST(SampleToken, Frequencies_FollowTheSoftmaxOfTheTopK) {
  const std::vector<float> logits = {std::log(1.0f), std::log(4.0f), std::log(3.0f), std::log(2.0f)};
  std::vector<int32_t> order(4);
  RandomStream random(5);
  std::vector<int> counts(4, 0);
  for (int i = 0; i < 20'000; ++i) ++counts[static_cast<size_t>(SampleToken(logits, 1, 3, random, order))];
  EXPECT_EQ(counts[0], 0);  // the least likely of four
  EXPECT_NEAR(counts[1] / 20'000.0, 4.0 / 9, 0.02);
  EXPECT_NEAR(counts[2] / 20'000.0, 3.0 / 9, 0.02);
  EXPECT_NEAR(counts[3] / 20'000.0, 2.0 / 9, 0.02);
  EXPECT_EQ(SampleToken(logits, 0, 0, random, order), 1);
}

TEST(Evaluate, OfTheLastCheckpoint_IsTheLossOfTheLastValidation) {
  const Trained gpt = Train(TinyGpt(FreshDirectory("evaluate")));
  ASSERT_OK_AND_ASSIGN(const std::string report, Evaluate(gpt.job_directory, OutputFormat::kJson));
  const auto json = nlohmann::json::parse(report);
  EXPECT_NEAR(json["validation_loss"].get<double>(), gpt.validation_loss, 1e-5);
  EXPECT_TRUE(json["validation_accuracy"].is_null());
  EXPECT_EQ(json["step"], 12);
  EXPECT_EQ(json["tokens"], 40 * 8);

  const Trained mlp = Train(TinyMlp(FreshDirectory("evaluate-mlp")));
  ASSERT_OK_AND_ASSIGN(const std::string mlp_report, Evaluate(mlp.job_directory + "/step-00000012", OutputFormat::kJson));
  EXPECT_NEAR(nlohmann::json::parse(mlp_report)["validation_loss"].get<double>(), mlp.validation_loss, 1e-5);
  EXPECT_NEAR(nlohmann::json::parse(mlp_report)["validation_accuracy"].get<double>(), mlp.validation_accuracy, 1e-9);
  ASSERT_OK_AND_ASSIGN(const std::string table, Evaluate(mlp.job_directory, OutputFormat::kTable));
  EXPECT_THAT(table, HasSubstr("accuracy"));
}

TEST(Evaluate, FlippedByte_IsDataLossWithTheFile) {
  const Trained trained = Train(TinyMlp(FreshDirectory("flipped")));
  std::fstream file(trained.job_directory + "/step-00000012/w-00of02.safetensors", std::ios::binary | std::ios::in | std::ios::out);
  file.seekp(4096 + 17);
  file.put('\x7f');
  file.close();
  EXPECT_THAT(Evaluate(trained.job_directory, OutputFormat::kTable),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("w-00of02.safetensors: chunk 0")));
}

TEST(Digits, FilesOfTheTool_TrainAModel) {
  const std::string directory = FreshDirectory("digits-files") + "/new";
  ASSERT_OK(WriteDigits({.directory = directory, .train = 64, .validation = 32, .seed = 3}));
  v1::JobSpec spec = TinyMlp(FreshDirectory("digits-checkpoints"));
  v1::IdxData& idx = *spec.mutable_data()->mutable_idx();
  idx.set_train_images(directory + "/train-images-idx3-ubyte");
  idx.set_train_labels(directory + "/train-labels-idx1-ubyte");
  idx.set_validation_images(directory + "/validation-images-idx3-ubyte");
  idx.set_validation_labels(directory + "/validation-labels-idx1-ubyte");
  EXPECT_LT(Train(spec).validation_loss, 3);
  EXPECT_THAT(WriteDigits({.directory = "/proc/none", .train = 1, .validation = 1}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/proc/none")));
}

}  // namespace
}  // namespace ringmaster::trainer
