// Ranks on several machines, each a group of processes with a memory of its own: every call, and every fault.
#include <doctest/doctest.h>
#include <fcntl.h>

#include <csignal>
#include <thread>

#include "base/rng.h"
#include "tests/cli/program.h"
#include "tests/comm/every_call.h"
#include "tests/comm/forked_machines.h"

using namespace ov;
using namespace ov::test;

namespace {

using std::chrono::milliseconds;

void all_of(const std::vector<Ended>& ended, int exit = 0) {
  for (const Ended& e : ended) CHECK_MESSAGE(e.exit == exit, e.error);
}

std::string errors_of(const std::vector<Ended>& ended) {
  std::string all;
  for (const Ended& e : ended) all += e.error + (e.error.empty() ? "" : "\n");
  return all;
}

// Steps without end.
void work(ProcessRanks& ranks) {
  const Tensor t = numbers(Dtype::f32, 200000, ranks.rank());
  for (std::int64_t step = 1;; ++step) {
    ranks.at_step(step);
    ranks.all_reduce(t);
    ranks.broadcast(t, 1);
    ranks.barrier();
  }
}

// Of this process's sockets those that lead to other machines.
std::vector<int> connections() {
  std::vector<int> found;
  for (int fd = 3; fd < 256; ++fd) {
    sockaddr_storage a{};
    socklen_t n = sizeof a;
    if (::getpeername(fd, reinterpret_cast<sockaddr*>(&a), &n) == 0 && a.ss_family == AF_INET) found.push_back(fd);
  }
  return found;
}

// Descriptors that a program which this process starts would have too.
int handed_on() {
  int n = 0;
  for (int fd = 3; fd < 256; ++fd)
    if (const int flags = ::fcntl(fd, F_GETFD); flags >= 0) n += !(flags & FD_CLOEXEC);
  return n;
}

}  // namespace

TEST_CASE("machines: every call, on two and three of 1 to 3 ranks, blocked and dealt; messages longer than a ring") {
  const std::vector<std::vector<int>> jobs = {{1, 1}, {2, 1}, {1, 3}, {2, 2, 1}};
  for (const std::vector<int>& machines : jobs)
    for (const bool dealt : {false, true}) {
      if (dealt && machines.size() == 2 && machines[0] == 1) continue;  // the same
      all_of(in_machines(
          machines, 20,
          [](ProcessRanks& ranks) {
            every_call(ranks, cpu(), {0, 1, 7, 4096}, {Dtype::f32, Dtype::bf16, Dtype::i64});
            every_call(ranks, cpu(), {400001}, {Dtype::f32});
          },
          {}, dealt));
    }
}

TEST_CASE("machines: a ring that is full stops its own pair and no other") {
  all_of(in_machines({2, 2}, 20, [](ProcessRanks& ranks) {
    const Tensor large = numbers(Dtype::f32, 1 << 20, 0), small = numbers(Dtype::f32, 5, 0);
    const auto word = [&](int from, int to) {
      const Tensor t = numbers(Dtype::f32, 5, ranks.rank() == from ? 7 : 8);
      if (ranks.rank() == from) ranks.send(t, to);
      if (ranks.rank() == to) ranks.recv(t, from), require(same_bits(t, numbers(Dtype::f32, 5, 7)), "the word");
    };
    // 0 fills its rings to 2, which hears 3 and 1 before it takes anything of 0.
    if (ranks.rank() == 0) ranks.send(large, 2);
    word(1, 2), word(1, 3), word(3, 2), word(3, 1);
    if (ranks.rank() == 2) {
      const Tensor got = Tensor::like(large);
      std::this_thread::sleep_for(milliseconds(50));
      ranks.recv(got, 0);
      require(same_bits(got, large), "the large one");
    }
  }));
}

TEST_CASE("machines: over IPv6, by name, and with nothing left open") {
  if (const FreePort v6(true); v6.bound()) {  // there are machines without
    all_of(in_places(places_of({2, 1}, v6.address()), 20, [](ProcessRanks& ranks) { ranks.barrier(); }));
    CHECK(v6.nobody_listens());
  }
  // A machine's first rank in this process: what it opened is closed when it is gone.
  const FreePort port;
  const std::vector<RankInJob> places = places_of({1, 1}, "localhost:" + host_port(port.address(), "a test").port);
  const int before = open_descriptors(), before_handed_on = handed_on();
  std::thread other([&] {
    ProcessRanks ranks(places[1], 20);
    ranks.barrier(), ranks.leave();
  });
  {
    ProcessRanks ranks(places[0], 20);
    CHECK(contains(of_process("/proc/self/maps"), "memfd:onevision-ranks"));
    CHECK(handed_on() == before_handed_on);
    ranks.barrier(), ranks.leave();
  }
  other.join();
  CHECK(open_descriptors() == before);
  CHECK_FALSE(contains(of_process("/proc/self/maps"), "memfd:onevision-ranks"));
  CHECK(port.nobody_listens());
}

