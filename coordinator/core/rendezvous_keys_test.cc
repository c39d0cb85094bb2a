#include "coordinator/core/rendezvous_keys.h"

#include <string>

#include "common/status_matchers.h"

namespace ringmaster::coordinator {
namespace {

using ::ringmaster::testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::Pointee;

TEST(RendezvousKeys, AKeyHasOneValue) {
  RendezvousKeys keys;
  EXPECT_EQ(keys.Find("a"), nullptr);
  ASSERT_OK(keys.Check("a", "1"));
  keys.Set("a", "1");
  EXPECT_THAT(keys.Find("a"), Pointee(std::string("1")));
  EXPECT_OK(keys.Check("a", "1"));
  EXPECT_THAT(keys.Check("a", "22"), StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("key \"a\"")));
  keys.Set("a", "22");
  EXPECT_THAT(keys.Find("a"), Pointee(std::string("1"))) << "the first value stays";
}

TEST(RendezvousKeys, AnEmptyValueIsAValue) {
  RendezvousKeys keys;
  keys.Set("a", "");
  EXPECT_THAT(keys.Find("a"), Pointee(std::string()));
  EXPECT_FALSE(keys.Check("a", "1").ok());
}

TEST(RendezvousKeys, BytesAreBoundedAndClearGivesThemBack) {
  RendezvousKeys keys;
  const std::string big(RendezvousKeys::kMostBytes - 2, 'x');
  ASSERT_OK(keys.Check("a", big));
  keys.Set("a", big);
  EXPECT_OK(keys.Check("b", ""));
  EXPECT_THAT(keys.Check("b", "12"), StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("no room for \"b\"")));
  EXPECT_OK(keys.Check("a", big)) << "repeating what is there needs no room";
  keys.Clear();
  EXPECT_EQ(keys.Find("a"), nullptr);
  EXPECT_OK(keys.Check("b", "12"));
  EXPECT_EQ(keys, RendezvousKeys());
}

TEST(RendezvousKeys, CountIsBounded) {
  RendezvousKeys keys;
  for (size_t i = 0; i < RendezvousKeys::kMostKeys; ++i) keys.Set(std::to_string(i), "");
  EXPECT_THAT(keys.Check("one more", ""), StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("65536 keys")));
}

}  // namespace
}  // namespace ringmaster::coordinator
