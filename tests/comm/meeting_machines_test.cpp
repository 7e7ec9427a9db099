// How machines find each other, and who is turned away.
#include <doctest/doctest.h>

#include <thread>

#include "base/clock.h"
#include "tests/comm/forked_machines.h"

using namespace ov;
using namespace ov::test;

namespace {

// Each place in a thread of this process; the errors.
std::vector<std::string> meet_all(const std::vector<RankInJob>& places, double seconds,
                                  const std::function<void()>& meanwhile = {}) {
  std::vector<std::string> errors(places.size());
  std::vector<std::thread> threads;
  for (std::size_t p = 0; p < places.size(); ++p)
    threads.emplace_back([&, p] {
      try {
        ProcessRanks ranks(places[p], seconds);
        ranks.barrier(), ranks.leave();
      } catch (const Error& e) { errors[p] = e.what(); }
    });
  if (meanwhile) meanwhile();
  for (std::thread& t : threads) t.join();
  return errors;
}

RankInJob alone(int rank, int ranks, const std::string& address, const std::string& job = "j") {
  return {rank, ranks, fresh_job(), "A, B", Share{0, 1, job, address, "C"}};
}

Descriptor knock(const std::string& address) {
  std::string why;
  return connect_to(host_port(address, "a test"), monotonic_seconds() + 5, &why);
}

}  // namespace

TEST_CASE("machines meet: addresses") {
  CHECK(host_port("node3:29500", "k").host == "node3");
  CHECK(host_port("[fd00::3]:1", "k").said() == "[fd00::3]:1");
  for (const char* text : {"", "node3", "node3:", ":1", "fd00::3:1", "a:0", "a:65536", "a:1x", "a:-1", "[]:1"})
    CHECK(contains(thrown([&] { host_port(text, "comm.address"); }),
                   "comm.address: expected HOST:PORT or [ADDRESS]:PORT with a port from 1 to 65535, found '"));
}

TEST_CASE("machines meet: a machine's own name that leads to itself alone is taken for its interface's address") {
  using List = std::vector<std::string>;
  const List one = {"127.0.0.1", "10.0.0.3", "::1", "fe80::1%eth0", "fd00::3", "169.254.0.9"};
  CHECK(as_others_see("node1", {"127.0.1.1"}, one) == List{"10.0.0.3"});
  CHECK(as_others_see("node1", {"127.0.1.1", "::1"}, {"127.0.0.1", "::1", "fd00::3"}) == List{"fd00::3"});
  CHECK(as_others_see("node1", {"127.0.1.1"}, {"127.0.0.1", "10.0.0.3", "172.17.0.1"}) ==
        List{"10.0.0.3", "172.17.0.1"});
  // What is known elsewhere, what means this machine, and a machine without a network stay as they are.
  for (const auto& [name, resolved] : {std::pair<std::string, List>{"node1", {"127.0.1.1", "10.0.0.3"}},
                                       {"node2", {"10.0.0.4"}},
                                       {"localhost", {"127.0.0.1", "::1"}},
                                       {"localhost.localdomain", {"127.0.0.1"}},
                                       {"127.0.0.1", {"127.0.0.1"}},
                                       {"127.1", {"127.0.0.1"}},
                                       {"2130706433", {"127.0.0.1"}},
                                       {"0:0:0:0:0:0:0:1", {"::1"}},
                                       {"LOCALHOST", {"127.0.0.1"}},
                                       {"::1", {"::1"}}})
    CHECK(as_others_see(name, resolved, one) == resolved);
  CHECK(as_others_see("node1", {"127.0.1.1"}, {"127.0.0.1", "::1"}) == List{"127.0.1.1"});
  CHECK(as_others_see("nobody", {}, one).empty());
}

TEST_CASE("machines meet: a machine that never comes is named by its ranks, on all that came") {
  const FreePort port;
  std::vector<RankInJob> places = places_of({2, 1, 2}, port.address());
  places.erase(places.begin() + 3, places.end());
  const auto errors = meet_all(places, 0.5);
  const std::string expected =
      cat("rank 0: rank 3, 4 of 5 (a test) did not come to ", port.address(), " within 0.5 s (comm.timeout)");
  for (const std::string& e : errors) CHECK(e == expected);

  // A rank that is missing here, and rank 0's machine that is missing.
  places = places_of({2, 2}, port.address());
  CHECK(contains(meet_all({places[2]}, 0.2)[0], "rank 2: local rank 1 of 2 (a test) did not come within 0.2 s"));
  CHECK(contains(meet_all({places[3]}, 0.2)[0], "rank 3: local rank 0 of 2 (a test) did not come within 0.2 s"));
  CHECK(contains(meet_all({alone(1, 2, port.address())}, 0.2)[0],
                 cat("rank 1: rank 0 of 2 (A, B) did not come to ", port.address(), " within 0.2 s (comm.timeout): ")));
  CHECK(port.nobody_listens());
}

