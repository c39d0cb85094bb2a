#include "trainer/checkpoint/shard_writer.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/check.h"
#include "common/crc32c.h"
#include "common/status_macros.h"
#include "trainer/checkpoint/crc32c_combine.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/safetensors.h"

namespace ringmaster::trainer {
namespace {

// Checksums of the chunks of a file that comes in pieces.
class ChunkChecksums {
 public:
  void Add(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const auto take = std::min<int64_t>(static_cast<int64_t>(bytes.size()), kCheckpointChunkBytes - filled_);
      crc_ = ExtendCrc32c(crc_, bytes.data(), static_cast<size_t>(take));
      filled_ += take;
      bytes = bytes.subspan(static_cast<size_t>(take));
      if (filled_ == kCheckpointChunkBytes) Close();
    }
  }

  void Finish(v1::ManifestShard& shard) {
    if (filled_ > 0) Close();
    shard.set_bytes(total_);
    shard.set_crc32c(file_crc_);
    shard.set_chunk_bytes(kCheckpointChunkBytes);
    shard.mutable_chunk_crc32c()->Assign(chunks_.begin(), chunks_.end());
  }

 private:
  void Close() {
    chunks_.push_back(crc_);
    file_crc_ = CombineCrc32c(file_crc_, crc_, filled_);
    total_ += filled_;
    crc_ = 0;
    filled_ = 0;
  }

  std::vector<uint32_t> chunks_;
  uint32_t crc_ = 0;
  uint32_t file_crc_ = 0;
  int64_t filled_ = 0;
  int64_t total_ = 0;
};

}  // namespace

absl::StatusOr<v1::ManifestShard> WriteShard(CheckpointFiles& files, const std::string& directory, const std::string& file_name,
                                             const std::vector<TensorPiece>& pieces, std::span<const float> values) {
  v1::ManifestShard shard;
  shard.set_file(file_name);
  std::vector<StoredTensor> stored;
  int64_t elements = 0;
  for (const TensorPiece& piece : pieces) {
    const int64_t size = piece.size();
    const bool is_whole = size == ElementsOf(piece.shape);
    stored.push_back({.name = is_whole ? piece.name : absl::StrCat(piece.name, "[", piece.begin, ":", piece.end, "]"),
                      .shape = is_whole ? piece.shape : std::vector<int64_t>{size},
                      .begin = elements * int64_t{sizeof(float)},
                      .end = (elements + size) * int64_t{sizeof(float)}});
    v1::TensorSlice& slice = *shard.add_slices();
    slice.set_name(piece.name);
    slice.mutable_shape()->Assign(piece.shape.begin(), piece.shape.end());
    slice.set_begin(piece.begin);
    slice.set_end(piece.end);
    slice.set_crc32c(Crc32c(values.data() + elements, static_cast<size_t>(size) * sizeof(float)));
    elements += size;
  }
  RM_CHECK(elements == static_cast<int64_t>(values.size())) << elements << " elements in pieces, " << values.size() << " values";
  const std::string prefix = SafetensorsPrefix(stored);
  for (size_t i = 0; i < stored.size(); ++i) {
    shard.mutable_slices(static_cast<int>(i))->set_file_offset(static_cast<int64_t>(prefix.size()) + stored[i].begin);
  }

  ChunkChecksums checksums;
  RM_ASSIGN_OR_RETURN(const std::unique_ptr<OutputFile> file, files.Create(absl::StrCat(directory, "/", file_name)));
  for (const std::span<const std::byte> piece : {std::as_bytes(std::span(prefix)), std::as_bytes(values)}) {
    checksums.Add(piece);
    RM_RETURN_IF_ERROR(file->Append(piece));
  }
  RM_RETURN_IF_ERROR(file->SyncAndClose());
  checksums.Finish(shard);
  return shard;
}

}  // namespace ringmaster::trainer
