#include <doctest/doctest.h>
#include <sys/prctl.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <thread>

#include "base/rng.h"
#include "comm/group.h"
#include "tests/check.h"
#include "tests/comm/every_call.h"
#include "tests/comm/forked_ranks.h"

using namespace ov;
using namespace ov::test;

namespace {

void all_of(const std::vector<Ended>& ended, int exit = 0) {
  for (const Ended& e : ended) CHECK_MESSAGE(e.exit == exit, e.error);
}

std::string the_error(const std::vector<Ended>& ended) {
  std::string error;
  for (const Ended& e : ended) {
    CHECK((e.error.empty() || error.empty()));  // one rank says it, the others end with the same code
    error += e.error;
  }
  return error;
}

}  // namespace

TEST_CASE("the sum over parts is the tree that an aligned range of them is a node of") {
  for (const int n : {1, 2, 3, 4, 5, 6, 7, 8, 11, 16})
    for (const int each : {1, 2, 4}) {
      std::vector<Tensor> parts, by_rank;
      for (int i = 0; i < n; ++i) parts.push_back(numbers(Dtype::f32, 50, i));
      for (int begin = 0; begin < n; begin += each) {
        std::vector<Tensor> own;
        for (int i = begin; i < std::min(n, begin + each); ++i) own.push_back(numbers(Dtype::f32, 50, i));
        sum_in_order(own);
        by_rank.push_back(own[0]);
      }
      sum_in_order(parts);
      sum_in_order(by_rank);
      CHECK(same_bits(parts[0], by_rank[0]));
    }
}

TEST_CASE("processes: every call, for 1 to 5 ranks, every type, sizes at the edges and larger than a ring") {
  for (const int n : {1, 2, 3, 4, 5})
    all_of(in_ranks(n, 20, [](ProcessRanks& ranks) {
      every_call(ranks, cpu(), {0, 1, 7, 4096}, {Dtype::f32, Dtype::f64, Dtype::bf16, Dtype::i64});
      every_call(ranks, cpu(), {270001, 131072 * ranks.ranks() + 1}, {Dtype::f32});
    }));
}

TEST_CASE("processes: parts of any size, none for some; only those that add are added") {
  all_of(in_ranks(3, 20, [](ProcessRanks& ranks) {
    const int me = ranks.rank();
    const auto size = [](int from, int to) { return std::int64_t{1000} * from * to; };  // rank 0 says nothing
    Parts to(3), from(3);
    for (int r = 0; r < 3; ++r) {
      from[static_cast<std::size_t>(r)] = numbers(Dtype::f32, size(me, r), me);
      to[static_cast<std::size_t>(r)] = Tensor::zeros({size(r, me)}, Dtype::f32, cpu());
    }
    ranks.all_to_all(to, from);
    for (int r = 0; r < 3; ++r)
      require(same_bits(to[static_cast<std::size_t>(r)], numbers(Dtype::f32, size(r, me), r)), cat("part of rank ", r));

    // Two of three add: -0 stays what it is.
    const Tensor whole = Tensor::zeros({5}, Dtype::f32, cpu());
    if (me < 2) whole.fill(-0.0);
    const Parts parts = {whole.slice(0, 0, 4), whole.slice(0, 4, 5), whole.slice(0, 5, 5)};
    ranks.reduce_scatter(parts[static_cast<std::size_t>(me)], parts, 2);
    ranks.all_gather(parts);
    const Tensor minus = Tensor::zeros({5}, Dtype::f32, cpu());
    minus.fill(-0.0);
    require(same_bits(whole, minus), "the third rank adds nothing");
  }));
}