TEST_CASE("machines meet: other counts, ranks that stand twice, no address, an address of nobody here") {
  const auto both = [](const RankInJob& a, const RankInJob& b) {
    const auto errors = meet_all({a, b}, 5);
    CHECK(errors[0] == errors[1]);
    return errors[0];
  };
  const FreePort port, second;
  CHECK(both(alone(0, 2, port.address()), alone(1, 3, port.address())) ==
        "ranks: rank 1 says there are 3 ranks, rank 0 2 (A, B); give every machine the same number of ranks and of "
        "machines");
  RankInJob two = alone(0, 3, second.address());
  std::vector<RankInJob> three = {two, alone(1, 3, second.address()), alone(1, 3, second.address())};
  const auto errors = meet_all(three, 5);
  CHECK(errors[0] == "ranks: two processes are rank 1 (A, B)");
  CHECK(errors[1] == errors[0]);
  CHECK(errors[2] == errors[0]);
  CHECK(contains(meet_all({alone(0, 2, "")}, 1)[0], "nobody says where rank 0 is: set comm.address HOST:PORT"));
  CHECK(contains(meet_all({alone(0, 2, "192.0.2.1:9")}, 1)[0], "C: rank 0 cannot listen at 192.0.2.1:9: "));
  CHECK(meet_all({alone(0, 2, "192.0.2.1:9")}, 1)[0].ends_with("; it is no address of this machine, where rank 0 is"));
  const FreePort taken;
  REQUIRE(taken.nobody_listens());  // from here on it listens itself
  CHECK(meet_all({alone(0, 2, taken.address())}, 1)[0].ends_with(
      "; by another run, or by a second machine that is node 0 too"));
  CHECK(contains(meet_all({alone(0, 2, "no-such-host.invalid:9")}, 1)[0], "C: no-such-host.invalid: "));
}

TEST_CASE("machines meet: strangers who say nothing, rubbish, another job or another version") {
  const FreePort port;
  const std::vector<RankInJob> places = {alone(0, 2, port.address()), alone(1, 2, port.address())};
  std::vector<Descriptor> strangers;
  std::string refused;
  const auto errors = meet_all({places[0]}, 1, [&] {
    for (const char* said : {"", "GET / HTTP/1.1\r\n\r\n", "ovnd\1\0\0\0\2\0\0\0[]"}) {
      strangers.push_back(knock(port.address()));
      REQUIRE(strangers.back().get() >= 0);
      const std::size_t n = said[0] == 'o' ? 14 : std::strlen(said);
      CHECK(::send(strangers.back().get(), said, n, MSG_NOSIGNAL) == static_cast<ssize_t>(n));
    }
    refused = meet_all({alone(1, 2, port.address(), "k")}, 5)[0];
  });
  CHECK(refused == cat("ranks: ", port.address(), " is rank 0's of the job 'j', not of 'k'"));
  CHECK(errors[0].starts_with(cat("rank 0: rank 1 of 2 (A, B) did not come to ", port.address(),
                                  " within 1 s (comm.timeout); turned away, as not of this job: 127.0.0.1:")));
  CHECK(contains(errors[0], ", 127.0.0.1:"));

  // They hold up nobody: all of them are there before rank 1 comes.
  const FreePort busy;
  std::string second;
  const auto first = meet_all({alone(0, 2, busy.address())}, 20, [&] {
    for (int i = 0; i < 5; ++i) {
      strangers.push_back(knock(busy.address()));
      CHECK(strangers.back().get() >= 0);
    }
    second = meet_all({alone(1, 2, busy.address())}, 20)[0];
  });
  CHECK(first[0] + second == "");

  const FreePort later;
  const auto version = meet_all({alone(0, 2, later.address())}, 5, [&] {
    strangers.push_back(knock(later.address()));
    CHECK(::send(strangers.back().get(), "ovnd\2\0\0\0\2\0\0\0[]", 14, MSG_NOSIGNAL) == 14);
  });
  CHECK(contains(version[0], " speaks version 2, rank 0 version 1: expected one build of this program"));
}
