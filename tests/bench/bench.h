// Benchmarks register themselves by name; build/bench runs all of them or the named ones.
// Interleaved medians: every candidate is run in turn, so that what else the machine does hits all of them alike.
#pragma once
#include <time.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <vector>

namespace ov::bench {

struct Benchmark {
  Benchmark(const char* name, void (*run)());  // keeps a list, see main.cpp
  const char* name;
  void (*run)();
};

const std::string& torch_python();  // of --torch PYTHON, empty without
const std::string& faiss_python();  // of --faiss PYTHON
const std::string& arrow_python();  // of --arrow PYTHON
const std::string& llama_python();  // of --llama PYTHON

inline double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Of all threads of this process. With one thread it says what a step takes on a machine that does other things too.
inline double processor_seconds() {
  timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

struct Timing {
  double median = 0, best = 0;  // seconds of one call
};

inline Timing summary(std::vector<double> t) {
  std::sort(t.begin(), t.end());
  return {t[t.size() / 2], t.front()};
}

// Times every candidate for about `budget` seconds in `rounds` turns. The pause before each turn lets the worker
// threads of the one before go to sleep: libraries spin for tens of milliseconds after a call and would take its cores.
inline std::vector<Timing> interleaved(const std::vector<std::function<void()>>& candidates, double budget = 0.3,
                                       int rounds = 6) {
  std::vector<std::vector<double>> times(candidates.size());
  for (int r = 0; r < rounds; ++r)
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(60));
      candidates[i]();  // wakes its threads
      const double until = seconds() + budget / rounds;
      do {
        const double start = seconds();
        candidates[i]();
        times[i].push_back(seconds() - start);
      } while (seconds() < until);
    }
  std::vector<Timing> result;
  for (auto& t : times) result.push_back(summary(std::move(t)));
  return result;
}

}  // namespace ov::bench
