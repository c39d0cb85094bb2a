#include "trainer/checkpoint/manifest.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/crc32c.h"
#include "common/status_macros.h"

namespace ringmaster::trainer {
namespace {

constexpr char kMagic[] = "RMCKPT01";
constexpr size_t kMagicBytes = 8;
constexpr size_t kPrefixBytes = 16;

void AppendLittleEndian(uint64_t value, int bytes, std::string& out) {
  for (int i = 0; i < bytes; ++i) out.push_back(static_cast<char>(value >> (8 * i)));
}

uint32_t ReadLittleEndian32(std::string_view bytes) {
  uint32_t value = 0;
  for (size_t i = 4; i-- > 0;) value = value << 8 | static_cast<uint8_t>(bytes[i]);
  return value;
}

absl::StatusOr<int64_t> ElementCount(const v1::TensorSlice& slice) {
  int64_t size = 1;
  for (const int64_t dimension : slice.shape()) {
    if (dimension < 0 || __builtin_mul_overflow(size, dimension, &size)) {
      return absl::DataLossError(
          absl::StrCat("tensor ", slice.name(), ": shape (", absl::StrJoin(slice.shape(), ", "), ") is impossible"));
    }
  }
  return size;
}

absl::Status CheckShard(const v1::ManifestShard& shard) {
  if (shard.file().empty() || shard.file().find('/') != std::string::npos || shard.file()[0] == '.') {
    return absl::DataLossError(absl::StrCat("shard file name \"", shard.file(), "\" is not one inside the checkpoint"));
  }
  const int64_t chunks = shard.chunk_bytes() <= 0 ? -1 : (shard.bytes() + shard.chunk_bytes() - 1) / shard.chunk_bytes();
  if (shard.bytes() < 0 || chunks != shard.chunk_crc32c_size()) {
    return absl::DataLossError(absl::StrFormat("%s: found %d chunk checksums of %d bytes for a file of %d", shard.file(),
                                               shard.chunk_crc32c_size(), shard.chunk_bytes(), shard.bytes()));
  }
  return absl::OkStatus();
}

absl::Status CheckSlice(const v1::ManifestShard& shard, const v1::TensorSlice& slice, int64_t size) {
  if (slice.begin() < 0 || slice.begin() >= slice.end() || slice.end() > size) {
    return absl::DataLossError(absl::StrCat(shard.file(), ": slice ", slice.begin(), "..", slice.end(), " is outside tensor ",
                                            slice.name(), " of ", size));
  }
  int64_t bytes = 0;
  if (__builtin_mul_overflow(slice.end() - slice.begin(), int64_t{sizeof(float)}, &bytes) || slice.file_offset() < 0 ||
      bytes > shard.bytes() || slice.file_offset() > shard.bytes() - bytes) {
    return absl::DataLossError(absl::StrCat(shard.file(), ": slice of tensor ", slice.name(), " at offset ", slice.file_offset(),
                                            " is outside the file of ", shard.bytes(), " bytes"));
  }
  return absl::OkStatus();
}

}  // namespace

std::string SerializeManifest(const v1::Manifest& manifest) {
  const std::string message = manifest.SerializeAsString();
  std::string bytes(kMagic);
  AppendLittleEndian(message.size(), 4, bytes);
  AppendLittleEndian(Crc32c(message.data(), message.size()), 4, bytes);
  return bytes + message;
}

absl::StatusOr<v1::Manifest> ParseManifest(std::string_view bytes, const std::string& path) {
  if (bytes.size() < kPrefixBytes || bytes.substr(0, kMagicBytes) != kMagic) {
    return absl::DataLossError(absl::StrCat(path, ": found ", bytes.size(), " bytes that do not begin with ", kMagic));
  }
  const uint32_t length = ReadLittleEndian32(bytes.substr(8));
  const uint32_t expected = ReadLittleEndian32(bytes.substr(12));
  const std::string_view message = bytes.substr(kPrefixBytes);
  if (message.size() != length) {
    return absl::DataLossError(absl::StrCat(path, ": found ", message.size(), " bytes after the prefix, expected ", length));
  }
  const uint32_t found = Crc32c(message.data(), message.size());
  if (found != expected) {
    return absl::DataLossError(absl::StrFormat("%s: found CRC32C %08x, expected %08x", path, found, expected));
  }
  v1::Manifest manifest;
  if (!manifest.ParseFromArray(message.data(), static_cast<int>(message.size()))) {
    return absl::DataLossError(absl::StrCat(path, ": the message does not parse"));
  }
  if (manifest.format_version() != kManifestFormatVersion) {
    return absl::FailedPreconditionError(absl::StrCat(path, ": found format version ", manifest.format_version(), ", expected ",
                                                      kManifestFormatVersion, " (written by ", manifest.software_version(), ")"));
  }
  return manifest;
}

absl::StatusOr<std::map<std::string, GlobalTensorInfo>> CollectTensors(const v1::Manifest& manifest) {
  std::map<std::string, std::vector<const v1::TensorSlice*>> slices;
  std::map<std::string, GlobalTensorInfo> tensors;
  for (const v1::ManifestShard& shard : manifest.shards()) {
    RM_RETURN_IF_ERROR(CheckShard(shard));
    for (const v1::TensorSlice& slice : shard.slices()) {
      RM_ASSIGN_OR_RETURN(const int64_t size, ElementCount(slice));
      RM_RETURN_IF_ERROR(CheckSlice(shard, slice, size));
      const std::vector<int64_t> shape(slice.shape().begin(), slice.shape().end());
      const auto [it, is_new] = tensors.try_emplace(slice.name(), GlobalTensorInfo{shape, size, 0});
      if (!is_new && it->second.shape != shape) {
        return absl::DataLossError(
            absl::StrCat(shard.file(), ": tensor ", slice.name(), " has another shape than in another shard"));
      }
      slices[slice.name()].push_back(&slice);
    }
  }
  for (auto& [name, parts] : slices) {
    GlobalTensorInfo& tensor = tensors[name];
    std::sort(parts.begin(), parts.end(), [](const auto* a, const auto* b) { return a->begin() < b->begin(); });
    int64_t next = 0;
    for (const v1::TensorSlice* part : parts) {
      if (part->begin() != next) {
        return absl::DataLossError(absl::StrCat("tensor ", name, ": elements ", std::min(next, part->begin()), "..",
                                                std::max(next, part->begin()), " are stored ",
                                                part->begin() < next ? "twice" : "nowhere"));
      }
      tensor.crc32c = CombineCrc32c(tensor.crc32c, part->crc32c(), (part->end() - part->begin()) * int64_t{sizeof(float)});
      next = part->end();
    }
    if (next != tensor.size) {
      return absl::DataLossError(absl::StrCat("tensor ", name, ": elements ", next, "..", tensor.size, " are stored nowhere"));
    }
  }
  return tensors;
}

std::string Digest(const std::map<std::string, GlobalTensorInfo>& tensors) {
  std::string records;
  for (const auto& [name, tensor] : tensors) {
    records += name;
    records.push_back('\0');
    AppendLittleEndian(tensor.shape.size(), 4, records);
    for (const int64_t dimension : tensor.shape) AppendLittleEndian(static_cast<uint64_t>(dimension), 8, records);
    AppendLittleEndian(tensor.crc32c, 4, records);
  }
  uint64_t hash = 0xCBF29CE484222325;  // FNV-1a, 64 bits
  for (const char c : records) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001B3;
  return absl::StrFormat("%016x", hash);
}

int64_t TotalBytes(const v1::Manifest& manifest) {
  int64_t bytes = 0;
  for (const v1::ManifestShard& shard : manifest.shards()) bytes += shard.bytes();
  return bytes;
}

}  // namespace ringmaster::trainer
