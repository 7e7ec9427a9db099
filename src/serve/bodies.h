// The bytes of all requests that are being read or understood: bounded together, however many come at once.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <set>

namespace ov::serve {

// Beyond the budget readers wait until others are done; the one that began first never does, so none waits for ever and
// no more is held than the budget and one request.
class Bodies {
 public:
  explicit Bodies(std::int64_t budget) : budget_(budget) {}

  class Share {
   public:
    explicit Share(Bodies& of) : of_(of) {
      const std::lock_guard hold(of_.lock_);
      of_.readers_.insert(ticket_ = of_.next_++);
    }
    ~Share() { release(); }
    Share(const Share&) = delete;
    void add(std::int64_t bytes) {
      std::unique_lock hold(of_.lock_);
      mine_ += bytes, of_.held_ += bytes;
      of_.changed_.wait(hold, [&] { return of_.held_ <= of_.budget_ || ticket_ == *of_.readers_.begin(); });
    }
    void release() {
      const std::lock_guard hold(of_.lock_);
      of_.held_ -= mine_, mine_ = 0;
      of_.readers_.erase(ticket_);
      of_.changed_.notify_all();
    }

   private:
    Bodies& of_;
    std::uint64_t ticket_;
    std::int64_t mine_ = 0;
  };

 private:
  std::mutex lock_;
  std::condition_variable changed_;
  std::set<std::uint64_t> readers_;  // in order of arrival
  std::uint64_t next_ = 0;
  std::int64_t held_ = 0, budget_;
};

}  // namespace ov::serve
