// Who is no rank, or says what no rank says: at the door of a machine's first rank, and in the place of a machine.
#include <doctest/doctest.h>
#include <sys/un.h>

#include <cstddef>
#include <cstring>
#include <thread>

#include "base/clock.h"
#include "comm/link.h"
#include "comm/machines.h"
#include "tests/comm/forked_machines.h"

using namespace ov;
using namespace ov::test;

namespace {

// As comm/meeting.cpp has it.
struct Hello {
  std::uint32_t magic = 0x6f763032;
  std::int32_t rank = 0, ranks = 0, rank_here = 0, ranks_here = 0;
};
struct Answer {
  std::int32_t first = 0, exit = 0;
  char refusal[4096] = {};
};

// Connected to where the job's first rank listens, which may come later.
Descriptor knock(const std::string& job) {
  Descriptor socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string name = cat("onevision/", ::getuid(), "/", job);
  std::memcpy(address.sun_path + 1, name.data(), name.size());
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  for (const double until = monotonic_seconds() + 10;
       ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0;) {
    if (monotonic_seconds() > until) return {};  // what is said there goes nowhere
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return socket;
}

void say(const Descriptor& socket, const void* bytes, std::size_t n) {
  CHECK(::send(socket.get(), bytes, n, MSG_NOSIGNAL) == static_cast<ssize_t>(n));
}

std::string error_of(const RankInJob& place, double seconds) {
  try {
    ProcessRanks ranks(place, seconds);
    ranks.barrier(), ranks.leave();
  } catch (const Error& e) { return e.what(); }
  return "";
}

// Rank 0 of two, each a machine; `machine` is the other one, and has its connection to rank 0's. What rank 0, which
// waits for a message of rank 1, says in the end.
std::string said_by_rank_0(const std::function<void(int socket)>& machine) {
  const FreePort port;
  const std::vector<RankInJob> places = places_of({1, 1}, port.address());
  std::string said;
  std::thread rank_0([&] {
    try {
      ProcessRanks ranks(places[0], 4);
      ranks.at_step(6);
      ranks.recv(Tensor({3}, Dtype::f32, cpu()), 1);
    } catch (const Error& e) { said = e.what(); }
  });
  std::vector<OtherMachine> machines = meet_machines(places[1], {1}, 20);
  machine(machines[0].connection.get());
  rank_0.join();
  return said;
}

}  // namespace

TEST_CASE("strangers: a hello with a rank that cannot be is named on both sides, and ends the meeting") {
  struct Row {
    Hello hello;
    std::string said;
  };
  const auto hello = [](int rank, int ranks, int rank_here, int ranks_here) {
    Hello h;
    h.rank = rank, h.ranks = ranks, h.rank_here = rank_here, h.ranks_here = ranks_here;
    return h;
  };
  const Row rows[] = {
      {hello(7, 4, 1, 2), "a process says it is rank 7 of 4: they count from 0"},
      {hello(-1, 4, 1, 2), "a process says it is rank -1 of 4: they count from 0"},
      {hello(1, 4, 2, 2), "rank 1 says it is local rank 2 of 2: they count from 0"},
      {hello(1, 4, -3, 2), "rank 1 says it is local rank -3 of 2: they count from 0"},
      {hello(1, 4, 0, 2), "two processes are local rank 0"},
      {hello(0, 4, 1, 2), "two processes are rank 0"},
      {hello(1, 5, 1, 2), "rank 1 says there are 5 ranks, rank 0 4"},
      {hello(1, 4, 1, 3), "rank 1 says there are 3 ranks here, rank 0 2"},
  };
  for (const Row& row : rows) {
    const std::string job = fresh_job();
    std::string first;
    std::thread rank_0([&] { first = error_of({0, 4, job, "A, B", Share{0, 2, "j", "127.0.0.1:9", "C"}}, 5); });
    const Descriptor socket = knock(job);
    say(socket, &row.hello, sizeof row.hello);
    Answer answer;
    CHECK(::recv(socket.get(), &answer, sizeof answer, 0) > 8);
    rank_0.join();
    CHECK(first == cat("ranks: ", row.said, " (A, B)"));
    CHECK(std::string(answer.refusal) == first);
    CHECK(answer.exit == static_cast<int>(Exit::wrong_input));
  }
}

TEST_CASE("strangers: what is no hello, shorter, longer or another's, is passed over, and the ranks meet") {
  const std::string job = fresh_job();
  std::string errors[2];
  std::thread rank_0([&] { errors[0] = error_of({0, 2, job, "A, B", {}}, 10); });
  std::byte bytes[64] = {};
  const Hello right{.rank = 1, .ranks = 2, .rank_here = 1, .ranks_here = 2};
  std::memcpy(bytes, &right, sizeof right);
  std::vector<Descriptor> strangers;
  for (const std::size_t n : {std::size_t{0}, std::size_t{3}, sizeof right + 4, sizeof bytes}) {
    strangers.push_back(knock(job));
    if (n > 0) say(strangers.back(), bytes, n);
  }
  bytes[0] = std::byte{0};
  strangers.push_back(knock(job)), say(strangers.back(), bytes, sizeof right);
  errors[1] = error_of({1, 2, job, "A, B", {}}, 10);
  rank_0.join();
  CHECK(errors[0] == "");
  CHECK(errors[1] == "");
}

TEST_CASE("strangers: a machine of this job whose ranks cannot be is refused, named on both sides, and nobody waits") {
  using Member = std::pair<const char*, Json>;
  const std::pair<Member, std::string> rows[] = {
      {{"here", std::vector<int>{4}}, "here: expected a whole number from 0 to 3, found 4"},
      {{"here", std::vector<int>{-1}}, "here: expected a whole number from 0 to 3, found -1"},
      {{"here", std::vector<int>{}}, "here: expected ranks, found none"},
      {{"here", "2"}, "here: expected an array, found a string"},
      {{"ranks", 0}, "ranks: expected a whole number from 1 to 4096, found 0"},
      {{"ranks", "4"}, "ranks: expected an integer, found a string"},
      {{"port", "http"}, "port: port: expected HOST:PORT"},
      {{"port", 7}, "port: expected a string, found an integer"},
  };
  for (const auto& [member, said] : rows) {
    const FreePort port;
    std::string first;
    std::thread rank_0([&] {
      first = error_of({0, 4, fresh_job(), "A, B", Share{0, 1, "j", port.address(), "C"}}, 8);
    });
    std::string why;
    const Descriptor socket = connect_to(host_port(port.address(), "a test"), monotonic_seconds() + 5, &why);
    Json note = Json::object({{"job", "j"}, {"ranks", 4}, {"here", std::vector<int>{2, 3}}, {"port", "9"}});
    note.set(member.first, member.second);
    const double start = monotonic_seconds();
    CHECK(send_note(socket.get(), note));
    rank_0.join();
    CHECK(monotonic_seconds() - start < 8);  // comm.timeout
    CHECK_MESSAGE(first.starts_with("ranks: what 127.0.0.1:"), first);
    CHECK_MESSAGE(contains(first, " says of itself rank 0 cannot take: " + said), first);
    NoteIn answer;
    CHECK(answer.hear(socket.get()) == NoteIn::State::whole);
    CHECK(answer.note().at("refused").as_string() == first);
  }
}

TEST_CASE("strangers: a rank that another machine takes for dead learns it at once, and says so") {
  const double start = monotonic_seconds();
  const std::string said = said_by_rank_0([](int socket) {
    const Descriptor memory(SharedRegion::create(2));
    const SharedRegion region(memory.get(), 2);
    Link link(region, 2, {1}, {0});
    region.mourn(0, 1, "rank 0 ended without a word in step 6");
    link.fill(true);
    CHECK(::send(socket, link.out().data(), link.out().size(), MSG_NOSIGNAL) ==
          static_cast<ssize_t>(link.out().size()));
  });
  CHECK(said == "rank 0 ended without a word in step 6");
  CHECK(monotonic_seconds() - start < 4);  // comm.timeout
}

TEST_CASE("strangers: nonsense, and half a message, in the place of a machine end its ranks, named") {
  CHECK(contains(said_by_rank_0([](int socket) {
                   const std::string text = "GET / HTTP/1.1\r\nHost: rank 0, which is no server of HTTP\r\n\r\n";
                   ::send(socket, text.data(), text.size(), MSG_NOSIGNAL);
                 }),
                 "rank 0: from the machine of rank 1 came what is no message (kind "));
  CHECK(contains(said_by_rank_0([](int socket) {
                   const std::uint32_t half[] = {1, 8};  // data of 8 bytes, of whom nobody hears
                   ::send(socket, half, sizeof half, MSG_NOSIGNAL);
                   ::shutdown(socket, SHUT_WR);
                 }),
                 "rank 1 ended without a word in step 0: the connection to its machine, 127.0.0.1:"));
}