TEST_CASE("processes: what does not fit is refused before anything is said; a sum leaves what it is of") {
  all_of(in_ranks(4, 20, [](ProcessRanks& ranks) {
    const auto refused = [&](const std::string& expected, const std::function<void()>& call) {
      const std::string said = thrown(call);
      require(contains(said, expected), cat(expected, ": ", said));
    };
    const Tensor whole = numbers(Dtype::f32, 8, ranks.rank()), kept = whole.contiguous_copy(),
                 part = Tensor::zeros({2}, Dtype::f32, cpu());
    refused("send of a tensor that is not contiguous", [&] {
      ranks.send(whole.view({2, 4}).slice(1, 0, 2), (ranks.rank() + 1) % 4);
    });
    refused("[7] does not divide into rows for 4 ranks", [&] { ranks.reduce_scatter(part, whole.slice(0, 0, 7)); });
    refused("reduce_scatter into f32 [1]: this rank's part is f32 [2]",
            [&] { ranks.reduce_scatter(part.slice(0, 0, 1), whole); });
    ranks.reduce_scatter(part, whole);
    require(same_bits(whole, kept), "the addends of a sum that lies elsewhere");
    ranks.barrier();
  }));
}

TEST_CASE("processes: what leaves a rank is what the header of communicator.h says") {
  all_of(in_ranks(4, 20, [](ProcessRanks& ranks) {
    constexpr std::int64_t n = 40000, bytes = 4 * n;
    std::int64_t before = 0;
    const auto sent = [&](std::int64_t expected, const char* what) {
      require(ranks.sent() - before == expected, cat(what, ": ", ranks.sent() - before, " bytes"));
      before = ranks.sent();
    };
    const Tensor whole = numbers(Dtype::f32, n, 0), part = numbers(Dtype::f32, n / 4, 0), other = Tensor::like(whole);
    ranks.all_reduce(whole), sent(2 * bytes * 3 / 4, "all_reduce");
    ranks.reduce_scatter(part, whole), sent(bytes * 3 / 4, "reduce_scatter");
    ranks.all_gather(whole, part), sent(bytes * 3 / 4, "all_gather");
    ranks.all_to_all(other, whole), sent(bytes * 3 / 4, "all_to_all");
    ranks.broadcast(whole, 1), sent(ranks.rank() == 1 ? 3 * bytes : 0, "broadcast");
    ranks.barrier(), sent(0, "barrier");
  }));
}

TEST_CASE("faults: an error of one rank is the error of all, at once, wherever they wait") {
  for (const int fails : {0, 1, 2})
    for (const bool waits : {true, false}) {
      const auto ended = in_ranks(3, 60, [=](ProcessRanks& ranks) {
        const Tensor t = numbers(Dtype::f32, 1000000, ranks.rank());
        ranks.barrier();
        if (ranks.rank() == fails) input_error("rank ", fails, " read nonsense");
        if (!waits) std::this_thread::sleep_for(std::chrono::milliseconds(50));
        for (;;) ranks.all_reduce(t);
      });
      all_of(ended, 2);
      CHECK(the_error(ended) == cat("rank ", fails, " read nonsense"));
    }
}

TEST_CASE("faults: a rank that is killed, anywhere and at any time, is known to the others at once") {
  const Philox random(11, "kills", 0);
  for (int trial = 0; trial < 12; ++trial) {
    const auto victim = static_cast<int>(random.u64(static_cast<std::uint64_t>(trial)) % 3);
    const auto delay = std::chrono::microseconds(random.u64(static_cast<std::uint64_t>(100 + trial)) % 20000);
    const auto start = std::chrono::steady_clock::now();
    const auto ended = in_ranks(
        3, 60,
        [](ProcessRanks& ranks) {
          const Tensor t = numbers(Dtype::f32, 200000, ranks.rank());
          for (std::int64_t step = 1;; ++step) {
            ranks.at_step(step);
            ranks.all_reduce(t);
            ranks.broadcast(t, 1);
            ranks.barrier();
          }
        },
        [&](const std::vector<pid_t>& children) {
          std::this_thread::sleep_for(std::chrono::milliseconds(60) + delay);
          ::kill(children[static_cast<std::size_t>(victim)], SIGKILL);
        });
    CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(30));
    for (int r = 0; r < 3; ++r) CHECK(ended[static_cast<std::size_t>(r)].exit == (r == victim ? -SIGKILL : 3));
    // One says so; two may, when the victim died before all had met.
    const std::string error = ended[0].error.empty() ? ended[1].error + ended[2].error : ended[0].error;
    CHECK_MESSAGE((contains(error, cat("rank ", victim, " ended")) || contains(error, "rank 0 ended")), error);
  }
}

