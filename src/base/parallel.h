// Fork-join over the process's worker threads.
//
// Which thread runs which index is unspecified; callers give every index its own output, so the result does not depend
// on it. A call made inside a parallel region runs on the calling thread, with the help of threads that have nothing
// left to do there; a helped call's own calls run serially. A call from outside, made while another thread's region has
// the workers, waits for a moment and then runs on its own thread; a thread that prepares the next step does not wait
// (Aside, base/serial.h): the step that computes may be one region from its beginning to its end. An exception is
// rethrown by the caller (the one of the lowest index range). A worker that the system does not give is a
// machine_error.
#pragma once
#include <algorithm>
#include <cstdint>

namespace ov {

void set_threads(int n);  // 1 .. 256; the default is the number of cores. Not inside a parallel region.
int threads();
int usable_cores();  // that this process may run on: fewer than the machine has under taskset or in a container
// How many threads a parallel call made here and now would find: all of them outside of a region, the idle ones and
// this one inside. A hint: it may be out of date at once.
int threads_for_a_call();

namespace detail {
using RangeFn = void (*)(void* context, std::int64_t begin, std::int64_t end);
void parallel_ranges(std::int64_t n, std::int64_t grain, bool long_ones, RangeFn fn, void* context);
}  // namespace detail

// f(begin, end) over disjoint ranges that cover [0, n); no range but the last is shorter than `grain`.
template <class F>
void parallel_ranges(std::int64_t n, std::int64_t grain, F&& f, bool long_ones = false) {
  detail::parallel_ranges(
      n, grain, long_ones,
      [](void* c, std::int64_t b, std::int64_t e) { (*static_cast<std::remove_reference_t<F>*>(c))(b, e); },
      const_cast<void*>(static_cast<const void*>(&f)));
}

// f(i) for every i in [0, n). `grain`: indices that are worth handing to another thread together.
template <class F>
void parallel_for(std::int64_t n, std::int64_t grain, F&& f) {
  parallel_ranges(n, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) f(i);
  });
}

template <class F>
void parallel_for(std::int64_t n, F&& f) {
  parallel_for(n, 1, f);
}

// The same for long tasks, pictures to be decoded say. Inside a region others may join as soon as they have nothing
// left to do there; in the calls above, made for arithmetic, only those who are free when the call is made.
template <class F>
void parallel_tasks(std::int64_t n, F&& f) {
  parallel_ranges(
      n, 1,
      [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) f(i);
      },
      true);
}

}  // namespace ov
