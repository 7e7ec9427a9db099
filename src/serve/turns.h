// How many do something at a time, in the order in which they came.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace ov::serve {

class Turns {
 public:
  explicit Turns(std::uint64_t at_once) : free_(at_once) {}
  // How many have come so far, those that wait too.
  std::uint64_t came() {
    const std::lock_guard hold(lock_);
    return next_;
  }

  class Turn {
   public:
    explicit Turn(Turns& of) : of_(of) {
      std::unique_lock hold(of_.lock_);
      const std::uint64_t ticket = of_.next_++;
      of_.changed_.wait(hold, [&] { return of_.free_ > 0 && ticket == of_.called_; });
      ++of_.called_, --of_.free_;
      of_.changed_.notify_all();
    }
    ~Turn() {
      const std::lock_guard hold(of_.lock_);
      ++of_.free_;
      of_.changed_.notify_all();
    }
    Turn(const Turn&) = delete;

   private:
    Turns& of_;
  };

 private:
  std::mutex lock_;
  std::condition_variable changed_;
  std::uint64_t free_, next_ = 0, called_ = 0;
};

}  // namespace ov::serve
