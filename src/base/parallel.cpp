#include "base/parallel.h"

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

// One region at a time. A worker spins for a while after a region, since the next one usually follows within
// microseconds, and then sleeps. The caller takes ranges too; a region ends when every worker has left it.
class Pool {
 public:
  explicit Pool(int n) {
    for (int i = 1; i < n; ++i) workers_.emplace_back([this] { work(); });
  }
  ~Pool() {
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
      generation_.fetch_add(1);
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
    busy_.store(static_cast<int>(workers_.size()), std::memory_order_relaxed);
    generation_.fetch_add(1, std::memory_order_seq_cst);
    if (sleepers_.load(std::memory_order_seq_cst) > 0) {
      { std::lock_guard lock(mutex_); }
      wake_.notify_all();
    }
    inside_region = true;
    drain();
    inside_region = false;
    for (int spin = 0; busy_.load(std::memory_order_acquire) != 0; ++spin) {
      if (spin < 2000)
        pause_cpu();
      else
        std::this_thread::yield();
    }
    if (error_) std::rethrow_exception(error_);
  }

 private:
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
      for (int spin = 0; generation_.load(std::memory_order_acquire) == seen; ++spin) {
        if (spin < 4000) {
          pause_cpu();
          continue;
        }
        std::unique_lock lock(mutex_);
        sleepers_.fetch_add(1, std::memory_order_seq_cst);
        wake_.wait(lock, [&] { return generation_.load(std::memory_order_seq_cst) != seen; });
        sleepers_.fetch_sub(1, std::memory_order_seq_cst);
      }
      seen = generation_.load(std::memory_order_acquire);
      if (stop_) return;
      drain();
      busy_.fetch_sub(1, std::memory_order_acq_rel);
    }
  }

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stop_ = false;
  std::atomic<std::uint64_t> generation_{0};
  std::atomic<int> sleepers_{0}, busy_{0};
  std::atomic<std::int64_t> next_{0};
  std::int64_t n_ = 0, chunk_ = 1;
  detail::RangeFn fn_ = nullptr;
  void* context_ = nullptr;
  std::exception_ptr error_;
  std::int64_t error_at_ = 0;
};

int default_threads() { return std::max(1, static_cast<int>(std::thread::hardware_concurrency())); }

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
