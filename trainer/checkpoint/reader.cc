#include "trainer/checkpoint/reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/crc32c.h"
#include "common/status_macros.h"
#include "trainer/checkpoint/layout.h"
#include "trainer/checkpoint/safetensors.h"

namespace ringmaster::trainer {
namespace {

constexpr int64_t kMaxManifestBytes = int64_t{1} << 30;

absl::StatusOr<FileDescriptor> OpenForReading(const std::string& path) {
  FileDescriptor fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open ", path));
  return fd;
}

absl::StatusOr<int64_t> SizeOf(const FileDescriptor& fd, const std::string& path) {
  struct stat info {};
  if (fstat(fd.get(), &info) != 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot examine ", path));
  return static_cast<int64_t>(info.st_size);
}

absl::Status ReadExactly(const FileDescriptor& fd, const std::string& path, int64_t offset, char* out, int64_t bytes) {
  while (bytes > 0) {
    const ssize_t got = pread(fd.get(), out, static_cast<size_t>(bytes), offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot read ", path));
    if (got == 0)
      return absl::DataLossError(absl::StrCat(path, ": found its end at ", offset, ", expected ", bytes, " more bytes"));
    out += got;
    offset += got;
    bytes -= got;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadString(const FileDescriptor& fd, const std::string& path, int64_t offset, int64_t bytes) {
  std::string data(static_cast<size_t>(bytes), '\0');
  RM_RETURN_IF_ERROR(ReadExactly(fd, path, offset, data.data(), bytes));
  return data;
}

// The step directory that `path` means.
absl::StatusOr<std::string> Resolve(const std::string& path) {
  std::error_code error;
  std::filesystem::path directory = std::filesystem::absolute(path, error).lexically_normal();
  if (!directory.has_filename()) directory = directory.parent_path();
  if (!std::filesystem::is_directory(directory, error)) {
    return absl::NotFoundError(absl::StrCat(path, ": found no directory, expected one of a checkpoint"));
  }
  if (std::filesystem::exists(directory / kManifestName, error)) {
    const auto real = std::filesystem::canonical(directory, error);
    return error ? directory.string() : real.string();
  }
  const std::filesystem::path latest = std::filesystem::canonical(directory / kLatestName, error);
  if (!error && std::filesystem::exists(latest / kManifestName, error)) return latest.string();
  return absl::NotFoundError(absl::StrCat(path, ": found neither ", kManifestName, " nor ", kLatestName,
                                          ", expected the directory of a committed checkpoint or of a job"));
}

// Checksum of the slices while the bytes of a file pass by in order.
class SliceChecksums {
 public:
  explicit SliceChecksums(const v1::ManifestShard& shard) : shard_(shard), found_(static_cast<size_t>(shard.slices_size()), 0) {}

  void Add(int64_t offset, const std::string& bytes) {
    for (int i = 0; i < shard_.slices_size(); ++i) {
      const v1::TensorSlice& slice = shard_.slices(i);
      const int64_t slice_end = slice.file_offset() + (slice.end() - slice.begin()) * int64_t{sizeof(float)};
      const int64_t begin = std::max(offset, slice.file_offset());
      const int64_t end = std::min(offset + static_cast<int64_t>(bytes.size()), slice_end);
      if (begin >= end) continue;
      uint32_t& crc = found_[static_cast<size_t>(i)];
      crc = ExtendCrc32c(crc, bytes.data() + (begin - offset), static_cast<size_t>(end - begin));
    }
  }

  absl::Status Compare(const std::string& path) const {
    for (int i = 0; i < shard_.slices_size(); ++i) {
      if (found_[static_cast<size_t>(i)] == shard_.slices(i).crc32c()) continue;
      return absl::DataLossError(absl::StrFormat("%s: tensor %s: found CRC32C %08x, expected %08x", path, shard_.slices(i).name(),
                                                 found_[static_cast<size_t>(i)], shard_.slices(i).crc32c()));
    }
    return absl::OkStatus();
  }

 private:
  const v1::ManifestShard& shard_;
  std::vector<uint32_t> found_;
};

}  // namespace

absl::StatusOr<CheckpointReader> CheckpointReader::Open(const std::string& path) {
  CheckpointReader reader;
  RM_ASSIGN_OR_RETURN(reader.path_, Resolve(path));
  const std::string manifest_path = absl::StrCat(reader.path_, "/", kManifestName);
  RM_ASSIGN_OR_RETURN(const FileDescriptor manifest_file, OpenForReading(manifest_path));
  RM_ASSIGN_OR_RETURN(const int64_t bytes, SizeOf(manifest_file, manifest_path));
  if (bytes > kMaxManifestBytes)
    return absl::DataLossError(absl::StrCat(manifest_path, ": found ", bytes, " bytes, expected a manifest"));
  RM_ASSIGN_OR_RETURN(const std::string data, ReadString(manifest_file, manifest_path, 0, bytes));
  RM_ASSIGN_OR_RETURN(reader.manifest_, ParseManifest(data, manifest_path));
  auto tensors = CollectTensors(reader.manifest_);
  if (!tensors.ok()) return absl::Status(tensors.status().code(), absl::StrCat(manifest_path, ": ", tensors.status().message()));
  reader.tensors_ = *std::move(tensors);
  const std::string digest = Digest(reader.tensors_);
  if (digest != reader.manifest_.digest()) {
    return absl::DataLossError(absl::StrCat(manifest_path, ": found digest ", digest, ", expected ", reader.manifest_.digest()));
  }
  for (const v1::ManifestShard& shard : reader.manifest_.shards()) RM_RETURN_IF_ERROR(reader.OpenShard(shard));
  return reader;
}

absl::Status CheckpointReader::OpenShard(const v1::ManifestShard& shard) {
  const std::string path = absl::StrCat(path_, "/", shard.file());
  auto file = OpenForReading(path);
  if (absl::IsNotFound(file.status()))
    return absl::DataLossError(absl::StrCat(path, ": found no file, expected ", shard.bytes(), " bytes"));
  RM_RETURN_IF_ERROR(file.status());
  RM_ASSIGN_OR_RETURN(const int64_t bytes, SizeOf(*file, path));
  if (bytes != shard.bytes()) {
    return absl::DataLossError(absl::StrCat(path, ": found ", bytes, " bytes, expected ", shard.bytes()));
  }
  // The header must tell other programs the same as the manifest tells us.
  const auto check_header = [&]() -> absl::Status {
    RM_ASSIGN_OR_RETURN(const std::string first8, ReadString(*file, path, 0, std::min<int64_t>(8, bytes)));
    RM_ASSIGN_OR_RETURN(const int64_t header_bytes, SafetensorsHeaderBytes(first8, bytes));
    RM_ASSIGN_OR_RETURN(const std::string header, ReadString(*file, path, 8, header_bytes));
    RM_ASSIGN_OR_RETURN(const auto stored, ParseSafetensorsHeader(header, bytes - 8 - header_bytes));
    if (static_cast<int>(stored.size()) != shard.slices_size()) {
      return absl::DataLossError(absl::StrCat("found ", stored.size(), " tensors, expected ", shard.slices_size()));
    }
    for (size_t i = 0; i < stored.size(); ++i) {
      const v1::TensorSlice& slice = shard.slices(static_cast<int>(i));
      if (8 + header_bytes + stored[i].begin != slice.file_offset() ||
          stored[i].end - stored[i].begin != (slice.end() - slice.begin()) * int64_t{sizeof(float)}) {
        return absl::DataLossError(absl::StrCat("tensor ", stored[i].name, " is not where the manifest says"));
      }
    }
    return absl::OkStatus();
  };
  if (const absl::Status status = check_header(); !status.ok())
    return absl::DataLossError(absl::StrCat(path, ": ", status.message()));
  files_.push_back(*std::move(file));
  return absl::OkStatus();
}

v1::CheckpointInfo CheckpointReader::info() const {
  v1::CheckpointInfo info;
  info.set_step(manifest_.step());
  info.set_path(path_);
  info.set_bytes(TotalBytes(manifest_));
  info.set_world_size(manifest_.world_size());
  info.set_digest(manifest_.digest());
  info.set_epoch(manifest_.epoch());
  return info;
}

absl::Status CheckpointReader::Verify() {
  for (int i = 0; i < manifest_.shards_size(); ++i) RM_RETURN_IF_ERROR(VerifyShard(i));
  return absl::OkStatus();
}

absl::Status CheckpointReader::VerifyShard(int index) {
  const v1::ManifestShard& shard = manifest_.shards(index);
  const std::string path = absl::StrCat(path_, "/", shard.file());
  SliceChecksums slices(shard);
  uint32_t file_crc = 0;
  for (int chunk = 0; chunk < shard.chunk_crc32c_size(); ++chunk) {
    const int64_t offset = chunk * shard.chunk_bytes();
    RM_ASSIGN_OR_RETURN(const std::string bytes, ReadString(files_[static_cast<size_t>(index)], path, offset,
                                                            std::min(shard.chunk_bytes(), shard.bytes() - offset)));
    const uint32_t found = Crc32c(bytes.data(), bytes.size());
    if (found != shard.chunk_crc32c(chunk)) {
      return absl::DataLossError(absl::StrFormat("%s: chunk %d (bytes %d..%d): found CRC32C %08x, expected %08x", path, chunk,
                                                 offset, offset + static_cast<int64_t>(bytes.size()), found,
                                                 shard.chunk_crc32c(chunk)));
    }
    file_crc = ExtendCrc32c(file_crc, bytes.data(), bytes.size());
    slices.Add(offset, bytes);
  }
  if (file_crc != shard.crc32c()) {
    return absl::DataLossError(absl::StrFormat("%s: found CRC32C %08x of the file, expected %08x", path, file_crc, shard.crc32c()));
  }
  return slices.Compare(path);
}

absl::Status CheckpointReader::Read(const std::string& name, int64_t begin, std::span<float> out) {
  const auto it = tensors_.find(name);
  if (it == tensors_.end()) return absl::NotFoundError(absl::StrCat(path_, ": no tensor is named ", name));
  const int64_t end = begin + static_cast<int64_t>(out.size());
  if (begin < 0 || end > it->second.size) {
    return absl::InvalidArgumentError(
        absl::StrCat(path_, ": tensor ", name, " has ", it->second.size, " elements, asked for ", begin, "..", end));
  }
  for (int i = 0; i < manifest_.shards_size(); ++i) {
    for (const v1::TensorSlice& slice : manifest_.shards(i).slices()) {
      const int64_t from = std::max(begin, slice.begin());
      const int64_t to = std::min(end, slice.end());
      if (slice.name() != name || from >= to) continue;
      RM_RETURN_IF_ERROR(ReadExactly(files_[static_cast<size_t>(i)], absl::StrCat(path_, "/", manifest_.shards(i).file()),
                                     slice.file_offset() + (from - slice.begin()) * int64_t{sizeof(float)},
                                     reinterpret_cast<char*>(out.data() + (from - begin)), (to - from) * int64_t{sizeof(float)}));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<ListedCheckpoint>> ListCheckpoints(const std::string& directory) {
  std::error_code error;
  std::vector<ListedCheckpoint> listed;
  std::filesystem::directory_iterator it(directory, error);
  for (; !error && it != std::filesystem::directory_iterator(); it.increment(error)) {
    const auto step = StepOfName(it->path().filename().string());
    if (!step) continue;
    ListedCheckpoint checkpoint;
    checkpoint.info.set_step(*step);
    checkpoint.info.set_path(std::filesystem::absolute(it->path()).lexically_normal());
    const auto reader = CheckpointReader::Open(it->path());
    checkpoint.status = reader.status();
    if (reader.ok()) checkpoint.info = reader->info();
    listed.push_back(std::move(checkpoint));
  }
  if (error) return absl::ErrnoToStatus(error.value(), absl::StrCat("cannot list ", directory));
  std::sort(listed.begin(), listed.end(), [](const auto& a, const auto& b) { return a.info.step() < b.info.step(); });
  return listed;
}

absl::StatusOr<v1::CheckpointInfo> VerifyCheckpoint(const std::string& path) {
  RM_ASSIGN_OR_RETURN(CheckpointReader reader, CheckpointReader::Open(path));
  RM_RETURN_IF_ERROR(reader.Verify());
  return reader.info();
}

}  // namespace ringmaster::trainer
