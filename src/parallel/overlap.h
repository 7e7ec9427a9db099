// Gradients are summed over data-parallel ranks while the backward pass goes on (PyTorch's DDP, Li et al. 2020;
// Megatron's overlap-grad-reduce): in buckets, ranges of the flat gradient buffer, each as soon as nothing that is left
// of the rank's last micro-batch adds to it.
//
//   backward of the last micro-batch    ... layer 3 | layer 2 | layer 1 | words, tower ...
//   sums beside it                                  | layer 3 | layer 2 | layer 1 | ...     | the rest, at the end
//
// The order in which buckets are summed is from the end of the buffer to its beginning, on every rank and whatever its
// micro-batch is: parameters are declared in the order in which a model runs (tower, words, layers, head), so that this
// is about the order of backward. When a bucket is complete, the tape knows (Tape::report): a table that is used twice
// is when its earlier use has gone backward, and a tower of which a micro-batch has no picture is at once. A bucket
// that is complete early waits for its turn.
//
// Every element is added as without overlap: first the rank's own micro-batches, then the tree over ranks
// (comm/ordered_sum.h). So the bits are the same; with comm.sum nccl they are of the library's choice here too.
//
//   shared memory   a thread makes the sums, over channels of its own (comm/beside.h), on one core
//   a device        sums are queued, calls and additions alike, in its stream of calls: kernels of the backward pass
//                   run beside them, the host waits for no kernel, and the update waits by an event. The first step of
//                   a process sums at the end: kernels are loaded when first needed, and such a load may wait for the
//                   device while a call on it waits for another rank, which loads too. Calls of tensor parallelism go
//                   the same way, one after another, and may stand behind a bucket
//
// Where it applies: data.h, zero1.h, zero2.h. Elsewhere sums come after the pass; comm.overlap true is refused: in a
// pipeline; where ranks hold one copy of the model, so that nothing is summed; between CPU ranks of several machines,
// whose bridge carries one lane; with shared experts or class tables, whose ranks add to each other's gradients after
// every turn; on a device with ZeRO 3, whose gathers would have to keep one order with the sums on all ranks, and with
// context parallelism, for its exchanges.
//
// Bytes: DataParallel::sum_bucket. A bucket's sum is divided evenly among all ranks, whoever updates it: all of them
// send and receive at once. With ZeRO it then goes on to the rank that keeps it, another 1/N of the bytes.
#pragma once
#include <condition_variable>
#include <exception>
#include <mutex>
#include <string>
#include <thread>

#include "comm/beside.h"
#include "parallel/data.h"

namespace ov {

class Overlap {
 public:
  // Elements of a bucket: whole chunks of the gradient norm. Of a device 64 MB, since its messages need the length; of
  // the host 1 MB.
  static std::int64_t usual_bucket(const Device& device, Dtype dtype);
  // Why sums of this mesh cannot be made beside the backward pass, in words; empty: they can.
  static std::string hindrance(const DataParallel& parallel, const Parameters& parameters, const Communicator& context);

  struct Round {
    Tensor gradients;         // a whole buffer, in which the sum will stand as DataParallel::sum leaves it
    int adding = 1;           // the first ranks, which have leaves
    std::int64_t leaves = 0;  // of this rank that run now, all of which report every bucket
    bool at_once = true;      // false: sum at finish()
    std::function<void(Range)> before = {};  // makes a range this rank's own sum; all leaves have reported it
  };
  // Until finish(), `gradients` and what `before` reads belong to it.
  Overlap(const DataParallel& parallel, std::int64_t bucket, Round round);
  ~Overlap();  // without finish(): gives up
  Overlap(const Overlap&) = delete;

  std::int64_t bucket() const { return bucket_; }
  // One of the leaves adds nothing more to it. Any thread; throws what has ended the sums.
  void complete(std::int64_t bucket);
  // All leaves have run: what they have not reported is complete too. Returns when all is summed, or queued.
  void finish();
  // The most that sums take of the device's memory, as a share of it (Device::overlapped).
  MemoryUse memory() const;

 private:
  void sum(std::int64_t bucket);
  void sum_complete();
  void run();
  void stop();

  const DataParallel& parallel_;
  const std::int64_t bucket_;
  const Round round_;
  Beside& beside_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::int64_t> left_;  // by bucket: leaves that have yet to report it
  std::int64_t next_;               // to be summed, downwards
  bool stopping_ = false, finished_ = false;
  std::exception_ptr failure_;
  std::thread thread_;
};

}  // namespace ov
