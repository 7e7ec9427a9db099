#include "comm/nccl_watch.h"

#include <algorithm>
#include <chrono>

#include "base/clock.h"

namespace ov {
namespace {

constexpr std::chrono::milliseconds between_looks{5};

template <class F>
std::exception_ptr thrown_by(F&& f) {
  try {
    f();
  } catch (...) { return std::current_exception(); }
  return nullptr;
}

}  // namespace

void NcclWatch::start(gpu::Nccl& library) {
  library_ = &library;
  thread_ = std::thread([this] { run(); });
}

void NcclWatch::stop() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void NcclWatch::note(const Watched& call) {
  {
    const std::lock_guard lock(mutex_);
    calls_.push_back(call);
  }
  changed_.notify_all();
}

void NcclWatch::check() const {
  const std::lock_guard lock(mutex_);
  if (failure_) std::rethrow_exception(failure_);
}

std::exception_ptr NcclWatch::found(double waited) {
  if (auto peers = thrown_by([&] { host_.throw_failure(); })) return peers;
  const std::string error = library_->error();
  if (error.empty() && waited < host_.timeout()) return nullptr;
  const std::lock_guard lock(mutex_);
  const Watched& c = calls_.front();
  const std::string where = cat("rank ", host_.rank(), " in ", name_of(c.call), " of step ", c.step, ", call ",
                                c.number, " on the GPU, ", c.bytes, " bytes: ");
  std::string others;
  for (int r = 0; r < host_.ranks(); ++r)
    if (r != host_.rank()) others += (others.empty() ? "" : ", ") + host_.standing(r);
  return thrown_by([&] {
    if (!error.empty()) machine_error(where, error);
    machine_error(where, "it has not run after ", host_.timeout(), " s (comm.timeout); of ", calls_.size(),
                  " calls that wait the first, behind it is ", name_of(calls_.back().call), "; ", others);
  });
}

void NcclWatch::run() {
  library_->enter();
  Waited waited;
  for (std::unique_lock lock(mutex_); !stopping_;) {
    if (calls_.empty()) {
      changed_.wait(lock, [&] { return stopping_ || !calls_.empty(); });
      waited.again();
      continue;
    }
    changed_.wait_for(lock, between_looks, [&] { return stopping_; });
    lock.unlock();
    std::exception_ptr failure = thrown_by([&] {
      const std::uint64_t done = library_->done();
      const std::lock_guard again(mutex_);
      for (; !calls_.empty() && calls_.front().number <= done; calls_.pop_front()) waited.again();
    });
    const bool waits = [&] {
      const std::lock_guard again(mutex_);
      return !calls_.empty();
    }();
    if (!failure && waits) failure = found(waited.seconds());
    lock.lock();
    if (!failure) continue;
    failure_ = failure;
    lock.unlock();
    library_->abort();
    return;
  }
}

}  // namespace ov
