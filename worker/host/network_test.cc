// Held ports and local addresses, on the loopback interface.
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <optional>
#include <string>

#include "common/file_descriptor.h"
#include "common/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/host/held_port.h"
#include "worker/host/local_address.h"

namespace ringmaster {
namespace {

using ::ringmaster::testing::StatusIs;
using ::testing::HasSubstr;

FileDescriptor BindTo(int port) {
  FileDescriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  if (bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) socket.Reset();
  return socket;
}

TEST(HeldPort, IsOursUntilItIsReleasedAndFreeAtOnceThen) {
  ASSERT_OK_AND_ASSIGN(HeldPort taken, HeldPort::Take());
  std::optional<HeldPort> held(std::move(taken));
  const int port = held->port();
  EXPECT_FALSE(BindTo(port).valid());

  held.reset();

  EXPECT_TRUE(BindTo(port).valid());
}

TEST(HeldPort, TwoAreDifferent) {
  ASSERT_OK_AND_ASSIGN(const HeldPort first, HeldPort::Take());
  ASSERT_OK_AND_ASSIGN(const HeldPort second, HeldPort::Take());
  EXPECT_NE(first.port(), second.port());
}

class LocalAddress : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(listen(listener_.get(), 1), 0);
    sockaddr_in address{};
    socklen_t length = sizeof(address);
    getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &length);
    port_ = std::to_string(ntohs(address.sin_port));
  }

  const FileDescriptor listener_ = BindTo(0);
  std::string port_;
};

TEST_F(LocalAddress, IsTheOneThatReachesThePeer) {
  ASSERT_OK_AND_ASSIGN(const std::string local, LocalAddressTowards("127.0.0.1:" + port_, absl::Seconds(5)));
  EXPECT_EQ(local, "127.0.0.1");
}

TEST_F(LocalAddress, OfANameIsResolved) {
  addrinfo* found = nullptr;
  if (getaddrinfo("localhost", nullptr, nullptr, &found) != 0) GTEST_SKIP() << "SKIPPED: this machine does not resolve localhost";
  freeaddrinfo(found);
  EXPECT_OK(LocalAddressTowards("localhost:" + port_, absl::Seconds(5)));
}

TEST_F(LocalAddress, NobodyListens_IsUnavailable) {
  ASSERT_OK_AND_ASSIGN(const HeldPort nobody, HeldPort::Take());

  EXPECT_THAT(LocalAddressTowards("127.0.0.1:" + std::to_string(nobody.port()), absl::Seconds(5)),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("Connection refused")));
}

TEST_F(LocalAddress, NotHostAndPort_IsInvalid) {
  for (const char* text : {"", "host", ":7077", "host:"}) {
    EXPECT_THAT(LocalAddressTowards(text, absl::Seconds(1)), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("HOST:PORT")));
  }
}

}  // namespace
}  // namespace ringmaster
