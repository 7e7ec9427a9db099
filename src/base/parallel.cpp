#include "base/parallel.h"

#if defined(__linux__)
#include <sched.h>
#endif

#include <atomic>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/error.h"

namespace ov {
namespace {

thread_local bool inside_region = false;

inline void pause_cpu() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// One region at a time. The caller opens a region, takes ranges until none is left and closes it; a worker that comes
// while it is open joins and takes ranges too. The caller waits for those who joined, not for those who are late: on a
// busy machine a worker may be away for milliseconds. After a region a worker looks out for the next one for a while,
// since it usually follows within microseconds, and then sleeps. It yields meanwhile: a thread that is ready to run is
// moved to an idle core by the system, one that is woken for every region may share the caller's core for good.
class Pool {
 public:
  explicit Pool(int n) {
    for (int i = 1; i < n; ++i) workers_.emplace_back([this] { work(); });
  }
  ~Pool() {
    {
      std::lock_guard lock(mutex_);
      stop_.store(true);
    }
    wake_.notify_all();
    for (auto& w : workers_) w.join();
  }
  int size() const { return static_cast<int>(workers_.size()) + 1; }

  void run(std::int64_t n, std::int64_t chunk, detail::RangeFn fn, void* context) {
    n_ = n, chunk_ = chunk, fn_ = fn, context_ = context;
    error_ = nullptr;
    error_at_ = n;
    next_.store(0, std::memory_order_relaxed);
    region_.store((generation_of(region_.load(std::memory_order_relaxed)) + 1) * one_generation + open);
    if (sleepers_.load() > 0) {
      { std::lock_guard lock(mutex_); }
      wake_.notify_all();
    }
    inside_region = true;
    drain();
    inside_region = false;
    region_.fetch_and(~open, std::memory_order_acq_rel);
    for (int spin = 0; joined(region_.load(std::memory_order_acquire)) != 0; ++spin) {
      if (spin < 2000) pause_cpu();
      else std::this_thread::yield();
    }
    if (error_) std::rethrow_exception(error_);
  }

 private:
  static constexpr int look_out = 20000;  // 25 µs of pauses, then about 10 ms of yields
  // region_ in one word: its number, how many workers are inside, and whether more may join.
  static constexpr std::uint64_t open = 1, one_worker = 2, one_generation = 1024;
  static std::uint64_t generation_of(std::uint64_t region) { return region / one_generation; }
  static std::uint64_t joined(std::uint64_t region) { return region % one_generation / one_worker; }

  void drain() {
    for (std::int64_t begin; (begin = next_.fetch_add(chunk_, std::memory_order_relaxed)) < n_;) {
      try {
        fn_(context_, begin, std::min(begin + chunk_, n_));
      } catch (...) {
        std::lock_guard lock(mutex_);
        if (begin < error_at_) error_ = std::current_exception(), error_at_ = begin;
      }
    }
  }

  void work() {
    inside_region = true;
    for (std::uint64_t seen = 0;;) {
      std::uint64_t region = 0;
      const auto news = [&] {
        region = region_.load();
        return stop_.load() || ((region & open) && generation_of(region) != seen);
      };
      for (int spin = 0; !news(); ++spin) {
        if (spin < look_out) {
          spin < 1000 ? pause_cpu() : std::this_thread::yield();
          continue;
        }
        std::unique_lock lock(mutex_);
        sleepers_.fetch_add(1);
        wake_.wait(lock, news);
        sleepers_.fetch_sub(1);
      }
      if (stop_.load()) return;
      if (!region_.compare_exchange_strong(region, region + one_worker, std::memory_order_acq_rel)) continue;
      seen = generation_of(region);
      drain();
      region_.fetch_sub(one_worker, std::memory_order_acq_rel);
    }
  }

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<bool> stop_{false};
  std::atomic<std::uint64_t> region_{0};
  std::atomic<int> sleepers_{0};
  std::atomic<std::int64_t> next_{0};
  std::int64_t n_ = 0, chunk_ = 1;
  detail::RangeFn fn_ = nullptr;
  void* context_ = nullptr;
  std::exception_ptr error_;
  std::int64_t error_at_ = 0;
};

// Cores that this process may run on: fewer than the machine has under taskset or in a container.
int usable_cores() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

int default_threads() {
  static const int cores = usable_cores();  // asks the system: slow
  return cores;
}

std::mutex pool_mutex;  // one region at a time, whoever calls
std::unique_ptr<Pool> pool;
std::atomic<int> wanted{0};

}  // namespace

int threads() {
  const int n = wanted.load();
  return n ? n : default_threads();
}

void set_threads(int n) {
  if (n < 1 || n > 256) input_error("threads: expected 1 to 256, got ", n);
  std::lock_guard lock(pool_mutex);
  wanted = n;
  if (pool && pool->size() != n) pool.reset();
}

namespace detail {

void parallel_ranges(std::int64_t n, std::int64_t grain, RangeFn fn, void* context) {
  if (n <= 0) return;
  grain = std::max<std::int64_t>(grain, 1);
  const std::int64_t width = threads();
  if (inside_region || width == 1 || n <= grain) return fn(context, 0, n);
  std::lock_guard lock(pool_mutex);
  if (!pool) pool = std::make_unique<Pool>(static_cast<int>(width));
  // Four ranges a thread even out unequal work without making the counter hot.
  pool->run(n, std::max(grain, (n + 4 * width - 1) / (4 * width)), fn, context);
}

}  // namespace detail
}  // namespace ov