TEST_CASE("machines: an error of one rank is the error of all, at once, with its own text") {
  for (int fails = 0; fails < 4; ++fails) {
    const auto start = std::chrono::steady_clock::now();
    const auto ended = in_machines({2, 2}, 60, [=](ProcessRanks& ranks) {
      ranks.barrier();
      if (ranks.rank() == fails) input_error("rank ", fails, " read nonsense");
      work(ranks);
    });
    all_of(ended, 2);
    CHECK(errors_of(ended) == cat("rank ", fails, " read nonsense\n"));
    CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(20));
  }
}

TEST_CASE("machines: a rank that is killed, on any machine and at any time, is known to the others at once") {
  const Philox random(17, "kills", 0);
  for (int trial = 0; trial < 10; ++trial) {
    const auto victim = static_cast<std::size_t>(trial % 5);
    const auto delay = std::chrono::microseconds(random.u64(static_cast<std::uint64_t>(trial)) % 20000);
    const auto start = std::chrono::steady_clock::now();
    const auto ended = in_machines({2, 2, 1}, 60, work, [&](const std::vector<pid_t>& children) {
      std::this_thread::sleep_for(milliseconds(80) + delay);
      ::kill(children[victim], SIGKILL);
    });
    CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(30));
    for (std::size_t r = 0; r < 5; ++r) CHECK_MESSAGE(ended[r].exit == (r == victim ? -SIGKILL : 3), ended[r].error);
    // Who died before all had met is named by what was there of it.
    const std::string said = errors_of(ended);
    CHECK_MESSAGE(contains(said, " ended"), said);
  }
}

TEST_CASE("machines: one that loses all its ranks at once, and one whose connection is cut") {
  for (const bool cut : {false, true}) {
    const auto ended = in_machines(
        {1, 2, 2}, 60,
        [=](ProcessRanks& ranks) {
          ranks.barrier();
          if (cut && ranks.rank() == 1)
            for (const int fd : connections()) ::shutdown(fd, SHUT_RDWR);
          work(ranks);
        },
        [&](const std::vector<pid_t>& children) {
          std::this_thread::sleep_for(milliseconds(150));
          if (!cut) ::kill(children[1], SIGKILL), ::kill(children[2], SIGKILL);
        });
    const std::string said = errors_of(ended);
    for (const std::size_t r : {0, 3, 4}) CHECK_MESSAGE(ended[r].exit == 3, ended[r].error);
    CHECK_MESSAGE((contains(said, "rank 1 ended without a word in step ") || contains(said, "rank 2 ended")), said);
    for (const std::size_t r : {1, 2}) CHECK(ended[r].exit == (cut ? 3 : -SIGKILL));
  }
}

TEST_CASE("machines: a rank that may be lost, and is, stops nobody but who waits for it; all it said is there") {
  for (const bool whole : {false, true}) {  // its machine with it
    const std::vector<int> machines = whole ? std::vector<int>{2, 1} : std::vector<int>{1, 2};
    const int victim = 2, other = 1;
    const auto ended = in_machines(machines, 30, [&](ProcessRanks& ranks) {
      const std::vector<int> last = {victim};
      if (ranks.rank() == 0) ranks.may_lose(last);
      ranks.barrier();
      const Tensor large = numbers(Dtype::f32, 300000, victim);  // longer than what a ring holds
      if (ranks.rank() == victim) {
        ranks.send(numbers(Dtype::f32, 3, victim), other);  // which never takes it
        ranks.send(large, 0);
        const Tensor heard({3}, Dtype::f32, cpu());
        if (whole) ranks.recv(heard, 0);                     // what its bridge has not sent dies with it
        else ranks.send(numbers(Dtype::f32, 200000, 5), 0);  // what is in the rings when it dies
        ::kill(::getpid(), SIGKILL);
      }
      if (ranks.rank() == 0) {
        const Tensor t = Tensor::like(large);
        ranks.recv(t, victim);
        require(same_bits(t, large), "the first message of the lost");
        if (whole) ranks.send(numbers(Dtype::f32, 3, 0), victim);
        while (!ranks.lost(victim)) std::this_thread::sleep_for(milliseconds(1));
        const Tensor u({200000}, Dtype::f32, cpu());
        if (!whole) {
          ranks.recv(u, victim);
          require(same_bits(u, numbers(Dtype::f32, 200000, 5)), "the second, taken after its end");
        }
        std::string said;
        try {
          ranks.recv(u, victim);
        } catch (const RankLost& e) { said = e.what(); }
        require(said.starts_with("rank 2 is lost: killed, or out of memory; rank 0 waited for it in recv"), said);
        ranks.send(Tensor::zeros({1 << 22}, Dtype::f32, cpu()), victim);  // goes nowhere
      }
      const Tensor word = Tensor::of(std::vector<std::int64_t>{ranks.rank() == 0 ? 5 : 0}, {1});
      ranks.broadcast(word, 0);
      require(word.to_vector<std::int64_t>()[0] == 5, "rank 1 hears rank 0");
      ranks.barrier();
    });
    CHECK(ended[2].exit == -SIGKILL);
    for (const std::size_t r : {0, 1}) CHECK_MESSAGE(ended[r].exit == 0, ended[r].error);
  }
}

