#include "collectives/transport/tcp_endpoint.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <cstddef>
#include <string_view>

#include "common/status_matchers.h"

namespace ringmaster {
namespace {

using ::testing::HasSubstr;
using testing::StatusIs;

const PublishedEndpoint kShared = {.address = "10.0.0.7",
                                   .port = 4100,
                                   .secret = 77,
                                   .host_identity = "boot/4/12",
                                   .local_name = "0af3",
                                   .pid = 812,
                                   .channels = 4,
                                   .host = "h2 in rack 3"};

TEST(PublishedEndpoint, ALineComesBackAsItWas) {
  EXPECT_EQ(kShared.ToLine(), "10.0.0.7 4100 77 boot/4/12 0af3 812 4 h2 in rack 3");
  ASSERT_OK_AND_ASSIGN(const PublishedEndpoint parsed, PublishedEndpoint::Parse(kShared.ToLine(), 2));
  EXPECT_EQ(parsed.ToLine(), kShared.ToLine());
  EXPECT_EQ(parsed.host, "h2 in rack 3");
  EXPECT_EQ(parsed.channels, 4);

  PublishedEndpoint alone = kShared;
  alone.host_identity.clear();
  alone.local_name.clear();
  EXPECT_EQ(alone.ToLine(), "10.0.0.7 4100 77 - - 812 4 h2 in rack 3");
  ASSERT_OK_AND_ASSIGN(const PublishedEndpoint parsed_alone, PublishedEndpoint::Parse(alone.ToLine(), 2));
  EXPECT_EQ(parsed_alone.host_identity, "");
  EXPECT_EQ(parsed_alone.local_name, "");
}

TEST(PublishedEndpoint, GarbageIsRefusedAndSaysWhose) {
  for (const std::string& line :
       {std::string(), std::string("hello"), std::string("10.0.0.7 4100 77 - - 812 1"), std::string("10.0.0.7 0 77 - - 812 1 h"),
        std::string("10.0.0.7 65536 77 - - 812 1 h"), std::string("10.0.0.7 4100 -1 - - 812 1 h"),
        std::string("10.0.0.7 4100 77 - - x 1 h"), std::string("10.0.0.7 4100 77 - - 812 0 h"),
        std::string("10.0.0.7 4100 77 - - 812 h h"), "10.0.0.7 4100 77 a " + std::string(65, 'n') + " 812 1 h"}) {
    EXPECT_THAT(PublishedEndpoint::Parse(line, 3), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("rank 3 published")))
        << line;
  }
  EXPECT_OK(PublishedEndpoint::Parse("10.0.0.7 65535 77 a " + std::string(64, 'n') + " 812 1 h", 3).status());
}

TEST(PublishedEndpoint, OnlyWhoSharesTheHostCallsTheUnixSocket) {
  ASSERT_OK_AND_ASSIGN(const TcpEndpoint local, kShared.SeenFrom("boot/4/12"));
  EXPECT_TRUE(local.is_local);
  const auto& name = reinterpret_cast<const sockaddr_un&>(local.address);
  EXPECT_EQ(name.sun_family, AF_UNIX);
  EXPECT_EQ(std::string_view(name.sun_path, local.length - offsetof(sockaddr_un, sun_path)), std::string_view("\0000af3", 5));

  for (const std::string& identity : {std::string("boot/4/13"), std::string()}) {
    ASSERT_OK_AND_ASSIGN(const TcpEndpoint far, kShared.SeenFrom(identity));
    EXPECT_FALSE(far.is_local);
    const auto& address = reinterpret_cast<const sockaddr_in&>(far.address);
    EXPECT_EQ(address.sin_family, AF_INET);
    EXPECT_EQ(ntohs(address.sin_port), 4100);
    EXPECT_EQ(ntohl(address.sin_addr.s_addr), 0x0a000007u);
  }
}

TEST(PublishedEndpoint, TwoThatShareNothingDoNotShareThat) {
  PublishedEndpoint alone = kShared;
  alone.host_identity.clear();
  alone.local_name.clear();
  ASSERT_OK_AND_ASSIGN(const TcpEndpoint seen, alone.SeenFrom(""));
  EXPECT_FALSE(seen.is_local);
}

TEST(ResolveEndpoint, TakesNumericAddressesAlone) {
  ASSERT_OK_AND_ASSIGN(const TcpEndpoint six, ResolveEndpoint("::1", 9));
  EXPECT_EQ(six.address.ss_family, AF_INET6);
  EXPECT_EQ(six.length, sizeof(sockaddr_in6));
  EXPECT_THAT(ResolveEndpoint("localhost", 9), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("\"localhost\"")));
}

}  // namespace
}  // namespace ringmaster
