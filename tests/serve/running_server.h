// A server on the loopback before a small random model, and clients that keep to no rule.
#pragma once
#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "base/text.h"
#include "serve/http.h"
#include "serve/server.h"
#include "tests/serve/served_model.h"

namespace ov::test {

struct Running {
  explicit Running(serve::ServerOptions options = {}, EngineOptions engine_options = SmallService{}.engine())
      : service(small.service()), engine(*small.model, engine_options) {
    options.port = 0;
    server = std::make_unique<serve::Server>(service, engine, options);
  }
  httplib::Client client() const {
    httplib::Client c("127.0.0.1", static_cast<int>(server->port()));
    c.set_read_timeout(60);
    return c;
  }
  Json post(const std::string& path, const std::string& body, int status = 200) const {
    auto c = client();
    const auto r = c.Post(path, body, "application/json");
    REQUIRE(r);
    CHECK_MESSAGE(r->status == status, r->body);
    return Json::parse(r->body, "answer");
  }
  SmallService small;
  serve::Service service;
  Engine engine;
  std::unique_ptr<serve::Server> server;
};

// Bytes as they are, over a connection of their own; what comes back until the server closes, or `most` seconds.
// `meanwhile`: when they are sent.
inline std::string raw(const Running& r, const std::string& bytes, bool half_close = false, int most = 2,
                       const std::function<void()>& meanwhile = nullptr) {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET, to.sin_port = htons(static_cast<std::uint16_t>(r.server->port()));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const timeval limit{.tv_sec = most, .tv_usec = 0};
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  std::string got;
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0) {
    ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (meanwhile) meanwhile();
    if (half_close) ::shutdown(fd, SHUT_WR);
    char buffer[4096];
    for (ssize_t n; most > 0 && (n = ::recv(fd, buffer, sizeof buffer, 0)) > 0;)
      got.append(buffer, static_cast<std::size_t>(n));
  }
  ::close(fd);
  return got;
}

inline std::string http(const std::string& body, const std::string& path = "/v1/chat/completions") {
  return cat("POST ", path, " HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: ", body.size(), "\r\n\r\n",
             body);
}

inline std::ptrdiff_t open_files() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), std::filesystem::directory_iterator());
}

template <class F>
bool soon(F&& f) {
  for (int i = 0; i < 500; ++i) {
    if (f()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

}  // namespace ov::test
