#include "trainer/checkpoint/safetensors.h"

#include <algorithm>
#include <limits>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "nlohmann/json.hpp"

namespace ringmaster::trainer {
namespace {

using nlohmann::json;

absl::Status Bad(const std::string& what) { return absl::InvalidArgumentError(absl::StrCat("safetensors header: ", what)); }

int64_t BytesPerElement(const std::string& dtype) {
  static constexpr std::pair<std::string_view, int64_t> kTypes[] = {{"F32", 4}, {"F64", 8}, {"F16", 2}, {"BF16", 2}, {"I8", 1},
                                                                    {"U8", 1},  {"I16", 2}, {"U16", 2}, {"I32", 4},  {"U32", 4},
                                                                    {"I64", 8}, {"U64", 8}, {"BOOL", 1}};
  for (const auto& [name, bytes] : kTypes) {
    if (name == dtype) return bytes;
  }
  return 0;
}

// JSON that repeats a key has no one meaning; the library would keep the last silently.
absl::StatusOr<json> ParseStrictly(std::string_view text) {
  std::vector<std::set<std::string>> keys;
  std::string duplicate;
  const json::parser_callback_t watch = [&](int, json::parse_event_t event, json& value) {
    if (event == json::parse_event_t::object_start) keys.emplace_back();
    if (event == json::parse_event_t::object_end) keys.pop_back();
    if (event == json::parse_event_t::key && !keys.back().insert(value.get<std::string>()).second) {
      duplicate = value.get<std::string>();
    }
    return true;
  };
  json parsed = json::parse(text.begin(), text.end(), watch, /*allow_exceptions=*/false);
  if (parsed.is_discarded()) return Bad("found no valid JSON");
  if (!duplicate.empty()) return Bad(absl::StrCat("found \"", duplicate, "\" twice"));
  if (!parsed.is_object()) return Bad("found no JSON object");
  return parsed;
}

absl::StatusOr<std::vector<int64_t>> Integers(const json& object, const char* key, const std::string& tensor) {
  const auto it = object.find(key);
  if (it == object.end() || !it->is_array()) return Bad(absl::StrCat("tensor ", tensor, " has no list \"", key, "\""));
  std::vector<int64_t> values;
  for (const json& value : *it) {
    if (!value.is_number_unsigned() || value.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return Bad(absl::StrCat("tensor ", tensor, ": \"", key, "\" has ", value.dump(), ", expected a non-negative integer"));
    }
    values.push_back(value.get<int64_t>());
  }
  return values;
}

absl::StatusOr<StoredTensor> ParseTensor(const std::string& name, const json& object) {
  if (!object.is_object() || object.size() != 3 || !object.contains("dtype") || !object["dtype"].is_string()) {
    return Bad(absl::StrCat("tensor ", name, ": expected an object of dtype, shape and data_offsets"));
  }
  StoredTensor tensor{.name = name, .dtype = object["dtype"].get<std::string>(), .shape = {}};
  RM_ASSIGN_OR_RETURN(tensor.shape, Integers(object, "shape", name));
  RM_ASSIGN_OR_RETURN(const std::vector<int64_t> offsets, Integers(object, "data_offsets", name));
  if (offsets.size() != 2) return Bad(absl::StrCat("tensor ", name, ": found ", offsets.size(), " data_offsets, expected 2"));
  tensor.begin = offsets[0];
  tensor.end = offsets[1];
  int64_t bytes = BytesPerElement(tensor.dtype);
  if (bytes == 0) return Bad(absl::StrCat("tensor ", name, ": found dtype ", tensor.dtype));
  for (const int64_t size : tensor.shape) {
    if (__builtin_mul_overflow(bytes, size, &bytes)) return Bad(absl::StrCat("tensor ", name, ": its shape overflows"));
  }
  if (tensor.end < tensor.begin || tensor.end - tensor.begin != bytes) {
    return Bad(
        absl::StrCat("tensor ", name, ": found data_offsets ", tensor.begin, "..", tensor.end, ", expected ", bytes, " bytes"));
  }
  return tensor;
}

}  // namespace

std::string SafetensorsPrefix(const std::vector<StoredTensor>& tensors) {
  auto header = nlohmann::ordered_json::object();
  for (const StoredTensor& tensor : tensors) {
    header[tensor.name] = {{"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {tensor.begin, tensor.end}}};
  }
  std::string text = header.dump();
  const size_t used = 8 + text.size();
  text.append((kSafetensorsAlignment - used % kSafetensorsAlignment) % kSafetensorsAlignment, ' ');
  std::string prefix;
  for (int shift = 0; shift < 64; shift += 8) prefix.push_back(static_cast<char>(static_cast<uint64_t>(text.size()) >> shift));
  return prefix + text;
}

absl::StatusOr<int64_t> SafetensorsHeaderBytes(std::string_view first8, int64_t file_bytes) {
  if (first8.size() < 8) return Bad(absl::StrCat("found a file of ", first8.size(), " bytes, expected at least 8"));
  uint64_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | static_cast<uint8_t>(first8[static_cast<size_t>(i)]);
  if (length > static_cast<uint64_t>(kSafetensorsMaxHeaderBytes) || static_cast<int64_t>(length) > file_bytes - 8) {
    return Bad(absl::StrCat("found a length of ", length, " in a file of ", file_bytes, " bytes, expected at most ",
                            kSafetensorsMaxHeaderBytes, " and inside the file"));
  }
  return static_cast<int64_t>(length);
}

absl::StatusOr<std::vector<StoredTensor>> ParseSafetensorsHeader(std::string_view text, int64_t data_bytes) {
  RM_ASSIGN_OR_RETURN(const json header, ParseStrictly(text));
  std::vector<StoredTensor> tensors;
  for (const auto& [name, object] : header.items()) {
    if (name == "__metadata__") continue;
    RM_ASSIGN_OR_RETURN(tensors.emplace_back(), ParseTensor(name, object));
  }
  std::sort(tensors.begin(), tensors.end(),
            [](const StoredTensor& a, const StoredTensor& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
  int64_t next = 0;
  for (const StoredTensor& tensor : tensors) {
    if (tensor.begin != next) {
      return Bad(absl::StrCat("tensor ", tensor.name, " begins at ", tensor.begin, ", expected ", next,
                              tensor.begin < next ? " (overlap)" : " (hole)"));
    }
    next = tensor.end;
  }
  if (next != data_bytes) return Bad(absl::StrCat("tensors end at ", next, ", expected ", data_bytes, ", the end of the file"));
  return tensors;
}

}  // namespace ringmaster::trainer
