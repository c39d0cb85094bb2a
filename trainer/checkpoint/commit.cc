#include "trainer/checkpoint/commit.h"

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "trainer/checkpoint/manifest.h"

namespace ringmaster::trainer {
namespace {

constexpr char kAsideSuffix[] = ".old";

absl::Status WriteWhole(CheckpointFiles& files, const std::string& path, const std::string& bytes) {
  RM_ASSIGN_OR_RETURN(const std::unique_ptr<OutputFile> file, files.Create(path));
  RM_RETURN_IF_ERROR(file->Append(std::as_bytes(std::span(bytes))));
  return file->SyncAndClose();
}

}  // namespace

absl::Status PublishDirectory(CheckpointFiles& files, const std::string& root, const v1::Manifest& manifest) {
  const std::string temporary = absl::StrCat(root, "/", TemporaryName(manifest.step(), manifest.epoch()));
  const std::string final_path = absl::StrCat(root, "/", StepName(manifest.step()));
  const std::string manifest_path = absl::StrCat(temporary, "/", kManifestName);
  RM_RETURN_IF_ERROR(WriteWhole(files, manifest_path + ".tmp", SerializeManifest(manifest)));
  RM_RETURN_IF_ERROR(files.Rename(manifest_path + ".tmp", manifest_path));
  RM_RETURN_IF_ERROR(files.SyncDirectory(temporary));
  const std::string aside = final_path + kAsideSuffix;
  if (files.Exists(final_path)) {
    // The coordinator has no commit of it, or we would have resumed behind it: nobody will choose it.
    RM_RETURN_IF_ERROR(DeleteCheckpoint(files, aside));
    RM_RETURN_IF_ERROR(files.Rename(final_path, aside));
  }
  RM_RETURN_IF_ERROR(files.Rename(temporary, final_path));
  RM_RETURN_IF_ERROR(files.SyncDirectory(root));
  return DeleteCheckpoint(files, aside);
}

absl::Status MoveLatest(CheckpointFiles& files, const std::string& root, int64_t step) {
  RM_RETURN_IF_ERROR(files.ReplaceSymlink(StepName(step), absl::StrCat(root, "/", kLatestName)));
  return files.SyncDirectory(root);
}

absl::Status DeleteCheckpoint(CheckpointFiles& files, const std::string& path) {
  if (!files.Exists(path)) return absl::OkStatus();
  RM_RETURN_IF_ERROR(files.RemoveFile(absl::StrCat(path, "/", kManifestName)));
  RM_RETURN_IF_ERROR(files.SyncDirectory(path));
  return files.RemoveTree(path);
}

absl::Status RemoveLeftovers(CheckpointFiles& files, const std::string& root, const Attempt& attempt) {
  RM_ASSIGN_OR_RETURN(const std::vector<std::string> names, files.List(root));
  for (const std::string& name : names) {
    const std::optional<Attempt> left = AttemptOfTemporaryName(name);
    const bool is_aside = absl::EndsWith(name, kAsideSuffix) && StepOfName(name.substr(0, name.size() - sizeof(kAsideSuffix) + 1));
    if (is_aside || (left && *left < attempt)) RM_RETURN_IF_ERROR(DeleteCheckpoint(files, absl::StrCat(root, "/", name)));
  }
  return absl::OkStatus();
}

absl::Status CheckWritable(CheckpointFiles& files, const std::string& root, int rank) {
  RM_RETURN_IF_ERROR(files.MakeDirectories(root));
  const std::string probe = absl::StrCat(root, "/.probe-", rank);
  RM_RETURN_IF_ERROR(WriteWhole(files, probe, "probe"));
  return files.RemoveFile(probe);
}

}  // namespace ringmaster::trainer
