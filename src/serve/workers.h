// Threads that serve connections, for httplib: all of them are there before the first client comes, or none.
#pragma once
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "serve/http.h"

namespace ov::serve {

class Workers : public httplib::TaskQueue {
 public:
  // Throws machine_error when the system does not give so many.
  explicit Workers(std::size_t n);
  ~Workers() override { shutdown(); }
  void enqueue(std::function<void()> job) override;
  void shutdown() override;  // after what was given; from then on nothing more

 private:
  void work();

  std::mutex lock_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> jobs_;
  bool over_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace ov::serve
