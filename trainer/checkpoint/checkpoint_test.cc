#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/crc32c.h"
#include "common/status_macros.h"
#include "common/status_matchers.h"
#include "gtest/gtest.h"
#include "trainer/checkpoint/commit.h"
#include "trainer/checkpoint/files.h"
#include "trainer/checkpoint/layout.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/reader.h"
#include "trainer/checkpoint/shard_writer.h"

namespace ringmaster::trainer {
namespace {

using ::ringmaster::testing::StatusIs;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

std::string FreshDirectory(const std::string& name) {
  const std::string path = ::testing::TempDir() + "/" + name;
  fs::remove_all(path);
  fs::create_directories(path);
  return path;
}

// A small model: tensors with values that no two positions and steps share.
struct State {
  explicit State(int64_t step) {
    for (const auto& [name, shape] : std::vector<std::pair<std::string, std::vector<int64_t>>>{
             {"model/w", {7, 5}}, {"model/bias", {3}}, {"adamw.m/w", {7, 5}}, {"adamw.m/bias", {3}}}) {
      const int64_t size = std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
      auto& storage = values.emplace_back(static_cast<size_t>(size));
      for (size_t i = 0; i < storage.size(); ++i)
        storage[i] = static_cast<float>(step * 1000 + static_cast<int64_t>(values.size() * 100 + i));
      pieces.push_back({name, shape, 0, size, nullptr});
    }
    for (size_t i = 0; i < pieces.size(); ++i) pieces[i].values = values[i].data();
  }
  std::vector<std::vector<float>> values;
  std::vector<TensorPiece> pieces;
};

// Everything the ranks and rank 0 do for one checkpoint; `committed` is the coordinator's ledger.
absl::Status Save(CheckpointFiles& files, const std::string& root, const State& state, int64_t step, int ranks, int64_t epoch,
                  std::vector<int64_t>& committed) {
  v1::Manifest manifest;
  manifest.set_format_version(kManifestFormatVersion);
  manifest.set_step(step);
  manifest.set_epoch(epoch);
  manifest.set_world_size(ranks);
  const std::string directory = absl::StrCat(root, "/", TemporaryName(step, epoch));
  RM_RETURN_IF_ERROR(files.MakeDirectories(directory));
  for (int rank = 0; rank < ranks; ++rank) {
    const auto pieces = PartOfPieces(state.pieces, rank, ranks);
    RM_ASSIGN_OR_RETURN(*manifest.add_shards(), WriteShard(files, directory, ShardName(rank, ranks), pieces));
  }
  RM_RETURN_IF_ERROR(files.SyncDirectory(directory));
  RM_ASSIGN_OR_RETURN(const auto tensors, CollectTensors(manifest));
  manifest.set_digest(Digest(tensors));
  RM_RETURN_IF_ERROR(PublishDirectory(files, root, manifest));
  committed.push_back(step);
  RM_RETURN_IF_ERROR(MoveLatest(files, root, step));
  while (committed.size() > 2) {
    RM_RETURN_IF_ERROR(DeleteCheckpoint(files, absl::StrCat(root, "/", StepName(committed.front()))));
    committed.erase(committed.begin());
  }
  return absl::OkStatus();
}

void ExpectHolds(const std::string& path, const State& state) {
  ASSERT_OK_AND_ASSIGN(CheckpointReader reader, CheckpointReader::Open(path));
  ASSERT_OK(reader.Verify());
  ASSERT_EQ(reader.tensors().size(), state.pieces.size());
  for (const TensorPiece& tensor : state.pieces) {
    std::vector<float> read(static_cast<size_t>(tensor.size()));
    ASSERT_OK(reader.Read(tensor.name, 0, read));
    EXPECT_TRUE(std::equal(read.begin(), read.end(), tensor.values)) << tensor.name;
  }
}

TEST(Layout, PartsOfAllRanks_CoverEveryElementOnce) {
  const State state(1);
  for (const int ranks : {1, 2, 3, 4, 7, 100}) {
    std::map<std::string, std::vector<int>> hits;
    for (const TensorPiece& whole : state.pieces) hits[whole.name].resize(static_cast<size_t>(whole.size()));
    for (int rank = 0; rank < ranks; ++rank) {
      for (const TensorPiece& piece : PartOfPieces(state.pieces, rank, ranks)) {
        const auto whole = std::ranges::find(state.pieces, piece.name, &TensorPiece::name);
        EXPECT_EQ(piece.values, whole->values + piece.begin);
        for (int64_t i = piece.begin; i < piece.end; ++i) ++hits[piece.name][static_cast<size_t>(i)];
      }
    }
    for (const auto& [name, tensor] : hits) EXPECT_EQ(tensor, std::vector<int>(tensor.size(), 1)) << name << ", " << ranks;
  }
}

TEST(Layout, Names_ReadBack) {
  EXPECT_EQ(StepName(100), "step-00000100");
  EXPECT_EQ(ShardName(0, 2), "w-00of02.safetensors");
  EXPECT_EQ(StepOfName("step-00000100"), 100);
  EXPECT_EQ(StepOfName("step-123456789012"), 123456789012);
  EXPECT_EQ(AttemptOfTemporaryName(TemporaryName(100, 3)), (Attempt{.epoch = 3, .step = 100}));
  EXPECT_LT((Attempt{.epoch = 1, .step = 300}), (Attempt{.epoch = 2, .step = 100}));  // a new epoch may begin further back
  for (const char* other : {"latest", "step-", "step-1x", "step-00000100.tmp-3", "step-00000100.old", ""}) {
    EXPECT_EQ(StepOfName(other), std::nullopt) << other;
  }
  EXPECT_EQ(AttemptOfTemporaryName("step-00000100"), std::nullopt);
}

TEST(Checkpoint, WrittenByAnyNumberOfRanks_ReadsTheSameAndHasOneDigest) {
  const auto files = NewPosixFiles();
  const State state(5);
  std::string digest;
  for (const int ranks : {1, 2, 3, 8, 90}) {
    const std::string root = FreshDirectory(absl::StrCat("ranks-", ranks));
    std::vector<int64_t> committed;
    ASSERT_OK(Save(*files, root, state, 5, ranks, 1, committed));

    ExpectHolds(root, state);  // through latest
    ASSERT_OK_AND_ASSIGN(const auto info, VerifyCheckpoint(root + "/step-00000005"));
    EXPECT_EQ(info.world_size(), ranks);
    if (digest.empty()) digest = info.digest();
    EXPECT_EQ(info.digest(), digest);
  }
  EXPECT_EQ(digest.size(), 16u);
  const std::string root = FreshDirectory("other");
  std::vector<int64_t> committed;
  State other(5);
  other.values[3][2] += 1;
  ASSERT_OK(Save(*files, root, other, 5, 2, 1, committed));
  ASSERT_OK_AND_ASSIGN(const auto info, VerifyCheckpoint(root));
  EXPECT_NE(info.digest(), digest);
}

TEST(Checkpoint, AnyRange_CanBeRead) {
  const auto files = NewPosixFiles();
  const State state(5);
  const std::string root = FreshDirectory("ranges");
  std::vector<int64_t> committed;
  ASSERT_OK(Save(*files, root, state, 5, 5, 1, committed));
  ASSERT_OK_AND_ASSIGN(CheckpointReader reader, CheckpointReader::Open(root));
  for (int64_t begin = 0; begin <= 35; ++begin) {
    for (int64_t end = begin; end <= 35; ++end) {
      std::vector<float> read(static_cast<size_t>(end - begin), -1);
      ASSERT_OK(reader.Read("model/w", begin, read));
      EXPECT_TRUE(std::equal(read.begin(), read.end(), state.values[0].begin() + begin));
    }
  }
  std::vector<float> read(2);
  EXPECT_THAT(reader.Read("model/w", 34, read), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("34..36")));
  EXPECT_THAT(reader.Read("model/x", 0, read), StatusIs(absl::StatusCode::kNotFound, HasSubstr("model/x")));
}

// The process is killed at the n-th call: that one has half its effect at most, later ones none.
class StoppingFiles final : public CheckpointFiles {
 public:
  StoppingFiles(CheckpointFiles& real, int calls) : real_(real), left_(calls) {}

