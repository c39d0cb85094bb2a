#include "trainer/models/reference_model.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <random>

namespace ringmaster::trainer {
namespace {

using Matrix = std::vector<double>;  // row-major

// x (rows, inputs) times w (outputs, inputs) transposed, plus bias where there is one.
Matrix Apply(const Matrix& x, const Matrix& w, const Matrix& bias, int64_t inputs) {
  const int64_t rows = static_cast<int64_t>(x.size()) / inputs;
  const int64_t outputs = static_cast<int64_t>(w.size()) / inputs;
  Matrix y(rows * outputs);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t o = 0; o < outputs; ++o) {
      double sum = bias.empty() ? 0.0 : bias[o];
      for (int64_t i = 0; i < inputs; ++i) sum += x[r * inputs + i] * w[o * inputs + i];
      y[r * outputs + o] = sum;
    }
  }
  return y;
}

Matrix Linear(const ReferenceWeights& weights, const std::string& name, const Matrix& x, int64_t inputs) {
  return Apply(x, weights.at(name + ".weight"), weights.at(name + ".bias"), inputs);
}

Matrix Normalise(const ReferenceWeights& weights, const std::string& name, const Matrix& x) {
  const Matrix& scale = weights.at(name + ".weight");
  const Matrix& shift = weights.at(name + ".bias");
  const size_t channels = scale.size();
  Matrix y(x.size());
  for (size_t row = 0; row < x.size(); row += channels) {
    double mean = 0;
    double variance = 0;
    for (size_t c = 0; c < channels; ++c) mean += x[row + c] / channels;
    for (size_t c = 0; c < channels; ++c) variance += (x[row + c] - mean) * (x[row + c] - mean) / channels;
    for (size_t c = 0; c < channels; ++c) y[row + c] = (x[row + c] - mean) / std::sqrt(variance + 1e-5) * scale[c] + shift[c];
  }
  return y;
}

void Add(const Matrix& from, Matrix& to) {
  for (size_t i = 0; i < to.size(); ++i) to[i] += from[i];
}

Matrix Attend(const Matrix& qkv, const GptConfig& config, int64_t samples) {
  const int64_t size = config.channels / config.heads;
  const int64_t stride = 3 * config.channels;
  Matrix y(samples * config.context * config.channels);
  for (int64_t head = 0; head < samples * config.heads; ++head) {
    const int64_t first = head / config.heads * config.context;
    const int64_t column = head % config.heads * size;
    for (int64_t i = 0; i < config.context; ++i) {
      Matrix p(i + 1);
      double total = 0;
      for (int64_t j = 0; j <= i; ++j) {
        double score = 0;
        for (int64_t d = 0; d < size; ++d) {
          score += qkv[(first + i) * stride + column + d] * qkv[(first + j) * stride + config.channels + column + d];
        }
        p[j] = std::exp(score / std::sqrt(static_cast<double>(size)));
        total += p[j];
      }
      for (int64_t j = 0; j <= i; ++j) {
        for (int64_t d = 0; d < size; ++d) {
          y[(first + i) * config.channels + column + d] +=
              p[j] / total * qkv[(first + j) * stride + 2 * config.channels + column + d];
        }
      }
    }
  }
  return y;
}

Matrix Logits(const GptConfig& config, const SampleShape&, const ReferenceWeights& weights, const Batch& batch) {
  const int64_t channels = config.channels;
  Matrix x(batch.samples * config.context * channels);
  for (int64_t r = 0; r < batch.samples * config.context; ++r) {
    for (int64_t c = 0; c < channels; ++c) {
      x[r * channels + c] =
          weights.at("wte.weight")[batch.tokens[r] * channels + c] + weights.at("wpe.weight")[r % config.context * channels + c];
    }
  }
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const std::string name = "h." + std::to_string(layer);
    const Matrix qkv = Linear(weights, name + ".attn.qkv", Normalise(weights, name + ".ln_1", x), channels);
    Add(Linear(weights, name + ".attn.proj", Attend(qkv, config, batch.samples), channels), x);
    Matrix hidden = Linear(weights, name + ".mlp.fc", Normalise(weights, name + ".ln_2", x), channels);
    for (double& h : hidden) h = 0.5 * h * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (h + 0.044715 * h * h * h)));
    Add(Linear(weights, name + ".mlp.proj", hidden, 4 * channels), x);
  }
  return Apply(Normalise(weights, "ln_f", x), weights.at("wte.weight"), {}, channels);
}

void Relu(Matrix& x) {
  for (double& value : x) value = std::max(value, 0.0);
}

Matrix Logits(const MlpConfig& config, const SampleShape& shape, const ReferenceWeights& weights, const Batch& batch) {
  int64_t inputs = shape.height * shape.width;
  Matrix x(batch.pixels.begin(), batch.pixels.begin() + batch.samples * inputs);
  for (size_t i = 0; i < config.hidden.size(); ++i) {
    x = Linear(weights, "hidden." + std::to_string(i), x, inputs);
    Relu(x);
    inputs = config.hidden[i];
  }
  return Linear(weights, "classifier", x, inputs);
}

struct Image {
  int64_t channels;
  int64_t height;
  int64_t width;
  int64_t At(int64_t sample, int64_t c, int64_t y, int64_t x) const { return ((sample * channels + c) * height + y) * width + x; }
};