TEST_CASE("faults: a rank that may be lost, and is, stops nobody but who waits for it") {
  const auto ended = in_ranks(3, 30, [](ProcessRanks& ranks) {
    const std::vector<int> last = {2};
    if (ranks.rank() == 1) {
      bool refused = false;
      try {
        ranks.may_lose(last);
      } catch (const Error&) { refused = true; }
      require(refused, "rank 1 cannot know how others end");
    }
    if (ranks.rank() == 0) ranks.may_lose(last);
    ranks.barrier();
    if (ranks.rank() == 2) {
      ranks.send(numbers(Dtype::f32, 3, 2), 0);
      ranks.send(numbers(Dtype::f32, 3, 2), 1);  // which never takes it
      ::kill(::getpid(), SIGKILL);
    }
    const Tensor t({3}, Dtype::f32, cpu());
    if (ranks.rank() == 0) {
      ranks.recv(t, 2);  // what it said before is still there
      require(same_bits(t, numbers(Dtype::f32, 3, 2)), "the message of the lost");
      std::string said;
      try {
        ranks.recv(t, 2);
      } catch (const RankLost& e) { said = e.what(); }
      require(said.starts_with("rank 2 is lost: killed, or out of memory; rank 0 waited for it in recv"), said);
      require(ranks.lost(2) && !ranks.lost(1), "rank 2 is lost");
      ranks.send(Tensor::zeros({1 << 22}, Dtype::f32, cpu()), 2);  // more than a ring holds: goes nowhere
    }
    const Tensor word = Tensor::of(std::vector<std::int64_t>{ranks.rank() == 0 ? 5 : 0}, {1});
    ranks.broadcast(word, 0);
    require(word.to_vector<std::int64_t>()[0] == 5, "rank 1 hears rank 0");
    ranks.barrier();
  });
  CHECK(ended[2].exit == -SIGKILL);
  for (const int r : {0, 1})
    CHECK_MESSAGE(ended[static_cast<std::size_t>(r)].exit == 0, ended[static_cast<std::size_t>(r)].error);
}

TEST_CASE("faults: rank 0, through which all learn how others end, is none that may be lost") {
  const auto ended = in_ranks(2, 30, [](ProcessRanks& ranks) {
    if (ranks.rank() == 0) ranks.may_lose(std::vector<int>{0, 1});
    ranks.barrier();
    ranks.at_step(5);
    if (ranks.rank() == 0) ::raise(SIGKILL);
    ranks.recv(Tensor({3}, Dtype::f32, cpu()), 0);
  });
  CHECK(contains(ended[1].error, "rank 0 ended without a word in step 5"));
}

TEST_CASE("faults: a message that never comes ends the others, with rank, call and step") {
  const auto ended = in_ranks(3, 0.3, [](ProcessRanks& ranks) {
    const Tensor t = numbers(Dtype::f32, 100, ranks.rank());
    ranks.at_step(7);
    if (ranks.rank() != 1) return ranks.all_reduce(t);
    ranks.barrier();  // another call: nobody answers
  });
  all_of(ended, 3);
  const std::string error = the_error(ended);
  CHECK(contains(error, "step 7"));
  CHECK((contains(error, "barrier") && contains(error, "reduce_scatter")));

  const auto lost = in_ranks(2, 0.3, [](ProcessRanks& ranks) {
    ranks.barrier();
    ranks.at_step(3);
    if (ranks.rank() == 0) ranks.recv(numbers(Dtype::f32, 9, 0), 1);
    else std::this_thread::sleep_for(std::chrono::seconds(1));
  });
  CHECK(contains(lost[0].error,
                 "rank 0 waited 0.3 s (comm.timeout) in recv of step 3 for a message from rank 1, "
                 "which is in no call of step 3"));
  CHECK(lost[0].exit == 3);

  const auto absent = in_ranks(1, 0.3, [](ProcessRanks&) {});
  all_of(absent);
}

