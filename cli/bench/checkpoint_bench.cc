#include "cli/bench/checkpoint_bench.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <span>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "common/file_descriptor.h"
#include "common/status_macros.h"
#include "trainer/checkpoint/files.h"
#include "trainer/checkpoint/layout.h"
#include "trainer/checkpoint/shard_writer.h"
#include "trainer/tensor/arena.h"

namespace ringmaster::cli {
namespace {

using trainer::Arena;
using trainer::CheckpointFiles;
using trainer::TensorPiece;

constexpr int64_t kDirectBlock = int64_t{16} << 20;
constexpr int64_t kTensorElements = 4 * 768 * 768;  // of one of GPT-2's larger matrices

struct Rates {
  double ours = 0;  // MB/s
  double direct = 0;
};

std::vector<TensorPiece> PiecesOf(std::span<float> values) {
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  std::vector<TensorPiece> pieces;
  const auto elements = static_cast<int64_t>(values.size());
  for (int64_t begin = 0; begin < elements; begin += kTensorElements) {
    const int64_t size = std::min(kTensorElements, elements - begin);
    pieces.push_back({absl::StrCat("tensor.", pieces.size()), {size}, 0, size, values.data() + begin});
  }
  return pieces;
}

absl::Status WriteDirectly(const std::string& path, std::span<const float> values) {
  const auto failed = [&](const char* what) { return absl::ErrnoToStatus(errno, absl::StrCat("cannot ", what, " ", path)); };
  const FileDescriptor fd(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_DIRECT, 0644));
  if (!fd.valid()) return failed("create past the page cache");
  std::span<const std::byte> rest = std::as_bytes(values);
  while (!rest.empty()) {
    const ssize_t written = write(fd.get(), rest.data(), std::min(rest.size(), static_cast<size_t>(kDirectBlock)));
    if (written < 0) return failed("write");
    rest = rest.subspan(static_cast<size_t>(written));
  }
  return fsync(fd.get()) == 0 ? absl::OkStatus() : failed("sync");
}

double Median(std::vector<Rates> rounds, double Rates::*which) {
  std::ranges::sort(rounds, {}, which);
  return rounds[rounds.size() / 2].*which;
}

}  // namespace

absl::Status RunCheckpointBench(const CheckpointBenchOptions& options, const Clock& clock, std::ostream& out) {
  // Whole blocks: what the comparison writes needs no other end.
  const int64_t bytes = std::max<int64_t>(1, options.megabytes * 1'000'000 / kDirectBlock) * kDirectBlock;
  const double megabytes = static_cast<double>(bytes) * 1e-6;
  RM_ASSIGN_OR_RETURN(const Arena arena, Arena::Create(bytes / int64_t{sizeof(float)}));
  const std::vector<TensorPiece> pieces = PiecesOf(arena.values());
  const std::unique_ptr<CheckpointFiles> files = trainer::NewPosixFiles();
  const std::string directory = absl::StrCat(options.directory, "/bench-checkpoint-", getpid());
  RM_RETURN_IF_ERROR(files->MakeDirectories(directory));
  const absl::Cleanup remove = [&] { files->RemoveTree(directory).IgnoreError(); };
  std::vector<Rates> rounds;
  for (int round = 0; round < options.rounds; ++round) {
    // By turns first: what one has removed is not the same to the disk as what was never written.
    Rates& last = rounds.emplace_back();
    for (const bool ours : {round % 2 == 0, round % 2 != 0}) {
      const absl::Time begin = clock.Now();
      RM_RETURN_IF_ERROR(ours ? trainer::WriteShard(*files, directory, "shard", pieces).status()
                              : WriteDirectly(directory + "/direct", arena.values()));
      (ours ? last.ours : last.direct) = megabytes / absl::ToDoubleSeconds(clock.Now() - begin);
    }
    for (const char* name : {"/shard", "/direct"}) RM_RETURN_IF_ERROR(files->RemoveFile(directory + name));
    out << absl::StrFormat("round %d: %.0f MB in a shard at %.0f MB/s, direct writes %.0f MB/s: %.2f\n", round + 1, megabytes,
                           last.ours, last.direct, last.ours / last.direct)
        << std::flush;
  }
  const double ours = Median(rounds, &Rates::ours);
  const double direct = Median(rounds, &Rates::direct);
  out << absl::StrFormat("medians: %.0f MB/s, direct writes %.0f MB/s: %.2f\n", ours, direct, ours / direct);
  return absl::OkStatus();
}

}  // namespace ringmaster::cli
