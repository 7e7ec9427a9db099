#include "parallel/overlap.h"

#include <algorithm>

#include "base/serial.h"
#include "kernels/adamw.h"
#include "kernels/rehearsed.h"

namespace ov {

std::int64_t Overlap::usual_bucket(const Device& device, Dtype dtype) {
  const std::int64_t bytes = std::int64_t{kernels::on_gpu(device) ? 64 : 1} << 20;
  return std::max(kernels::norm_chunk, bytes / static_cast<std::int64_t>(size_of(dtype)));
}

std::string Overlap::hindrance(const DataParallel& parallel, const Parameters& parameters,
                               const Communicator& context) {
  if (parameters.pipe().ranks() > 1) return cat("parallel.pipeline ", parameters.pipe().ranks());
  if (parameters.experts().ranks() > 1) return "experts or class tables that ranks share";
  if (parallel.ranks().ranks() == 1) return "";  // nothing is summed
  Beside* beside = parallel.ranks().beside();
  if (!beside) return "CPU ranks on several machines";
  const std::string device =
      parameters.device().kind == Device::Kind::meta ? "a GPU" : "device " + parameters.device().name;
  if (beside->threaded())
    return parameters.device().has_data() && !parameters.device().on_host() ? cat(device, " without NCCL") : "";
  if (parallel.divides_values()) return cat("parallel.zero 3 on ", device);
  return context.ranks() > 1 ? cat("parallel.context ", context.ranks(), " on ", device) : "";
}

Overlap::Overlap(const DataParallel& parallel, std::int64_t bucket, Round round)
    : parallel_(parallel), bucket_(bucket), round_(std::move(round)), beside_(*parallel.ranks().beside()) {
  const std::int64_t buckets = (round_.gradients.numel() + bucket_ - 1) / bucket_;
  left_.assign(static_cast<std::size_t>(buckets), round_.leaves);
  next_ = buckets - 1;
  if (beside_.threaded() && round_.gradients.has_data()) thread_ = std::thread([this] { run(); });
}

Overlap::~Overlap() {
  if (!finished_) beside_.give_up();
  stop();
}

void Overlap::stop() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Overlap::sum(std::int64_t bucket) {
  const Device::Share apart(round_.gradients.device());  // when it overlaps with what is chance: memory()
  const Range range{bucket * bucket_, std::min(round_.gradients.numel(), (bucket + 1) * bucket_)};
  if (round_.before) round_.before(range);
  beside_.run([&] { parallel_.sum_bucket(round_.gradients, range, round_.adding, beside_.communicator()); });
}

void Overlap::complete(std::int64_t bucket) {
  {
    const std::lock_guard lock(mutex_);
    if (failure_) std::rethrow_exception(failure_);
    --left_[static_cast<std::size_t>(bucket)];
  }
  if (thread_.joinable()) changed_.notify_all();
  // Several leaves report from several threads, of which none may make calls.
  else if (round_.at_once && round_.leaves == 1) sum_complete();
}

void Overlap::sum_complete() {
  for (; next_ >= 0 && left_[static_cast<std::size_t>(next_)] == 0; --next_) sum(next_);
}

// The thread's.
void Overlap::run() {
  const Serial alone;
  try {
    for (std::unique_lock lock(mutex_); next_ >= 0; --next_) {
      changed_.wait(lock, [&] { return stopping_ || left_[static_cast<std::size_t>(next_)] == 0; });
      if (stopping_) return;
      lock.unlock();
      sum(next_);
      lock.lock();
    }
  } catch (...) {
    const std::lock_guard lock(mutex_);
    failure_ = std::current_exception();
  }
}

void Overlap::finish() {
  {
    const std::lock_guard lock(mutex_);
    std::fill(left_.begin(), left_.end(), 0);
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
  else sum_complete();
  if (failure_) std::rethrow_exception(failure_);
  beside_.join();
  finished_ = true;
}

// What a sum's parts are received into: a share of a bucket from each rank.
MemoryUse Overlap::memory() const {
  const int N = parallel_.ranks().ranks();
  std::int64_t share = 0;
  for (int r = 0; r < N; ++r)
    share = std::max(share, shard_of(std::min(bucket_, round_.gradients.numel()), r, N).size());
  MemoryUse use;
  use.total_peak = N * share * static_cast<std::int64_t>(size_of(round_.gradients.dtype()));
  use.peak[static_cast<std::size_t>(Segment::workspace)] = use.total_peak;
  return use;
}

}  // namespace ov
