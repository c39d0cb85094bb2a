// What the real files do with more than one block of bytes; checkpoint_test has the small ones.
#include "trainer/checkpoint/files.h"

#include <sys/resource.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <vector>

#include "common/status_matchers.h"

namespace ringmaster::trainer {
namespace {

constexpr size_t kMiB = size_t{1} << 20;

// No two blocks, and no two words of one, are alike.
std::vector<uint32_t> Words(size_t bytes) {
  std::vector<uint32_t> words(bytes / sizeof(uint32_t));
  for (size_t i = 0; i < words.size(); ++i) words[i] = static_cast<uint32_t>(i * 2654435761u);
  return words;
}

absl::Status Write(const std::string& path, std::span<const std::byte> bytes, size_t piece) {
  const auto files = NewPosixFiles();
  auto file = files->Create(path);
  if (!file.ok()) return file.status();
  for (; !bytes.empty(); bytes = bytes.subspan(std::min(piece, bytes.size()))) {
    if (const absl::Status status = (*file)->Append(bytes.first(std::min(piece, bytes.size()))); !status.ok()) return status;
  }
  return (*file)->SyncAndClose();
}

TEST(PosixFiles, AFileOfAnySize_HoldsWhatWasAppended) {
  const std::string path = ::testing::TempDir() + "/sizes";
  for (const size_t size : {size_t{0}, size_t{4}, 16 * kMiB - 4, 16 * kMiB, 16 * kMiB + 4, 50 * kMiB + 4096, 50 * kMiB + 12}) {
    const std::vector<uint32_t> words = Words(size);
    ASSERT_OK(Write(path, std::as_bytes(std::span(words)), 3 * kMiB + 1)) << size;
    std::ifstream file(path, std::ios::binary);
    const std::string found((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    ASSERT_EQ(found.size(), size);
    EXPECT_TRUE(std::equal(found.begin(), found.end(), reinterpret_cast<const char*>(words.data()))) << size;
  }
}

TEST(PosixFiles, AFileThatIsCreatedAgain_HasNothingOfTheOldOne) {
  const std::string path = ::testing::TempDir() + "/again";
  const std::vector<uint32_t> words = Words(20 * kMiB);
  ASSERT_OK(Write(path, std::as_bytes(std::span(words)), kMiB));
  ASSERT_OK(Write(path, std::as_bytes(std::span(words)).first(8), kMiB));
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  EXPECT_EQ(file.tellg(), 8);
}

// As a full disk does: a block that is written beside the caller cannot be.
TEST(PosixFiles, ABlockThatFindsNoRoom_IsToldBeforeTheFileCountsAsWritten) {
  const auto before = std::signal(SIGXFSZ, SIG_IGN);
  rlimit old{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
  const std::vector<uint32_t> words = Words(80 * kMiB);
  for (const size_t room : {8 * kMiB, 20 * kMiB, 64 * kMiB, 79 * kMiB}) {
    const rlimit limit{.rlim_cur = room, .rlim_max = old.rlim_max};
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
    const absl::Status status = Write(::testing::TempDir() + "/full", std::as_bytes(std::span(words)), 5 * kMiB);
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &old), 0);
    EXPECT_FALSE(status.ok()) << room;
    EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("cannot write")) << room;
    EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("/full")) << room;
  }
  std::signal(SIGXFSZ, before);
}

}  // namespace
}  // namespace ringmaster::trainer