TEST_CASE("faults: what a rank does alone the others wait for as long as it lives, and no longer") {
  const auto alone = [](ProcessRanks& ranks) {
    const Tensor t = numbers(Dtype::f32, 100, ranks.rank());
    if (ranks.rank() == 0) {
      const Alone exports(ranks);
      std::this_thread::sleep_for(std::chrono::milliseconds(500));
      ranks.barrier();  // a call within it
      std::this_thread::sleep_for(std::chrono::milliseconds(500));
    } else {
      ranks.barrier();
    }
    ranks.all_reduce(t);
  };
  all_of(in_ranks(3, 0.3, alone));
  const auto silent = in_ranks(2, 0.3, [](ProcessRanks& ranks) {
    if (ranks.rank() == 1) return ranks.barrier();
    { const Alone exports(ranks); }
    std::this_thread::sleep_for(std::chrono::milliseconds(900));
  });
  CHECK(contains(silent[1].error, "rank 1 waited 0.3 s (comm.timeout) in barrier"));
  const auto killed = in_ranks(2, 5, [](ProcessRanks& ranks) {
    if (ranks.rank() == 1) return ranks.barrier();
    const Alone exports(ranks);
    raise(SIGKILL);
  });
  CHECK(contains(killed[1].error, "rank 0 ended without a word"));
}

TEST_CASE("faults: a slow rank only slows") {
  all_of(in_ranks(2, 1, [](ProcessRanks& ranks) {
    const Tensor t = numbers(Dtype::f32, 100, 0);
    for (int i = 0; i < 4; ++i) {
      if (ranks.rank() == 1) std::this_thread::sleep_for(std::chrono::milliseconds(300));
      ranks.all_reduce(t);
    }
  }));
  // One call, longer than the timeout, in which nobody is silent for so long.
  all_of(in_ranks(4, 1, [](ProcessRanks& ranks) {
    std::this_thread::sleep_for(std::chrono::milliseconds(400 * ranks.rank()));
    ranks.barrier();
  }));
}

TEST_CASE("faults: ranks that stood still, as Slurm suspends a job, go on, however long that was") {
  all_of(in_ranks(
      2, 3,
      [](ProcessRanks& ranks) {
        for (int i = 0; i < 30 && ranks.rank() == 0; ++i)  // a second that others wait for
          std::this_thread::sleep_for(std::chrono::milliseconds(30));
        ranks.barrier();
      },
      [](const std::vector<pid_t>& children) {
        std::this_thread::sleep_for(std::chrono::milliseconds(300));
        for (const int signal : {SIGSTOP, SIGCONT}) {
          for (const pid_t child : children) ::kill(child, signal);
          if (signal == SIGSTOP) std::this_thread::sleep_for(std::chrono::seconds(4));
        }
      }));
}

TEST_CASE("faults: a message of another size, type or call is named on both sides") {
  const auto call = in_ranks(2, 20, [](ProcessRanks& ranks) {
    const Tensor t = numbers(Dtype::f32, 10, 0);
    if (ranks.rank() == 0) ranks.send(t, 1);
    else ranks.broadcast(t, 0);
    ranks.barrier();
  });
  CHECK(contains(call[1].error,
                 "in broadcast of step 0: expected 10 x f32 (40 bytes) from rank 0, which sent 10 x f32 "
                 "(40 bytes) in send of step 0"));
  for (const bool size : {true, false}) {
    const auto ended = in_ranks(2, 20, [=](ProcessRanks& ranks) {
      ranks.at_step(4);
      const bool other = ranks.rank() == 1;
      ranks.broadcast(numbers(other && !size ? Dtype::f64 : Dtype::f32, other && size ? 11 : 10, 0), 0);
    });
    CHECK(ended[1].exit == 3);
    const std::string expected = size ? "expected 11 x f32 (44 bytes)" : "expected 10 x f64 (80 bytes)";
    CHECK(contains(ended[1].error,
                   "rank 1 in broadcast of step 4: " + expected + " from rank 0, which sent 10 x f32 (40 bytes)"));
  }
}

