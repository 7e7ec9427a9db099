#include "base/parallel.h"

#include <doctest/doctest.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/sanitizer.h"
#include "base/serial.h"
#include "tests/check.h"

namespace {

using namespace ov;
using namespace ov::test;
using i64 = std::int64_t;

TEST_CASE("parallel_ranges: every index is covered once, and no range but the last is shorter than the grain") {
  for (const int t : {1, 2, 3, 5}) {
    const Threads scope(t);
    for (const i64 n : {0, 1, 2, 7, 64, 1000})
      for (const i64 grain : {0, 1, 3, 100}) {
        std::vector<std::atomic<int>> seen(static_cast<std::size_t>(n));
        std::atomic<bool> too_short{false};
        parallel_ranges(n, grain, [&](i64 begin, i64 end) {
          if (end - begin < grain && end != n) too_short = true;
          for (i64 i = begin; i < end; ++i) ++seen[static_cast<std::size_t>(i)];
        });
        bool once = true;
        for (const auto& s : seen) once = once && s == 1;
        CHECK(once);
        CHECK_FALSE(too_short);
      }
  }
}

TEST_CASE("parallel_for: what the workers wrote is there when the call returns, region after region") {
  const Threads scope(3);
  std::vector<i64> v(97);
  bool right = true;
  for (i64 round = 0; round < 3000; ++round) {
    parallel_for(97, [&](i64 i) { v[static_cast<std::size_t>(i)] = round * i; });
    for (i64 i = 0; i < 97; ++i) right = right && v[static_cast<std::size_t>(i)] == round * i;
    // Some rounds find the workers asleep.
    if (round % 500 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  CHECK(right);
}

TEST_CASE("parallel_for: workers do take part") {
  const Threads scope(2);
  std::mutex mutex;
  std::vector<std::thread::id> outer;
  std::atomic<int> arrived{0};
  parallel_for(2, [&](i64) {  // each index waits for the other one, so two threads are needed to get out
    ++arrived;
    while (arrived < 2) std::this_thread::yield();
    std::lock_guard lock(mutex);
    outer.push_back(std::this_thread::get_id());
  });
  CHECK(outer.size() == 2);
  CHECK(outer[0] != outer[1]);
}

TEST_CASE("parallel_for: while all threads work in a region, a call made inside stays on its thread") {
  const Threads scope(2);
  std::atomic<int> arrived{0}, done{0};
  std::atomic<bool> moved{false};
  parallel_for(2, [&](i64) {
    ++arrived;
    while (arrived < 2) std::this_thread::yield();
    const auto me = std::this_thread::get_id();
    for (int call = 0; call < 50; ++call)
      parallel_for(50, [&](i64) {
        if (std::this_thread::get_id() != me) moved = true;
      });
    ++done;
    while (done < 2) std::this_thread::yield();
  });
  CHECK_FALSE(moved);
}

TEST_CASE("parallel_for: a thread with nothing left to do helps inside, and is not helped in that") {
  for (const int n : {2, 4}) {
    const Threads scope(n);
    std::atomic<bool> helped{false}, went_further{false};
    std::atomic<int> wrong{0};
    parallel_for(2, [&](i64 task) {
      if (task == 1) return;
      const auto me = std::this_thread::get_id();
      const auto late = std::chrono::steady_clock::now() + std::chrono::seconds(20);
      while (!helped && std::chrono::steady_clock::now() < late) {
        std::vector<std::atomic<int>> seen(64);
        parallel_for(64, [&](i64 i) {
          const auto here = std::this_thread::get_id();
          if (here != me) helped = true;
          parallel_for(8, [&](i64) {
            if (here != me && std::this_thread::get_id() != here) went_further = true;
          });
          ++seen[static_cast<std::size_t>(i)];
          std::this_thread::yield();
        });
        for (const auto& s : seen) wrong += s != 1;
      }
    });
    CHECK(helped);
    CHECK_FALSE(went_further);
    CHECK(wrong == 0);
  }
}

TEST_CASE("parallel_tasks: a thread that is free only after the call was made inside takes a task") {
  const Threads scope(2);
  std::atomic<bool> made{false}, joined{false};
  const auto late = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  const auto wait_for = [&](const std::atomic<bool>& what) {
    while (!what && std::chrono::steady_clock::now() < late) std::this_thread::yield();
  };
  parallel_for(2, [&](i64 index) {
    if (index == 1) return wait_for(made);  // busy when the call below is made
    const auto me = std::this_thread::get_id();
    parallel_tasks(2, [&](i64) {
      if (std::this_thread::get_id() != me) joined = true;
      made = true;
      wait_for(joined);
    });
  });
  CHECK(joined);
}

TEST_CASE("parallel_for: a thread that went to sleep in a region is woken by a call inside") {
  const Threads scope(4);
  std::mutex mutex;
  std::set<std::thread::id> came;
  parallel_for(2, [&](i64 task) {
    if (task == 1) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(200));  // a worker looks out for about 10 ms
    const auto late = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (came.size() < 4 && std::chrono::steady_clock::now() < late)
      parallel_for(64, [&](i64) {
        {
          std::lock_guard lock(mutex);
          came.insert(std::this_thread::get_id());
        }
        std::this_thread::yield();
      });
  });
  CHECK(came.size() == 4);
}

TEST_CASE("parallel_for: several tasks of a region make calls inside, whoever helps, and an exception finds its task") {
  const Threads scope(4);
  for (int round = 0; round < 200; ++round) {
    std::vector<i64> sums(5);
    std::atomic<int> caught{0};
    parallel_for(5, [&](i64 task) {
      std::vector<i64> v(static_cast<std::size_t>(20 * task));
      try {
        parallel_for(20 * task, [&](i64 i) {
          if (task == 3 && i == 31) throw std::runtime_error("31");
          v[static_cast<std::size_t>(i)] = i;
        });
      } catch (const std::runtime_error&) { ++caught; }
      for (const i64 x : v) sums[static_cast<std::size_t>(task)] += x;
    });
    CHECK(caught == 1);
    for (const i64 task : {0, 1, 2, 4}) CHECK(sums[static_cast<std::size_t>(task)] == 20 * task * (20 * task - 1) / 2);
  }
}

TEST_CASE("parallel_for: the exception of the lowest range reaches the caller, and the next region works") {
  const Threads scope(3);
  for (int round = 0; round < 20; ++round) {
    std::string caught;
    try {
      parallel_for(100, [](i64 i) {
        if (i == 17 || i == 60 || i == 99) throw std::runtime_error(std::to_string(i));
      });
    } catch (const std::runtime_error& e) { caught = e.what(); }
    CHECK(caught == "17");
    std::atomic<i64> sum{0};
    parallel_for(100, [&](i64 i) { sum += i; });
    CHECK(sum == 4950);
  }
}

TEST_CASE("parallel_for: callers on several threads get their own results") {
  const Threads scope(2);
  std::vector<std::thread> callers;
  std::atomic<int> wrong{0};
  for (i64 c = 0; c < 3; ++c)
    callers.emplace_back([&wrong, c] {
      for (int round = 0; round < 200; ++round) {
        std::vector<i64> v(40);
        parallel_for(40, [&](i64 i) { v[static_cast<std::size_t>(i)] = i + c; });
        for (i64 i = 0; i < 40; ++i) wrong += v[static_cast<std::size_t>(i)] != i + c;
      }
    });
  for (auto& t : callers) t.join();
  CHECK(wrong == 0);
}

// A region of another thread that has all workers of two threads until end().
class LongRegion {
 public:
  LongRegion() {
    thread_ = std::thread([this] {
      parallel_for(2, [this](i64) {
        open_ = true;
        while (!over_) std::this_thread::yield();
      });
    });
    while (!open_) std::this_thread::yield();
  }
  void end() { over_ = true, thread_.join(); }

 private:
  std::atomic<bool> open_{false}, over_{false};
  std::thread thread_;
};

TEST_CASE(
    "parallel_for: another thread's call does not wait for a long region, and the workers are there for the next") {
  const Threads scope(2);
  LongRegion region;
  std::atomic<int> done{0};
  std::thread other([&] {  // what prepares the next step while this one computes
    std::vector<i64> v(40);
    for (int call = 0; call < 200; ++call) parallel_for(40, [&](i64 i) { v[static_cast<std::size_t>(i)] += i; });
    done = v[39] == 200 * 39 ? 1 : 2;
  });
  const auto late = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (done == 0 && std::chrono::steady_clock::now() < late)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  CHECK(done == 1);
  region.end();
  other.join();
  std::atomic<int> arrived{0};
  parallel_for(2, [&](i64) {
    ++arrived;
    while (arrived < 2 && std::chrono::steady_clock::now() < late) std::this_thread::yield();
  });
  CHECK(arrived == 2);
}

TEST_CASE("Aside: a call made while another thread's region has the workers does not wait, each thread's first too") {
  const Threads scope(2);
  LongRegion region;
  double least = 1e9;  // milliseconds; who waits takes 20 at least
  for (int fresh = 0; fresh < 20; ++fresh)
    std::thread([&] {
      const Aside beside;
      std::vector<i64> v(40);
      const auto start = std::chrono::steady_clock::now();
      parallel_for(40, [&](i64 i) { v[static_cast<std::size_t>(i)] = i; });
      const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
      least = std::min(least, v[39] == 39 ? took.count() : 1e9);
    }).join();
  CHECK(least < 15);
  region.end();
}

#if !OV_ADDRESS_SANITIZER && !OV_THREAD_SANITIZER
TEST_CASE("parallel_for: a thread that the system does not give is a machine_error, and fewer threads work") {
  const Threads scope(threads());
  long pages = 0;
  std::FILE* statm = std::fopen("/proc/self/statm", "r");
  REQUIRE(std::fscanf(statm, "%ld", &pages) == 1);
  std::fclose(statm);
  set_threads(200);  // no worker of another number of threads is left
  rlimit before;
  REQUIRE(::getrlimit(RLIMIT_AS, &before) == 0);
  const rlimit tight{static_cast<rlim_t>(pages) * 4096 + (rlim_t{100} << 20), before.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_AS, &tight) == 0);
  std::string message;
  Exit exit = Exit::done;
  try {
    parallel_for(1000, [](i64) {});
  } catch (const Error& e) { message = e.what(), exit = e.exit(); }
  REQUIRE(::setrlimit(RLIMIT_AS, &before) == 0);
  CHECK(exit == Exit::machine_failed);
  CHECK(message.find("of 200: ") != std::string::npos);
  set_threads(2);
  std::atomic<i64> sum{0};
  parallel_for(100, [&](i64 i) { sum += i; });
  CHECK(sum == 4950);
}
#endif

TEST_CASE("set_threads: accepts 1 to 256 and names anything else") {
  const Threads scope(threads());
  set_threads(256);
  CHECK(threads() == 256);
  for (const int n : {0, -1, 257}) CHECK_THROWS_AS(set_threads(n), Error);
}

}  // namespace
