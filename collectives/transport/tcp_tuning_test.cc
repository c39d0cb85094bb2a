#include "collectives/transport/tcp_tuning.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cstring>
#include <string>
#include <utility>

#include "common/file_descriptor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ringmaster {
namespace {

sockaddr_in Address(const char* text) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  EXPECT_EQ(inet_pton(AF_INET, text, &address.sin_addr), 1);
  return address;
}

struct Connection {
  FileDescriptor listener;  // holds the other end
  FileDescriptor stream;
};

// Between two addresses of this host.
Connection Connect(const char* from, const char* to) {
  FileDescriptor listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in there = Address(to);
  socklen_t length = sizeof(there);
  EXPECT_EQ(bind(listener.get(), reinterpret_cast<const sockaddr*>(&there), length), 0);
  EXPECT_EQ(listen(listener.get(), 1), 0);
  EXPECT_EQ(getsockname(listener.get(), reinterpret_cast<sockaddr*>(&there), &length), 0);
  FileDescriptor stream(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in here = Address(from);
  EXPECT_EQ(bind(stream.get(), reinterpret_cast<const sockaddr*>(&here), sizeof(here)), 0);
  EXPECT_EQ(connect(stream.get(), reinterpret_cast<const sockaddr*>(&there), length), 0);
  return {std::move(listener), std::move(stream)};
}

std::string CongestionControlOf(const FileDescriptor& stream) {
  char name[16] = {};
  socklen_t length = sizeof(name);
  EXPECT_EQ(getsockopt(stream.get(), IPPROTO_TCP, TCP_CONGESTION, name, &length), 0);
  return {name, strnlen(name, length)};
}

TEST(TuneTcpStream, DoesNotPaceWithinAHost) {
  const auto [listener, stream] = Connect("127.0.0.1", "127.0.0.1");
  TuneTcpStream(stream.get());
  EXPECT_EQ(CongestionControlOf(stream), "reno");
}

TEST(TuneTcpStream, SharesTheLinksOfNearHostsEvenly) {
  const auto [listener, stream] = Connect("127.0.0.1", "127.0.0.2");
  TuneTcpStream(stream.get());
  // Not every system allows the first.
  EXPECT_THAT(CongestionControlOf(stream), ::testing::AnyOf("cubic", "reno"));
}

TEST(TuneTcpStream, SendsWithoutDelay) {
  const auto [listener, stream] = Connect("127.0.0.1", "127.0.0.1");
  TuneTcpStream(stream.get());
  int no_delay = 0;
  socklen_t length = sizeof(no_delay);
  ASSERT_EQ(getsockopt(stream.get(), IPPROTO_TCP, TCP_NODELAY, &no_delay, &length), 0);
  EXPECT_NE(no_delay, 0);
}

}  // namespace
}  // namespace ringmaster