  bool stopped() const { return left_ < 0; }

  absl::Status MakeDirectories(const std::string& path) override { return Stops() ? Stopped() : real_.MakeDirectories(path); }
  absl::StatusOr<std::unique_ptr<OutputFile>> Create(const std::string& path) override {
    if (Stops()) return Stopped();
    RM_ASSIGN_OR_RETURN(auto file, real_.Create(path));
    return std::make_unique<File>(*this, std::move(file));
  }
  absl::Status Rename(const std::string& from, const std::string& to) override {
    return Stops() ? Stopped() : real_.Rename(from, to);
  }
  absl::Status SyncDirectory(const std::string& path) override { return Stops() ? Stopped() : real_.SyncDirectory(path); }
  absl::Status ReplaceSymlink(const std::string& target, const std::string& link) override {
    return Stops() ? Stopped() : real_.ReplaceSymlink(target, link);
  }
  absl::Status RemoveFile(const std::string& path) override { return Stops() ? Stopped() : real_.RemoveFile(path); }
  absl::Status RemoveTree(const std::string& path) override {
    if (!Stops()) return real_.RemoveTree(path);
    if (left_ == -1 && fs::exists(path) && fs::begin(fs::directory_iterator(path)) != fs::directory_iterator()) {
      fs::remove(fs::directory_iterator(path)->path());
    }
    return Stopped();
  }
  bool Exists(const std::string& path) override { return real_.Exists(path); }
  absl::StatusOr<std::vector<std::string>> List(const std::string& directory) override { return real_.List(directory); }

