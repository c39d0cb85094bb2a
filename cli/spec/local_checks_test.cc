#include "cli/spec/local_checks.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/status_matchers.h"
#include "gtest/gtest.h"

namespace ringmaster::cli {
namespace {

using ::testing::HasSubstr;
using testing::IsOk;
using testing::StatusIs;

class LocalChecksTest : public ::testing::Test {
 protected:
  LocalChecksTest() {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    directory_ = std::filesystem::path(std::getenv("TEST_TMPDIR")) / info->name();
    std::filesystem::create_directories(directory_);
  }

  std::string Write(const std::string& name, const std::string& bytes) {
    const std::string path = directory_ / name;
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }

  v1::JobSpec Text(const std::string& path) {
    v1::JobSpec spec;
    spec.mutable_model()->mutable_gpt()->set_context(8);
    spec.mutable_data()->mutable_text()->add_files(path);
    spec.mutable_data()->mutable_text()->set_validation_fraction(0.5);
    return spec;
  }

  static void ExpectProblem(const v1::JobSpec& spec, const std::string& message) {
    EXPECT_THAT(CheckLocally(spec, "/usr/bin:/bin"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)));
  }

  std::filesystem::path directory_;
};

// An IDX file of bytes: dimensions, then `payload` zeros.
std::string Idx(const std::vector<int>& dimensions, size_t payload) {
  std::string bytes = {0, 0, 8, static_cast<char>(dimensions.size())};
  for (int size : dimensions) bytes += {0, 0, static_cast<char>(size >> 8), static_cast<char>(size)};
  return bytes + std::string(payload, '\0');
}

TEST_F(LocalChecksTest, GoodTextPasses) { EXPECT_THAT(CheckLocally(Text(Write("t", std::string(18, 'a'))), ""), IsOk()); }

TEST_F(LocalChecksTest, TextThatIsMissingEmptyTooShortOrADirectory) {
  ExpectProblem(Text(directory_ / "none"), "none: expected a file, found none: no such file");
  ExpectProblem(Text(Write("empty", "")), "empty: the file is empty");
  ExpectProblem(Text(Write("short", std::string(17, 'a'))), "8 bytes fall to validation and 9 to training, each needs 9");
  ExpectProblem(Text(directory_), "expected a file, found a directory");
}

TEST_F(LocalChecksTest, EveryMissingFileIsNamed) {
  v1::JobSpec spec = Text(directory_ / "one");
  spec.mutable_data()->mutable_text()->add_files(directory_ / "two");
  ExpectProblem(spec, "one: expected");
  ExpectProblem(spec, "two: expected");
}

TEST_F(LocalChecksTest, IdxFiles) {
  v1::JobSpec spec;
  v1::IdxData* idx = spec.mutable_data()->mutable_idx();
  idx->set_train_images(Write("images", Idx({2, 3, 4}, 24)));
  idx->set_train_labels(Write("labels", Idx({2}, 2)));
  idx->set_validation_images(idx->train_images());
  idx->set_validation_labels(idx->train_labels());
  EXPECT_THAT(CheckLocally(spec, "/usr/bin:/bin"), IsOk());

  idx->set_train_images(Write("truncated", Idx({2, 3, 4}, 23)));
  ExpectProblem(spec, "truncated: its header promises 40 bytes, found 39");
  idx->set_train_images(Write("huge", Idx({65535, 65535, 65535}, 24)));
  ExpectProblem(spec, "huge: its header promises");
  idx->set_train_images(idx->train_labels());
  ExpectProblem(spec, "data.idx.train_images: " + idx->train_labels() +
                          ": expected an uncompressed IDX file of unsigned bytes with 3 dimensions");
  idx->set_train_images(Write("gzip", "\x1f\x8b\x08"));
  ExpectProblem(spec, "gzip: expected an uncompressed IDX file");
}

TEST_F(LocalChecksTest, TokenShards) {
  int32_t header[256] = {20240520, 1, 3};
  const std::string good = std::string(reinterpret_cast<const char*>(header), sizeof(header)) + std::string(6, '\0');
  v1::JobSpec spec;
  spec.mutable_data()->mutable_tokens()->add_validation_files(Write("good", good));
  EXPECT_THAT(CheckLocally(spec, "/usr/bin:/bin"), IsOk());
  spec.mutable_data()->mutable_tokens()->add_train_files(Write("cut", good.substr(0, good.size() - 1)));
  ExpectProblem(spec, "cut: its header promises 3 tokens (1030 bytes), found 1029 bytes");
  spec.mutable_data()->mutable_tokens()->set_train_files(0, Write("tiny", "ab"));
  ExpectProblem(spec, "tiny: expected a token shard");
}

TEST_F(LocalChecksTest, CheckpointDirectoryBelowAFile) {
  v1::JobSpec spec;
  spec.mutable_checkpoint()->set_directory(directory_ / "new" / "deep");
  EXPECT_THAT(CheckLocally(spec, "/usr/bin:/bin"), IsOk());
  spec.mutable_checkpoint()->set_directory(Write("file", "x") + "/deep");
  ExpectProblem(spec, "expected a directory that can be written");
}

TEST_F(LocalChecksTest, Programs) {
  v1::JobSpec spec;
  spec.add_command("sh");
  spec.set_work_directory(directory_);
  EXPECT_THAT(CheckLocally(spec, "/usr/bin:/bin"), IsOk());
  spec.set_command(0, "no-such-program-anywhere");
  ExpectProblem(spec, "no such program in PATH");
  spec.set_command(0, "./train");
  ExpectProblem(spec, "cannot be executed");
}

}  // namespace
}  // namespace ringmaster::cli
