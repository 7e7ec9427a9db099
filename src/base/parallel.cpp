#include "base/parallel.h"

#if defined(__linux__)
#include <sched.h>
#endif

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/serial.h"

namespace ov {
namespace {

// How many regions this thread's work is inside: 0, 1 or 2.
thread_local int depth = 0;

class Deeper {
 public:
  Deeper() { ++depth; }
  ~Deeper() { --depth; }
  Deeper(const Deeper&) = delete;
};

inline void pause_cpu() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// The ranges of one parallel call. Its owner opens it, takes ranges until none is left and closes it; others that come
// while it is open join and take ranges too. The owner waits for those who joined, not for those who are late: on a
// busy machine a thread may be away for milliseconds.
class Region {
 public:
  // By its owner. `waiting()` is called over and over while others finish their ranges.
  template <class Wake, class Waiting>
  void run(std::int64_t n, std::int64_t chunk, detail::RangeFn fn, void* context, Wake&& wake, Waiting&& waiting) {
    n_ = n, chunk_ = chunk, fn_ = fn, context_ = context;
    error_ = nullptr;
    error_at_ = n;
    next_.store(0, std::memory_order_relaxed);
    state_.store((number_of(state_.load(std::memory_order_relaxed)) + 1) * one_region + open);
    wake();
    drain();
    state_.fetch_and(~open, std::memory_order_acq_rel);
    for (int spin = 0; joined(state_.load(std::memory_order_acquire)) != 0; ++spin) {
      if (waiting()) spin = 0;
      else if (spin < 2000) pause_cpu();
      else std::this_thread::yield();
    }
    if (error_) std::rethrow_exception(error_);
  }

  // By another thread: whether there is work in a region that it has not been in, `seen` being the last one.
  bool calls(std::uint64_t seen) const {
    const std::uint64_t s = state_.load();
    return (s & open) && number_of(s) != seen;
  }
  bool help(std::uint64_t& seen) {
    std::uint64_t s = state_.load();
    if (!(s & open) || number_of(s) == seen) return false;
    if (!state_.compare_exchange_strong(s, s + one_helper, std::memory_order_acq_rel)) return false;
    seen = number_of(s);
    drain();
    state_.fetch_sub(one_helper, std::memory_order_acq_rel);
    return true;
  }

 private:
  // state_ in one word: the region's number, how many helpers are inside, and whether more may join.
  static constexpr std::uint64_t open = 1, one_helper = 2, one_region = 1024;
  static std::uint64_t number_of(std::uint64_t state) { return state / one_region; }
  static std::uint64_t joined(std::uint64_t state) { return state % one_region / one_helper; }

  void drain() {
    const Deeper deeper;
    for (std::int64_t begin; (begin = next_.fetch_add(chunk_, std::memory_order_relaxed)) < n_;) {
      try {
        fn_(context_, begin, std::min(begin + chunk_, n_));
      } catch (...) {
        std::lock_guard lock(error_mutex_);
        if (begin < error_at_) error_ = std::current_exception(), error_at_ = begin;
      }
    }
  }

  std::atomic<std::uint64_t> state_{0};
  std::atomic<std::int64_t> next_{0};
  std::int64_t n_ = 0, chunk_ = 1;
  detail::RangeFn fn_ = nullptr;
  void* context_ = nullptr;
  std::mutex error_mutex_;
  std::exception_ptr error_;
  std::int64_t error_at_ = 0;
};

// One region at a time, and inside it one more: a thread that has no range of the region left helps one that still
// works, in the parallel call it makes there (two unequal micro-batches side by side end together).
//
// After a region a worker looks out for the next one for a while, since it usually follows within microseconds, and
// then sleeps. It yields meanwhile: a thread that is ready to run is moved to an idle core by the system, one that is
// woken for every region may share the caller's core for good. A call made inside a region wakes those that sleep too:
// the region's last work may be long, and who slept through its beginning would else sleep until its end.
class Pool {
 public:
  explicit Pool(int n) {
    workers_.reserve(static_cast<std::size_t>(n) - 1);
    try {
      for (int i = 1; i < n; ++i) workers_.emplace_back([this] { work(); });
    } catch (const std::system_error& e) {
      const int got = size();
      stop();
      machine_error("cannot start thread ", got + 1, " of ", n, ": ", e.code().message(), "; lower --threads");
    }
  }
  ~Pool() { stop(); }
  void stop() {
    {
      std::lock_guard lock(mutex_);
      stop_.store(true);
    }
    wake_.notify_all();
    for (auto& w : workers_) w.join();
  }
  int size() const { return static_cast<int>(workers_.size()) + 1; }

  void run(std::int64_t n, std::int64_t chunk, detail::RangeFn fn, void* context) {
    std::uint64_t seen = 0;
    bool idle = false;
    const auto wake = [&] {
      if (sleepers_.load() == 0) return;
      { std::lock_guard lock(mutex_); }
      wake_.notify_all();
    };
    const auto help_inner = [&] {
      if (!idle) idle = true, idle_.fetch_add(1, std::memory_order_relaxed);
      if (!inner_.calls(seen)) return false;
      const Deeper as_its_owner;
      return inner_.help(seen);
    };
    struct Leave {
      std::atomic<int>& count;
      const bool& idle;
      ~Leave() {
        if (idle) count.fetch_sub(1, std::memory_order_relaxed);
      }
    } leave{idle_, idle};
    region_.run(n, chunk, fn, context, wake, help_inner);
  }