TEST_CASE("machines: with its first rank a machine has lost its bridge: the others there end, those elsewhere go on") {
  const auto ended = in_machines({2, 2}, 30, [&](ProcessRanks& ranks) {
    const std::vector<int> expendable = {2, 3};
    if (ranks.rank() == 0) ranks.may_lose(expendable);
    ranks.barrier();
    if (ranks.rank() == 2) ::kill(::getpid(), SIGKILL);
    const Tensor word({1}, Dtype::i64, cpu());
    if (ranks.rank() == 3) ranks.recv(word, 1);  // which never comes
    while (!ranks.lost(2) || !ranks.lost(3)) std::this_thread::sleep_for(milliseconds(1));
    ranks.barrier();
  });
  CHECK(ended[2].exit == -SIGKILL);
  CHECK(ended[3].exit == 3);
  CHECK_MESSAGE(ended[3].error.find("rank 2 ended without a word") != std::string::npos, ended[3].error);
  for (const std::size_t r : {0, 1}) CHECK_MESSAGE(ended[r].exit == 0, ended[r].error);
}

TEST_CASE("machines: a silent rank ends the others with rank, call and step; a machine that stands still only slows") {
  const auto silent = in_machines({1, 1}, 1.5, [](ProcessRanks& ranks) {
    ranks.at_step(3);
    if (ranks.rank() == 0) ranks.recv(numbers(Dtype::f32, 9, 0), 1);
    ranks.at_step(8);
    std::this_thread::sleep_for(milliseconds(2500));
    ranks.barrier();
  });
  all_of(silent, 3);
  CHECK_MESSAGE(contains(silent[0].error,
                         "rank 0 waited 1.5 s (comm.timeout) in recv of step 3 for a message from "
                         "rank 1, which is in no call of step 8"),
                silent[0].error);

  all_of(in_machines({1, 1}, 1.5, [](ProcessRanks& ranks) {
    if (ranks.rank() == 0) {
      const Alone exports(ranks);
      std::this_thread::sleep_for(milliseconds(2200));
    }
    ranks.barrier();
  }));

  all_of(in_machines(
      {2, 2}, 5,
      [](ProcessRanks& ranks) {
        const Tensor t = numbers(Dtype::f32, 100000, ranks.rank());
        for (int i = 0; i < 300; ++i) ranks.all_reduce(t);
        ranks.barrier();
      },
      [](const std::vector<pid_t>& children) {
        std::this_thread::sleep_for(milliseconds(100));
        for (const std::size_t r : {2, 3}) ::kill(children[r], SIGSTOP);
        std::this_thread::sleep_for(milliseconds(700));
        for (const std::size_t r : {2, 3}) ::kill(children[r], SIGCONT);
      }));
}

TEST_CASE("machines: a rank that leaves early leaves what it said, and its machine's bridge, behind") {
  all_of(in_machines({2, 2}, 20, [](ProcessRanks& ranks) {
    const Tensor t = numbers(Dtype::f32, 60000, 4);
    if (ranks.rank() == 0) return ranks.send(t, 3);
    if (ranks.rank() == 2) return;
    std::this_thread::sleep_for(milliseconds(300));
    if (ranks.rank() == 1) ranks.send(t, 3);
    for (const int from : {0, 1}) {
      if (ranks.rank() != 3) continue;
      const Tensor got = Tensor::like(t);
      ranks.recv(got, from);
      require(same_bits(got, t), cat("what rank ", from, " said"));
    }
  }));
}
