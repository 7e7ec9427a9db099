#include "serve/workers.h"

#include <system_error>

#include "base/error.h"
#include "base/serial.h"

namespace ov::serve {

Workers::Workers(std::size_t n) {
  threads_.reserve(n);
  try {
    while (threads_.size() < n) threads_.emplace_back([this] { work(); });
  } catch (const std::system_error& e) {
    const std::size_t started = threads_.size();
    shutdown();
    machine_error("serve: cannot start ", n, " threads for connections (serve.connections), only ", started, ": ",
                  e.what());
  }
}

void Workers::enqueue(std::function<void()> job) {
  const std::lock_guard hold(lock_);
  jobs_.push_back(std::move(job));
  changed_.notify_one();
}

void Workers::shutdown() {
  {
    const std::lock_guard hold(lock_);
    over_ = true;
  }
  changed_.notify_all();
  for (auto& t : threads_) t.join();
  threads_.clear();
}

void Workers::work() {
  const Aside beside_the_answers;  // pictures are made ready while others are answered
  for (std::unique_lock hold(lock_);;) {
    changed_.wait(hold, [&] { return over_ || !jobs_.empty(); });
    if (jobs_.empty()) return;
    const std::function<void()> job = std::move(jobs_.front());
    jobs_.pop_front();
    hold.unlock();
    job();
    hold.lock();
  }
}

}  // namespace ov::serve
