#include "common/crc32c.h"

#include <cstdint>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace ringmaster {
namespace {

// RFC 3720, appendix B.4.
TEST(Crc32c, GivesTheVectorsOfTheRfc) {
  EXPECT_EQ(Crc32c(std::string(32, '\0').data(), 32), 0x8A9136AAu);
  EXPECT_EQ(Crc32c(std::string(32, '\xff').data(), 32), 0x62A8AB43u);
  std::string ascending(32, '\0');
  for (int i = 0; i < 32; ++i) ascending[i] = static_cast<char>(i);
  EXPECT_EQ(Crc32c(ascending.data(), 32), 0x46DD794Eu);
  EXPECT_EQ(Crc32c("123456789", 9), 0xE3069283u);
}

TEST(Crc32c, OfPartsEqualsThatOfTheWholeAtEverySplit) {
  std::vector<uint8_t> bytes(67);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i * 37 + 11);
  const uint32_t whole = Crc32c(bytes.data(), bytes.size());
  for (size_t split = 0; split <= bytes.size(); ++split) {
    const uint32_t head = Crc32c(bytes.data(), split);
    EXPECT_EQ(ExtendCrc32c(head, bytes.data() + split, bytes.size() - split), whole) << "split at " << split;
  }
}

TEST(Crc32c, OfManyBytes_IsThatOfOneByteAfterTheOther) {
  std::vector<uint8_t> bytes(100'000);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i * 37 + i / 251);
  for (const size_t size : {8191, 24'575, 24'576, 24'577, 49'159, 100'000}) {
    uint32_t one_by_one = 0;
    for (size_t i = 0; i < size; ++i) one_by_one = ExtendCrc32c(one_by_one, &bytes[i], 1);
    EXPECT_EQ(Crc32c(bytes.data(), size), one_by_one) << size;
  }
}

TEST(CombineCrc32c, AnySplit_GivesTheWholesChecksum) {
  std::string bytes(1000, '\0');
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 37 + i / 7);
  const uint32_t whole = Crc32c(bytes.data(), bytes.size());
  for (size_t split = 0; split <= bytes.size(); split += 25) {
    const uint32_t first = Crc32c(bytes.data(), split);
    const uint32_t second = Crc32c(bytes.data() + split, bytes.size() - split);
    EXPECT_EQ(CombineCrc32c(first, second, static_cast<int64_t>(bytes.size() - split)), whole) << split;
  }
}

}  // namespace
}  // namespace ringmaster