 private:
  class File final : public OutputFile {
   public:
    File(StoppingFiles& owner, std::unique_ptr<OutputFile> file) : owner_(owner), file_(std::move(file)) {}
    absl::Status Append(std::span<const std::byte> bytes) override {
      if (!owner_.Stops()) return file_->Append(bytes);
      if (owner_.left_ == -1) (void)file_->Append(bytes.first(bytes.size() / 2));
      return Stopped();
    }
    absl::Status SyncAndClose() override { return owner_.Stops() ? Stopped() : file_->SyncAndClose(); }

   private:
    StoppingFiles& owner_;
    std::unique_ptr<OutputFile> file_;
  };

  bool Stops() { return left_ < 0 || --left_ < 0; }
  static absl::Status Stopped() { return absl::CancelledError("stopped"); }

  CheckpointFiles& real_;
  int left_;
};

// The choice at the start of a trainer: newest of the ledger that verifies.
int64_t Chosen(const std::string& root, const std::vector<int64_t>& committed) {
  for (auto it = committed.rbegin(); it != committed.rend(); ++it) {
    if (VerifyCheckpoint(absl::StrCat(root, "/", StepName(*it))).ok()) return *it;
  }
  return -1;
}

TEST(Checkpoint, StoppedAtEveryCall_LeavesTheLastOrThisOneAndNeverAMix) {
  const auto files = NewPosixFiles();
  int calls = 0;
  for (bool finished = false; !finished; ++calls) {
    // Given two committed checkpoints and what a crashed attempt left under the next name and an older epoch's.
    const std::string root = FreshDirectory("sweep");
    std::vector<int64_t> committed;
    ASSERT_OK(Save(*files, root, State(1), 1, 3, 1, committed));
    ASSERT_OK(Save(*files, root, State(2), 2, 2, 1, committed));
    std::vector<int64_t> lost_reply = committed;
    ASSERT_OK(Save(*files, root, State(77), 3, 1, 1, lost_reply = {2}));
    ASSERT_OK(MoveLatest(*files, root, 2));
    fs::create_directories(absl::StrCat(root, "/", TemporaryName(3, 1)));

    // When the process dies at call number `calls`.
    StoppingFiles stopping(*files, calls);
    const absl::Status status = Save(stopping, root, State(3), 3, 2, 2, committed);
    finished = status.ok();
    EXPECT_EQ(finished, !stopping.stopped()) << status;

    // Then the choice is a whole checkpoint: the new one exactly if it was committed.
    const int64_t chosen = Chosen(root, committed);
    EXPECT_EQ(chosen, committed.back()) << "after " << calls << " calls";
    ExpectHolds(absl::StrCat(root, "/", StepName(chosen)), State(chosen));
    ASSERT_OK(CheckpointReader::Open(root));  // what `latest` names can always be opened
    // And a new epoch cleans up and does it again.
    ASSERT_OK(RemoveLeftovers(*files, root, {.epoch = 3}));
    for (const auto& entry : fs::directory_iterator(root)) {
      EXPECT_EQ(entry.path().string().find(".tmp-"), std::string::npos) << entry.path();
      EXPECT_EQ(entry.path().extension(), "") << entry.path();
    }
    if (committed.back() == 2) {
      ASSERT_OK(Save(*files, root, State(3), 3, 2, 3, committed));
    } else {
      ASSERT_OK(MoveLatest(*files, root, 3));  // as every epoch does with the checkpoint it begins from
    }
    ExpectHolds(root, State(committed.back()));
  }
  EXPECT_GT(calls, 20);  // the sweep really went through the protocol
}

TEST(Checkpoint, AnyChangedByte_IsRefusedByName) {
  const auto files = NewPosixFiles();
  const std::string root = FreshDirectory("flips");
  std::vector<int64_t> committed;
  ASSERT_OK(Save(*files, root, State(9), 9, 2, 1, committed));
  std::mt19937 random(1);
  for (const std::string name : {"MANIFEST.pb", "w-00of02.safetensors", "w-01of02.safetensors"}) {
    const std::string path = root + "/step-00000009/" + name;
    const auto size = static_cast<int64_t>(fs::file_size(path));
    for (int i = 0; i < 100; ++i) {
      const int64_t at = i < 20 ? i : static_cast<int64_t>(random() % static_cast<uint64_t>(size));
      std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
      file.seekg(at);
      const char old = static_cast<char>(file.get());
      file.seekp(at);
      file.put(static_cast<char>(old ^ (1 << (i % 8))));
      file.flush();
      EXPECT_THAT(VerifyCheckpoint(root), StatusIs(absl::StatusCode::kDataLoss, HasSubstr(name))) << "byte " << at;
      file.seekp(at);
      file.put(old);
    }
    EXPECT_OK(VerifyCheckpoint(root));
    fs::copy_file(path, path + ".good");
    for (int i = 0; i < 20; ++i) {
      fs::resize_file(path, static_cast<uintmax_t>(i < 5 ? i : static_cast<int64_t>(random() % static_cast<uint64_t>(size))));
      EXPECT_THAT(VerifyCheckpoint(root), StatusIs(absl::StatusCode::kDataLoss, HasSubstr(name)));
      fs::copy_file(path + ".good", path, fs::copy_options::overwrite_existing);
    }
    std::ofstream(path, std::ios::app) << "x";
    EXPECT_THAT(VerifyCheckpoint(root), StatusIs(absl::StatusCode::kDataLoss, HasSubstr(name)));
    fs::rename(path + ".good", path);
  }
  fs::remove(root + "/step-00000009/w-01of02.safetensors");
  EXPECT_THAT(VerifyCheckpoint(root), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("found no file")));
  fs::remove(root + "/step-00000009/MANIFEST.pb");
  EXPECT_THAT(VerifyCheckpoint(root), StatusIs(absl::StatusCode::kNotFound, HasSubstr("MANIFEST.pb")));
  EXPECT_THAT(VerifyCheckpoint(root + "/nothing"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("nothing")));
}