TEST_CASE("faults: ranks that sum tensors of other sizes are found out by the first piece, on every axis and lane") {
  // Two ranks of host tensors: pieces of 131072 f32 of each half, so that the first are alike.
  constexpr std::int64_t piece = 2 * 131072;
  struct Way {
    std::string name;
    std::function<void(ProcessRanks&, const Tensor&)> sum;
  };
  const Way ways[] = {{"reduce_scatter of all_reduce", [](ProcessRanks& r, const Tensor& t) { r.all_reduce(t); }},
                      {"reduce_scatter",
                       [](ProcessRanks& r, const Tensor& t) {
                         const std::int64_t half = t.numel() / 2;
                         const Parts parts = {t.slice(0, 0, half), t.slice(0, half, t.numel())};
                         r.reduce_scatter(parts[static_cast<std::size_t>(r.rank())], parts, 2);
                       }},
                      {"group",
                       [](ProcessRanks& r, const Tensor& t) {
                         Group(r, {0, 1}).all_reduce(t);
                       }},
                      {"beside", [](ProcessRanks& r, const Tensor& t) { r.beside()->communicator().all_reduce(t); }}};
  for (const Way& way : ways) {
    const auto ended = in_ranks(2, 20, [&](ProcessRanks& ranks) {
      ranks.at_step(3);
      way.sum(ranks, Tensor::zeros({(ranks.rank() + 1) * piece}, Dtype::f32, cpu()));
      ranks.barrier();
    });
    INFO(way.name, ": ", ended[0].error, ended[1].error);
    CHECK((ended[0].exit == 3 && ended[1].exit == 3));
    const std::string sent = " 131072 x f32 (524288 bytes) of ", error = ended[0].error + ended[1].error;
    CHECK((contains(error, cat("expected", sent, 4 * piece, " bytes from rank 1, which sent", sent, 8 * piece)) ||
           contains(error, cat("expected", sent, 8 * piece, " bytes from rank 0, which sent", sent, 4 * piece))));
  }
  // What follows a sum knows nothing of its size, on the axis or on the world that the axis is made of.
  all_of(in_ranks(4, 20, [](ProcessRanks& ranks) {
    Group axis(ranks, ranks.rank() < 2 ? std::vector<int>{0, 1} : std::vector<int>{2, 3});
    axis.all_reduce(Tensor::zeros({ranks.rank() < 2 ? 10 : 20}, Dtype::f32, cpu()));
    ranks.all_reduce(Tensor::zeros({30}, Dtype::f32, cpu()));
    axis.broadcast(Tensor::zeros({5}, Dtype::f32, cpu()), 0);
    ranks.barrier();
  }));
}

TEST_CASE("faults: ranks that never come, come twice, or count differently") {
  const auto meets = [](int rank, int ranks, const std::string& job, double timeout) {
    return thrown([&] { ProcessRanks({rank, ranks, job, "A, B"}, timeout); }, Exit::machine_failed);
  };
  CHECK(contains(meets(0, 3, fresh_job(), 0.1), "rank 1, 2 of 3 (A, B) did not come within 0.1 s (comm.timeout)"));
  CHECK(contains(meets(2, 3, fresh_job(), 0.1), "rank 2: rank 0 of 3 (A, B) did not come within 0.1 s"));
  // A job's name of any length: torchrun's id and host may have some hundred letters.
  const std::string long_id = fresh_job() + std::string(300, 'x');
  all_of(in_places({{0, 2, long_id + "1", "A, B"}, {1, 2, long_id + "1", "A, B"}}, 20,
                   [](ProcessRanks& ranks) { ranks.barrier(); }));
  CHECK(contains(meets(1, 2, long_id + "2", 0.1), "rank 1: rank 0 of 2 (A, B) did not come within 0.1 s"));
  const std::string job = fresh_job();
  std::string second, first;
  std::thread other([&] {
    try {
      ProcessRanks({1, 4, job, "A, B"}, 5);
    } catch (const Error& e) { second = e.what(); }
  });
  try {
    ProcessRanks({0, 3, job, "A, B"}, 5);
  } catch (const Error& e) { first = e.what(); }
  other.join();
  CHECK(first == "ranks: rank 1 says there are 4 ranks, rank 0 3 (A, B)");
  CHECK(second == first);
}
