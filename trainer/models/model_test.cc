#include <cmath>
#include <vector>

#include "common/status_matchers.h"
#include "gtest/gtest.h"
#include "trainer/models/create_model.h"

namespace ringmaster::trainer {
namespace {

TEST(Slice, Gpt) {
  const int V = 19, T = 7, B = 3;
  ASSERT_OK_AND_ASSIGN(auto model, CreateModel(GptConfig{2, 2, 12, T}, SampleShape{.context = T, .vocabulary = V}, B));
  model->Initialize(3);
  Batch batch;
  batch.samples = B;
  for (int i = 0; i < B * T; ++i) {
    batch.tokens.push_back(i * 7 % V);
    batch.targets.push_back((i * 7 + 5) % V);
  }
  ASSERT_OK_AND_ASSIGN(LossSum loss, model->ForwardBackward(batch, 1.0f));
  EXPECT_NEAR(loss.loss / loss.units, std::log(V), 0.02);
  for (const Parameter& p : model->parameters()) {
    for (int64_t i : {int64_t{0}, p.size / 2, p.size - 1}) {
      float& w = model->weights()[p.offset + i];
      const float old = w, h = 1e-3f;
      w = old + h;
      auto up = model->Evaluate(batch);
      w = old - h;
      auto down = model->Evaluate(batch);
      w = old;
      const double g = (up->loss - down->loss) / (2 * h);
      EXPECT_NEAR(g, model->gradients()[p.offset + i], 2e-3 + 0.01 * std::fabs(g)) << p.name << " " << i;
    }
  }
}
TEST(Slice, Mlp) {
  const int B = 5;
  ASSERT_OK_AND_ASSIGN(auto model, CreateModel(MlpConfig{{7, 33}}, SampleShape{.height = 3, .width = 5, .classes = 4}, B));
  model->Initialize(3);
  Batch batch;
  batch.samples = 3;
  for (int i = 0; i < B * 15; ++i) batch.pixels.push_back((i * 37 % 101) / 101.0f);
  for (int i = 0; i < B; ++i) batch.targets.push_back(i % 4);
  ASSERT_OK_AND_ASSIGN(LossSum loss, model->ForwardBackward(batch, 1.0f));
  EXPECT_EQ(loss.units, 3);
  for (const Parameter& p : model->parameters()) {
    for (int64_t i : {int64_t{0}, p.size / 2, p.size - 1}) {
      float& w = model->weights()[p.offset + i];
      const float old = w, h = 1e-3f;
      w = old + h;
      auto up = model->Evaluate(batch);
      w = old - h;
      auto down = model->Evaluate(batch);
      w = old;
      const double g = (up->loss - down->loss) / (2 * h);
      EXPECT_NEAR(g, model->gradients()[p.offset + i], 2e-3 + 0.01 * std::fabs(g)) << p.name << " " << i;
    }
  }
}

}  // namespace
}  // namespace ringmaster::trainer