TEST(Checkpoint, ManifestWithHolesOverlapsOrForeignPaths_IsRefused) {
  const auto slice = [](v1::Manifest& manifest, int shard, int64_t begin, int64_t end) {
    while (manifest.shards_size() <= shard) {
      v1::ManifestShard& added = *manifest.add_shards();
      added.set_file(absl::StrCat("w-", manifest.shards_size()));
      added.set_bytes(100);
      added.set_chunk_bytes(kCheckpointChunkBytes);
      added.add_chunk_crc32c(0);
    }
    v1::TensorSlice& added = *manifest.mutable_shards(shard)->add_slices();
    added.set_name("t");
    added.add_shape(10);
    added.set_begin(begin);
    added.set_end(end);
  };
  v1::Manifest good;
  slice(good, 1, 4, 10);
  slice(good, 0, 0, 4);
  EXPECT_OK(CollectTensors(good));
  v1::Manifest hole = good;
  hole.mutable_shards(1)->mutable_slices(0)->set_begin(5);
  EXPECT_THAT(CollectTensors(hole), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("4..5 are stored nowhere")));
  v1::Manifest overlap = good;
  overlap.mutable_shards(1)->mutable_slices(0)->set_begin(3);
  EXPECT_THAT(CollectTensors(overlap), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("3..4 are stored twice")));
  v1::Manifest end = good;
  end.mutable_shards(1)->mutable_slices(0)->set_end(9);
  EXPECT_THAT(CollectTensors(end), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("9..10")));
  v1::Manifest outside = good;
  outside.mutable_shards(0)->mutable_slices(0)->set_file_offset(90);
  EXPECT_THAT(CollectTensors(outside), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("outside the file")));
  v1::Manifest shape = good;
  shape.mutable_shards(0)->mutable_slices(0)->set_shape(0, 11);
  EXPECT_THAT(CollectTensors(shape), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("another shape")));
  v1::Manifest path = good;
  path.mutable_shards(0)->set_file("../other/w-0");
  EXPECT_THAT(CollectTensors(path), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("../other")));
  v1::Manifest huge = good;
  huge.mutable_shards(0)->mutable_slices(0)->add_shape(int64_t{1} << 62);
  EXPECT_THAT(CollectTensors(huge), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("impossible")));
}

