// Who watches calls that run on a GPU: a kernel that waits for a rank that is gone waits for ever, and with it the host
// that waits for the kernel. A thread asks, and ends all communicators when
//
//   another rank has failed, or was killed            its error is this rank's too (PeerFailed)
//   the library has an asynchronous error             that error
//   a call has not run `timeout` seconds after it     an error that names it and where the others are
//   was queued and the one before it had run
//
// The host then gets the error from check(), which is called wherever it has waited for the GPU and before it reads.
#pragma once
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>

#include "comm/process_ranks.h"
#include "kernels/gpu/nccl.h"

namespace ov {

class NcclWatch {
 public:
  // Of calls of `library`, which outlives start() to stop().
  explicit NcclWatch(ProcessRanks& host) : host_(host) {}
  ~NcclWatch() { stop(); }
  void start(gpu::Nccl& library);
  void stop();

  struct Watched {
    std::uint64_t number;  // as Nccl::queue gives it
    Call call;
    std::int64_t step, bytes;
  };
  void note(const Watched& call);  // about to be queued
  void check() const;              // throws what has ended the communicators

 private:
  void run();
  std::exception_ptr found(double waited);  // null: nothing is wrong

  ProcessRanks& host_;
  gpu::Nccl* library_ = nullptr;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  std::deque<Watched> calls_;  // that have not run, as far as is known
  std::exception_ptr failure_;
  std::thread thread_;
};

}  // namespace ov
