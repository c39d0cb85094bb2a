#include "trainer/checkpoint/safetensors.h"

#include <string>
#include <vector>

#include "common/status_matchers.h"
#include "gtest/gtest.h"

namespace ringmaster::trainer {
namespace {

using ::ringmaster::testing::StatusIs;
using ::testing::HasSubstr;

TEST(Safetensors, Prefix_IsTheseBytes) {
  const std::string prefix = SafetensorsPrefix(
      {{.name = "b", .shape = {2, 3}, .begin = 0, .end = 24}, {.name = "a[0:1]", .shape = {1}, .begin = 24, .end = 28}});
  const std::string json =
      R"({"b":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"a[0:1]":{"dtype":"F32","shape":[1],"data_offsets":[24,28]}})";

  ASSERT_EQ(prefix.size(), 4096u);
  EXPECT_EQ(prefix.substr(0, 8), std::string("\xF8\x0F\0\0\0\0\0\0", 8));  // 4088
  EXPECT_EQ(prefix.substr(8, json.size()), json);
  EXPECT_EQ(prefix.substr(8 + json.size()), std::string(4088 - json.size(), ' '));
}

TEST(Safetensors, WrittenPrefix_ReadsBack) {
  std::vector<StoredTensor> tensors;
  for (int i = 0; i < 200; ++i) {
    tensors.push_back(
        {.name = "t" + std::to_string(200 - i), .shape = {i % 3, 4}, .begin = tensors.empty() ? 0 : tensors.back().end, .end = 0});
    tensors.back().end = tensors.back().begin + 16 * (i % 3);
  }
  const std::string prefix = SafetensorsPrefix(tensors);
  EXPECT_EQ(prefix.size() % 4096, 0u);
  const int64_t data = tensors.back().end;
  ASSERT_OK_AND_ASSIGN(const int64_t header,
                       SafetensorsHeaderBytes(prefix.substr(0, 8), static_cast<int64_t>(prefix.size()) + data));
  ASSERT_EQ(static_cast<size_t>(header) + 8, prefix.size());

  ASSERT_OK_AND_ASSIGN(const auto parsed, ParseSafetensorsHeader(prefix.substr(8), data));

  ASSERT_EQ(parsed.size(), tensors.size());
  int64_t elements = 0;
  for (const StoredTensor& tensor : parsed) elements += (tensor.end - tensor.begin) / 4;
  EXPECT_EQ(elements * 4, data);
}

TEST(Safetensors, Metadata_IsAllowed) {
  EXPECT_OK(ParseSafetensorsHeader(R"({"__metadata__":{"format":"pt"},"a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}})", 4));
}

TEST(Safetensors, ImpossibleLength_IsRefused) {
  EXPECT_THAT(SafetensorsHeaderBytes("abc", 3), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("3 bytes")));
  EXPECT_THAT(SafetensorsHeaderBytes(std::string(8, '\xff'), 4096),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("length")));
  const std::string over_100_mb("\x01\xE1\xF5\x05\0\0\0\0", 8);
  EXPECT_THAT(SafetensorsHeaderBytes(over_100_mb, int64_t{1} << 40),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("100000001")));
  EXPECT_THAT(SafetensorsHeaderBytes(std::string("\x59\0\0\0\0\0\0\0", 8), 96),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("89")));
}

TEST(Safetensors, BadHeaders_AreRefused) {
  const struct {
    std::string json;
    std::string says;
  } cases[] = {
      {"", "no valid JSON"},
      {"{", "no valid JSON"},
      {"[]", "no JSON object"},
      {R"({"a":1})", "expected an object"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", "twice"},
      {R"({"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}})", "twice"},
      {R"({"a":{"dtype":"F99","shape":[2],"data_offsets":[0,8]}})", "dtype F99"},
      {R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", "-2"},
      {R"({"a":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}})", "2.0"},
      {R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", "expected 12 bytes"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", "expected 8 bytes"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,8]}})", "3 data_offsets"},
      {R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}})", "overflows"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", "hole"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", "overlap"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", "expected 8, the end"},
      {R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}})", "expected 8, the end"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"more":1}})", "expected an object"},
  };
  for (const auto& bad : cases) {
    EXPECT_THAT(ParseSafetensorsHeader(bad.json, 8), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(bad.says))) << bad.json;
  }
}

}  // namespace
}  // namespace ringmaster::trainer
