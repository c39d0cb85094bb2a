#include "trainer/checkpoint/shard_writer.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/crc32c.h"
#include "common/status_macros.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/safetensors.h"

namespace ringmaster::trainer {
namespace {

// A file that comes in pieces, on its way to the disk: checksums of its chunks and of each piece, in one pass.
class ChecksummedFile {
 public:
  explicit ChecksummedFile(OutputFile& file) : file_(file) {}

  // Returns the checksum of `bytes`.
  absl::StatusOr<uint32_t> Append(std::span<const std::byte> bytes) {
    uint32_t whole = 0;
    while (!bytes.empty()) {
      const int64_t take = std::min<int64_t>(static_cast<int64_t>(bytes.size()), kCheckpointChunkBytes - filled_);
      const std::span<const std::byte> part = bytes.first(static_cast<size_t>(take));
      const uint32_t crc = Crc32c(part.data(), part.size());
      RM_RETURN_IF_ERROR(file_.Append(part));
      whole = CombineCrc32c(whole, crc, take);
      crc_ = CombineCrc32c(crc_, crc, take);
      filled_ += take;
      if (filled_ == kCheckpointChunkBytes) CloseChunk();
      bytes = bytes.subspan(static_cast<size_t>(take));
    }
    return whole;
  }

  void Finish(v1::ManifestShard& shard) {
    if (filled_ > 0) CloseChunk();
    shard.set_bytes(total_);
    shard.set_crc32c(file_crc_);
    shard.set_chunk_bytes(kCheckpointChunkBytes);
    shard.mutable_chunk_crc32c()->Assign(chunks_.begin(), chunks_.end());
  }

 private:
  void CloseChunk() {
    chunks_.push_back(crc_);
    file_crc_ = CombineCrc32c(file_crc_, crc_, filled_);
    total_ += filled_;
    crc_ = 0;
    filled_ = 0;
  }

  OutputFile& file_;
  std::vector<uint32_t> chunks_;
  uint32_t crc_ = 0;
  uint32_t file_crc_ = 0;
  int64_t filled_ = 0;
  int64_t total_ = 0;
};

}  // namespace

absl::StatusOr<v1::ManifestShard> WriteShard(CheckpointFiles& files, const std::string& directory, const std::string& file_name,
                                             const std::vector<TensorPiece>& pieces) {
  v1::ManifestShard shard;
  shard.set_file(file_name);
  std::vector<StoredTensor> stored;
  int64_t bytes = 0;
  for (const TensorPiece& piece : pieces) {
    const int64_t size = piece.size();
    const int64_t begin = std::exchange(bytes, bytes + size * int64_t{sizeof(float)});
    const bool is_whole = size == ElementsOf(piece.shape);
    stored.push_back({.name = is_whole ? piece.name : absl::StrCat(piece.name, "[", piece.begin, ":", piece.end, "]"),
                      .shape = is_whole ? piece.shape : std::vector<int64_t>{size},
                      .begin = begin,
                      .end = bytes});
  }
  const std::string prefix = SafetensorsPrefix(stored);
  RM_ASSIGN_OR_RETURN(const std::unique_ptr<OutputFile> output, files.Create(absl::StrCat(directory, "/", file_name)));
  ChecksummedFile file(*output);
  RM_RETURN_IF_ERROR(file.Append(std::as_bytes(std::span(prefix))).status());
  for (size_t i = 0; i < pieces.size(); ++i) {
    const TensorPiece& piece = pieces[i];
    RM_ASSIGN_OR_RETURN(const uint32_t crc, file.Append(std::as_bytes(std::span(piece.values, static_cast<size_t>(piece.size())))));
    v1::TensorSlice& slice = *shard.add_slices();
    slice.set_name(piece.name);
    slice.mutable_shape()->Assign(piece.shape.begin(), piece.shape.end());
    slice.set_begin(piece.begin);
    slice.set_end(piece.end);
    slice.set_crc32c(crc);
    slice.set_file_offset(static_cast<int64_t>(prefix.size()) + stored[i].begin);
  }
  RM_RETURN_IF_ERROR(output->SyncAndClose());
  file.Finish(shard);
  return shard;
}

}  // namespace ringmaster::trainer