Matrix Convolve(const Matrix& in, const Image& from, const Image& to, const Matrix& w, const Matrix& bias, int64_t samples) {
  Matrix out(samples * to.channels * to.height * to.width);
  for (int64_t n = 0; n < samples; ++n) {
    for (int64_t o = 0; o < to.channels; ++o) {
      for (int64_t y = 0; y < to.height; ++y) {
        for (int64_t x = 0; x < to.width; ++x) {
          double sum = bias[o];
          for (int64_t c = 0; c < from.channels; ++c) {
            for (int64_t tap = 0; tap < 9; ++tap) {
              const int64_t source_y = y + tap / 3 - 1;
              const int64_t source_x = x + tap % 3 - 1;
              if (source_y < 0 || source_y >= from.height || source_x < 0 || source_x >= from.width) continue;
              sum += in[from.At(n, c, source_y, source_x)] * w[(o * from.channels + c) * 9 + tap];
            }
          }
          out[to.At(n, o, y, x)] = sum;
        }
      }
    }
  }
  return out;
}

Matrix Pool(const Matrix& in, const Image& from, const Image& to, int64_t samples) {
  Matrix out(samples * to.channels * to.height * to.width);
  for (int64_t n = 0; n < samples; ++n) {
    for (int64_t c = 0; c < to.channels; ++c) {
      for (int64_t y = 0; y < to.height; ++y) {
        for (int64_t x = 0; x < to.width; ++x) {
          out[to.At(n, c, y, x)] = std::max(std::max(in[from.At(n, c, 2 * y, 2 * x)], in[from.At(n, c, 2 * y, 2 * x + 1)]),
                                            std::max(in[from.At(n, c, 2 * y + 1, 2 * x)], in[from.At(n, c, 2 * y + 1, 2 * x + 1)]));
        }
      }
    }
  }
  return out;
}

Matrix Logits(const CnnConfig& config, const SampleShape& shape, const ReferenceWeights& weights, const Batch& batch) {
  Image image = {1, shape.height, shape.width};
  Matrix x(batch.pixels.begin(), batch.pixels.begin() + batch.samples * shape.height * shape.width);
  for (size_t i = 0; i < config.channels.size(); ++i) {
    const std::string name = "conv." + std::to_string(i);
    const Image convolved = {config.channels[i], image.height, image.width};
    const Image pooled = {config.channels[i], image.height / 2, image.width / 2};
    x = Convolve(x, image, convolved, weights.at(name + ".weight"), weights.at(name + ".bias"), batch.samples);
    Relu(x);
    x = Pool(x, convolved, pooled, batch.samples);
    image = pooled;
  }
  x = Linear(weights, "hidden.0", x, image.channels * image.height * image.width);
  Relu(x);
  return Linear(weights, "classifier", x, config.hidden);
}

}  // namespace

ReferenceWeights CopyWeights(const Model& model) {
  ReferenceWeights weights;
  for (const Parameter& parameter : model.parameters()) {
    const auto values = model.weights().subspan(parameter.offset, parameter.size);
    weights[parameter.name] = Matrix(values.begin(), values.end());
  }
  return weights;
}

ReferenceResult ReferenceLoss(const ModelConfig& config, const SampleShape& shape, const ReferenceWeights& weights,
                              const Batch& batch) {
  ReferenceResult result;
  result.logits = std::visit([&](const auto& kind) { return Logits(kind, shape, weights, batch); }, config);
  const int64_t classes = shape.vocabulary > 0 ? shape.vocabulary : shape.classes;
  for (size_t row = 0; row * classes < result.logits.size(); ++row) {
    double total = 0;
    for (int64_t c = 0; c < classes; ++c) total += std::exp(result.logits[row * classes + c]);
    result.loss += std::log(total) - result.logits[row * classes + batch.targets[row]];
  }
  return result;
}

std::vector<double> ReferenceGradient(const ModelConfig& config, const SampleShape& shape, ReferenceWeights weights,
                                      const Batch& batch, const std::string& name, const std::vector<int64_t>& elements) {
  constexpr double kStep = 1e-5;
  std::vector<double> gradient;
  for (const int64_t element : elements) {
    double& weight = weights.at(name)[element];
    const double original = weight;
    weight = original + kStep;
    const double above = ReferenceLoss(config, shape, weights, batch).loss;
    weight = original - kStep;
    const double below = ReferenceLoss(config, shape, weights, batch).loss;
    weight = original;
    gradient.push_back((above - below) / (2 * kStep));
  }
  return gradient;
}

Batch ExampleBatch(const SampleShape& shape, int64_t samples, uint64_t seed) {
  std::mt19937_64 random(seed);
  Batch batch;
  batch.samples = samples;
  for (int64_t i = 0; i < samples * shape.context; ++i) {
    batch.tokens.push_back(static_cast<int32_t>(random() % shape.vocabulary));
    batch.targets.push_back(static_cast<int32_t>(random() % shape.vocabulary));
  }
  for (int64_t i = 0; i < samples * shape.height * shape.width; ++i) batch.pixels.push_back((random() % 256) / 255.0f);
  for (int64_t i = 0; shape.classes > 0 && i < samples; ++i)
    batch.targets.push_back(static_cast<int32_t>(random() % shape.classes));
  return batch;
}

}  // namespace ringmaster::trainer