TEST(Checkpoint, ListOfADirectory_HasGoodAndBadOnesOldestFirst) {
  const auto files = NewPosixFiles();
  const std::string root = FreshDirectory("list");
  std::vector<int64_t> committed;
  ASSERT_OK(Save(*files, root, State(20), 20, 2, 1, committed));
  ASSERT_OK(Save(*files, root, State(10), 10, 2, 1, committed = {}));
  fs::create_directories(root + "/step-00000030");
  fs::create_directories(root + "/step-00000040.tmp-1");

  ASSERT_OK_AND_ASSIGN(const auto listed, ListCheckpoints(root));

  ASSERT_EQ(listed.size(), 3u);
  EXPECT_EQ(listed[0].info.step(), 10);
  EXPECT_OK(listed[0].status);
  EXPECT_EQ(listed[1].info.step(), 20);
  EXPECT_GT(listed[1].info.bytes(), 76 * 4);
  EXPECT_THAT(listed[2].status, StatusIs(absl::StatusCode::kNotFound, HasSubstr("step-00000030")));
  EXPECT_THAT(ListCheckpoints(root + "/none"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("none")));
}

TEST(CheckWritable, ReadOnlyPlace_IsNamedWithTheReason) {
  const auto files = NewPosixFiles();
  EXPECT_OK(CheckWritable(*files, FreshDirectory("writable") + "/a/b", 0));
  const std::string file = FreshDirectory("blocked") + "/file";
  std::ofstream(file) << "x";
  const absl::Status status = CheckWritable(*files, file + "/job", 0);
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(std::string(status.message()), HasSubstr("blocked/file"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("Not a directory"));
}

}  // namespace
}  // namespace ringmaster::trainer