  // Threads that would help at once, and nobody has them.
  int idle() const { return inner_taken_.load(std::memory_order_relaxed) ? 0 : idle_.load(std::memory_order_relaxed); }

  // From inside a range of the region: whoever sleeps is about to look out again.
  void rouse() {
    if (sleepers_.load(std::memory_order_relaxed) == 0) return;
    {
      std::lock_guard lock(mutex_);
      ++roused_;
    }
    wake_.notify_all();
  }

  // From inside a range of the region. False: another thread's call has the helpers.
  bool run_inner(std::int64_t n, std::int64_t chunk, detail::RangeFn fn, void* context) {
    if (inner_taken_.exchange(true, std::memory_order_acquire)) return false;
    struct Give {
      std::atomic<bool>& taken;
      ~Give() { taken.store(false, std::memory_order_release); }
    } give{inner_taken_};
    inner_.run(
        n, chunk, fn, context, [] {}, [] { return false; });
    return true;
  }

 private:
  static constexpr int look_out = 20000;  // 25 µs of pauses, then about 10 ms of yields

  void work() {
    std::uint64_t seen = 0, seen_inner = 0;
    const auto news = [&] { return stop_.load() || region_.calls(seen); };
    for (;;) {
      idle_.fetch_add(1, std::memory_order_relaxed);
      for (int spin = 0; !news(); ++spin) {
        if (inner_.calls(seen_inner)) {
          const Deeper as_its_owner;
          if (inner_.help(seen_inner)) spin = 0;
        } else if (spin < look_out) {
          spin < 1000 ? pause_cpu() : std::this_thread::yield();
        } else {
          idle_.fetch_sub(1, std::memory_order_relaxed);
          std::unique_lock lock(mutex_);
          sleepers_.fetch_add(1);
          wake_.wait(lock, [&, before = roused_] { return news() || roused_ != before; });
          sleepers_.fetch_sub(1);
          idle_.fetch_add(1, std::memory_order_relaxed);
          spin = 0;
        }
      }
      idle_.fetch_sub(1, std::memory_order_relaxed);
      if (stop_.load()) return;
      region_.help(seen);
    }
  }

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::uint64_t roused_ = 0;  // under mutex_
  std::atomic<bool> stop_{false};
  std::atomic<int> sleepers_{0}, idle_{0};
  std::atomic<bool> inner_taken_{false};
  Region region_, inner_;
};

int ask_for_cores() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

std::mutex pool_mutex;  // one region at a time, whoever calls
std::unique_ptr<Pool> pool;
std::atomic<int> wanted{0};

// Most regions end within milliseconds, so a caller from outside waits that long, once: while it is turned away its
// next calls do not wait again. A caller that is not given the pool runs its call on its own thread.
thread_local bool turned_away = false;
thread_local int asides = 0;

std::unique_lock<std::mutex> take_pool() {
  constexpr int patience = 400;  // times 50 µs
  std::unique_lock lock(pool_mutex, std::try_to_lock);
  for (int waited = 0; !lock && asides == 0 && !turned_away && waited < patience; ++waited) {
    std::this_thread::sleep_for(std::chrono::microseconds(50));
    static_cast<void>(lock.try_lock());
  }
  turned_away = !lock;
  return lock;
}

}  // namespace

Serial::Serial() { depth += 2; }
Serial::~Serial() { depth -= 2; }
Aside::Aside() { ++asides; }
Aside::~Aside() { --asides; }

int usable_cores() {
  static const int cores = ask_for_cores();  // slow
  return cores;
}

int threads() {
  const int n = wanted.load();
  return n ? n : usable_cores();
}

int threads_for_a_call() {
  if (depth == 0) return threads();
  return depth == 1 ? 1 + pool->idle() : 1;  // inside a region there is a pool
}

void set_threads(int n) {
  if (n < 1 || n > 256) input_error("threads: expected 1 to 256, got ", n);
  std::lock_guard lock(pool_mutex);
  wanted = n;
  if (pool && pool->size() != n) pool.reset();
}

namespace detail {

void parallel_ranges(std::int64_t n, std::int64_t grain, bool long_ones, RangeFn fn, void* context) {
  if (n <= 0) return;
  grain = std::max<std::int64_t>(grain, 1);
  if (depth == 1 && n > grain) pool->rouse();
  const std::int64_t width = long_ones && depth == 1 ? pool->size() : threads_for_a_call();
  if (width == 1 || n <= grain) return fn(context, 0, n);
  // Four ranges a thread even out unequal work without making the counter hot.
  const std::int64_t chunk = std::max(grain, (n + 4 * width - 1) / (4 * width));
  if (depth > 0) {
    if (!pool->run_inner(n, chunk, fn, context)) fn(context, 0, n);
    return;
  }
  const std::unique_lock lock = take_pool();
  if (!lock) return fn(context, 0, n);
  if (!pool) pool = std::make_unique<Pool>(static_cast<int>(width));
  pool->run(n, chunk, fn, context);
}

}  // namespace detail
}  // namespace ov
