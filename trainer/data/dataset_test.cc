#include "trainer/data/dataset.h"

#include <cstdint>
#include <cstring>
#include <fstream>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "common/status_matchers.h"
#include "gtest/gtest.h"
#include "trainer/data/idx.h"
#include "trainer/data/synthetic_digits.h"

namespace ringmaster::trainer {
namespace {

using ::ringmaster::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

std::string Write(const std::string& name, const std::string& content) {
  const std::string path = ::testing::TempDir() + "/" + name;
  std::ofstream(path, std::ios::binary) << content;
  return path;
}

std::string Read(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string TokenShard(const std::vector<uint16_t>& tokens, int32_t count, int32_t magic = 20240520, int32_t version = 1) {
  std::vector<int32_t> header(256, 0);
  header[0] = magic;
  header[1] = version;
  header[2] = count;
  std::string bytes(reinterpret_cast<const char*>(header.data()), 1024);
  bytes.append(reinterpret_cast<const char*>(tokens.data()), 2 * tokens.size());
  return bytes;
}

std::vector<uint16_t> Ramp(int n) {
  std::vector<uint16_t> tokens(static_cast<size_t>(n));
  std::iota(tokens.begin(), tokens.end(), 0);
  return tokens;
}

v1::Data Text(const std::vector<std::string>& files, double fraction = 0) {
  v1::Data data;
  for (const auto& file : files) data.mutable_text()->add_files(file);
  data.mutable_text()->set_validation_fraction(fraction);
  return data;
}

v1::Data Tokens(const std::string& training, const std::string& validation, int vocabulary) {
  v1::Data data;
  data.mutable_tokens()->add_train_files(training);
  data.mutable_tokens()->add_validation_files(validation);
  data.mutable_tokens()->set_vocabulary(vocabulary);
  return data;
}

TEST(TextData, SeveralFiles_AreOneStreamWithValidationLast) {
  const v1::Data data = Text({Write("a.txt", "abcdefgh"), Write("b.txt", "ijklmnopqrst")}, 0.3);  // 20 bytes: 14 + 6

  ASSERT_OK_AND_ASSIGN(const auto dataset, OpenDataset(data, 4));

  EXPECT_EQ(dataset->shape().vocabulary, 256);
  EXPECT_EQ(dataset->shape().context, 4);
  EXPECT_EQ(dataset->training_samples(), 14 - 4);
  Batch batch = MakeBatch(dataset->shape(), 2);
  dataset->ReadTraining(6, 1, batch);  // crosses the border of the files
  EXPECT_EQ(std::vector<int32_t>(batch.tokens.begin() + 4, batch.tokens.end()), (std::vector<int32_t>{'g', 'h', 'i', 'j'}));
  EXPECT_EQ(std::vector<int32_t>(batch.targets.begin() + 4, batch.targets.end()), (std::vector<int32_t>{'h', 'i', 'j', 'k'}));
  dataset->ReadTraining(9, 0, batch);  // the last training window's last target is the last training byte
  EXPECT_EQ(batch.targets[3], 'n');
  EXPECT_EQ(dataset->validation_samples(), 1);
  dataset->ReadValidation(0, 0, batch);
  EXPECT_EQ(batch.tokens[0], 'o');
  EXPECT_EQ(batch.targets[3], 's');
}

TEST(TextData, ValidationWindows_DoNotOverlap) {
  std::string text(100, 'x');
  for (size_t i = 50; i < 100; ++i) text[i] = static_cast<char>(i);
  ASSERT_OK_AND_ASSIGN(const auto dataset, OpenDataset(Text({Write("windows.txt", text)}, 0.5), 7));

  ASSERT_EQ(dataset->validation_samples(), 7);  // 49 targets
  Batch batch = MakeBatch(dataset->shape(), 1);
  for (int64_t id = 0; id < 7; ++id) {
    dataset->ReadValidation(id, 0, batch);
    EXPECT_EQ(batch.tokens[0], 50 + 7 * id);
    EXPECT_EQ(batch.targets[6], 50 + 7 * id + 7);
  }
}

TEST(TokenData, WindowsStayInsideTheirShard) {
  v1::Data data = Tokens(Write("t0.bin", TokenShard(Ramp(10), 10)), Write("v0.bin", TokenShard(Ramp(9), 9)), 50257);
  data.mutable_tokens()->add_train_files(Write("t1.bin", TokenShard({100, 101, 102, 103, 104, 105}, 6)));

  ASSERT_OK_AND_ASSIGN(const auto dataset, OpenDataset(data, 4));

  ASSERT_EQ(dataset->training_samples(), 6 + 2);
  EXPECT_EQ(dataset->validation_samples(), 2);
  Batch batch = MakeBatch(dataset->shape(), 1);
  dataset->ReadTraining(5, 0, batch);
  EXPECT_EQ(batch.targets, (std::vector<int32_t>{6, 7, 8, 9}));
  dataset->ReadTraining(6, 0, batch);
  EXPECT_EQ(batch.tokens, (std::vector<int32_t>{100, 101, 102, 103}));
  dataset->ReadTraining(7, 0, batch);
  EXPECT_EQ(batch.targets, (std::vector<int32_t>{102, 103, 104, 105}));
}

v1::Data Idx(const std::string& images, const std::string& labels) {
  v1::Data data;
  data.mutable_idx()->set_train_images(images);
  data.mutable_idx()->set_train_labels(labels);
  data.mutable_idx()->set_validation_images(images);
  data.mutable_idx()->set_validation_labels(labels);
  return data;
}

TEST(Idx, WrittenDigits_AreTheDrawnOnes) {
  const std::string images = ::testing::TempDir() + "/round-images";
  const std::string labels = ::testing::TempDir() + "/round-labels";
  ASSERT_OK(WriteIdx(DrawSyntheticDigits(3, DigitSet::kTraining, 20), images, labels));
  v1::Data drawn;
  drawn.mutable_synthetic_digits()->set_train(20);
  drawn.mutable_synthetic_digits()->set_validation(5);
  drawn.mutable_synthetic_digits()->set_seed(3);

  ASSERT_OK_AND_ASSIGN(const auto from_file, OpenDataset(Idx(images, labels), 0));
  ASSERT_OK_AND_ASSIGN(const auto from_seed, OpenDataset(drawn, 0));

  EXPECT_EQ(Read(images).substr(0, 16), std::string("\0\0\x08\x03\0\0\0\x14\0\0\0\x1c\0\0\0\x1c", 16));
  EXPECT_EQ(Read(labels).substr(0, 8), std::string("\0\0\x08\x01\0\0\0\x14", 8));
  EXPECT_EQ(from_seed->shape().height, 28);
  EXPECT_EQ(from_seed->shape().classes, 10);
  EXPECT_EQ(from_seed->validation_samples(), 5);
  Batch a = MakeBatch(from_file->shape(), 1);
  Batch b = MakeBatch(from_seed->shape(), 1);
  for (int64_t id = 0; id < 20; ++id) {
    from_file->ReadTraining(id, 0, a);
    from_seed->ReadTraining(id, 0, b);
    EXPECT_EQ(a.pixels, b.pixels);
    EXPECT_EQ(a.targets, b.targets);
    EXPECT_GE(*std::max_element(a.pixels.begin(), a.pixels.end()), 0.5f);
    EXPECT_LE(*std::max_element(a.pixels.begin(), a.pixels.end()), 1.0f);
  }
}

TEST(SyntheticDigits, SetsAndSeeds_DifferAndPrefixesAgree) {
  const LabelledImages training = DrawSyntheticDigits(1, DigitSet::kTraining, 200);
  const LabelledImages shorter = DrawSyntheticDigits(1, DigitSet::kTraining, 100);
  EXPECT_TRUE(std::equal(shorter.pixels.begin(), shorter.pixels.end(), training.pixels.begin()));
  EXPECT_NE(training.pixels, DrawSyntheticDigits(1, DigitSet::kValidation, 200).pixels);
  EXPECT_NE(training.pixels, DrawSyntheticDigits(2, DigitSet::kTraining, 200).pixels);
  std::vector<int> counts(10, 0);
  for (const uint8_t label : training.labels) ++counts.at(label);
  for (const int count : counts) EXPECT_GT(count, 5);
}

struct BadInput {
  std::string name;
  std::function<v1::Data()> data;
  absl::StatusCode code;
  std::vector<std::string> says;
};

TEST(OpenDataset, BadInput_NamesFileFoundAndExpected) {
  const std::string text = Write("good.txt", std::string(1000, 'a'));
  const std::string shard = Write("good.bin", TokenShard(Ramp(100), 100));
  const std::string images = ::testing::TempDir() + "/good-images";
  const std::string labels = ::testing::TempDir() + "/good-labels";
  ASSERT_OK(WriteIdx(DrawSyntheticDigits(1, DigitSet::kTraining, 10), images, labels));
  const std::string image_bytes = Read(images);
  const auto invalid = absl::StatusCode::kInvalidArgument;
  const std::vector<BadInput> cases = {
      {"no source", [] { return v1::Data(); }, invalid, {"found no source", "synthetic_digits"}},
      {"no files", [] { return Text({}); }, invalid, {"data.text.files", "found none"}},
      {"missing", [] { return Text({"/no/such.txt"}); }, absl::StatusCode::kNotFound, {"/no/such.txt"}},
      {"directory", [] { return Text({::testing::TempDir()}); }, invalid, {"is a directory"}},
      {"empty", [] { return Text({Write("empty.txt", "")}); }, invalid, {"empty.txt", "found an empty file"}},
      {"short",
       [] { return Text({Write("short.txt", "0123456789")}); },
       invalid,
       {"short.txt", "found 1 tokens", "expected at least 9"}},
      {"fraction", [&] { return Text({text}, 1.5); }, invalid, {"validation_fraction", "found 1.5"}},
      {"no vocabulary", [&] { return Tokens(shard, shard, 0); }, invalid, {"vocabulary", "found 0"}},
      {"large token", [&] { return Tokens(shard, shard, 50); }, invalid, {"good.bin", "found token 50 at position 50", "= 50"}},
      {"cut header", [&] { return Tokens(Write("cut.bin", "abc"), shard, 256); }, invalid, {"cut.bin", "found 3 bytes", "1024"}},
      {"magic",
       [&] { return Tokens(Write("magic.bin", TokenShard(Ramp(9), 9, 7)), shard, 256); },
       invalid,
       {"found magic 7", "20240520"}},
      {"version",
       [&] { return Tokens(Write("version.bin", TokenShard(Ramp(9), 9, 20240520, 2)), shard, 256); },
       invalid,
       {"version 2"}},
      {"truncated shard",
       [&] { return Tokens(shard, Write("trunc.bin", TokenShard(Ramp(9), 10)), 256); },
       invalid,
       {"trunc.bin", "found 1042 bytes", "expected 1044"}},
      {"negative count", [&] { return Tokens(Write("negative.bin", TokenShard({}, -5)), shard, 256); }, invalid, {"negative.bin"}},
      {"no idx path", [&] { return Idx("", labels); }, invalid, {"data.idx.train_images"}},
      {"garbage idx", [&] { return Idx(text, labels); }, invalid, {"good.txt", "found magic 0x61616161", "0x00000803"}},
      {"empty idx", [&] { return Idx(Write("empty-images", ""), labels); }, invalid, {"empty-images", "found 0 bytes"}},
      {"truncated idx",
       [&] { return Idx(Write("cut-images", image_bytes.substr(0, 5000)), labels); },
       invalid,
       {"cut-images", "found 4984 bytes", "expected 7840"}},
      {"huge idx",
       [&] { return Idx(Write("huge-images", image_bytes.substr(0, 4) + std::string(12, '\xff')), labels); },
       invalid,
       {"huge-images"}},
      {"swapped idx", [&] { return Idx(labels, images); }, invalid, {"found magic 0x00000801"}},
      {"labels of others",
       [&] { return Idx(images, Write("few-labels", std::string("\0\0\x08\x01\0\0\0\x02\x01\x02", 10))); },
       invalid,
       {"few-labels", "found 2 labels", "expected 10"}},
      {"no digits",
       [] {
         v1::Data d;
         d.mutable_synthetic_digits()->set_validation(5);
         return d;
       },
       invalid,
       {"synthetic_digits.train", "found 0"}},
  };
  for (const BadInput& bad : cases) {
    const auto result = OpenDataset(bad.data(), 8);
    for (const std::string& words : bad.says) EXPECT_THAT(result, StatusIs(bad.code, HasSubstr(words))) << bad.name;
  }
}

}  // namespace
}  // namespace ringmaster::trainer
