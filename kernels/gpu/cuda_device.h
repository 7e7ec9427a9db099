// A GPU: its memory in arenas, streams for kernels, copies and calls between ranks, and the kernels of kernels/cuda.
//
// Memory. The runtime gives chunks; an arena cuts them. What kernels use is given back in the compute stream's order
// and handed out again at once, since the next kernel to touch it runs later in the same stream. What is copied to
// while kernels still run (Segment::data: batches, positions, indices) comes from chunks of its own, and is handed out
// again only when the compute stream has come past its release: so an upload need not wait for the queue of kernels.
// What is used in the stream of calls (InCalls) comes from chunks of its own too, in that stream's order.
//
// Copies pass through pinned memory (staging.h). The host waits in synchronize() alone, and where more bytes are under
// way than the staging memory holds.
//
// The same class runs on the simulated runtime (tests/devices), with kernels that kernels/sim runs.
#pragma once
#include <deque>
#include <functional>
#include <map>
#include <string_view>

#include "kernels/gpu/launchers.h"
#include "kernels/gpu/staging.h"
#include "tensor/arena.h"
#include "tensor/device.h"

namespace ov::gpu {

class CudaDevice : public Device {
 public:
  struct Options {
    Kind kind = Kind::cuda;
    std::string name = "cuda";
    int index = 0;
    std::size_t chunk = std::size_t{256} << 20, data_chunk = std::size_t{64} << 20;  // bytes
    std::size_t staging = std::size_t{32} << 20;                                     // each way
  };
  // `table`: null for the kernels of `launchers`.
  CudaDevice(Runtime& runtime, const kernels::Launchers& launchers, Options options,
             const kernels::Table* table = nullptr);
  ~CudaDevice() override;

  void copy_in(void* to, const void* from, std::size_t bytes, ov::Stream stream) override;
  void copy_out(void* to, const void* from, std::size_t bytes, ov::Stream stream) override;
  void wait(ov::Stream waiting, ov::Stream awaited) override;
  void synchronize() override;

  // Name, compute capability, multiprocessors, versions of driver, runtime and cuBLASLt.
  std::vector<std::pair<std::string, std::string>> about() override;
  std::string chosen() override;  // the algorithms of its products (kernels/gpu/algorithms.h); empty: none yet
  std::string choose(const std::string& text, const std::string& from) override;

  Stream enter(ov::Stream stream = ov::Stream::compute);  // makes the GPU this thread's; the stream to queue work in
  // While one lives, this thread's kernels go to the stream of calls, after all that the compute stream holds at its
  // beginning: what is queued for the compute stream afterwards runs beside them until await_calls().
  class InCalls {
   public:
    explicit InCalls(CudaDevice& device);
    ~InCalls();
    InCalls(const InCalls&) = delete;

   private:
    CudaDevice* const outer_;
  };
  Stream calls() const { return calls_; }
  void await_calls();  // what is queued for the compute stream from here on comes after all calls
  const kernels::Launchers& launchers() const { return launchers_; }
  Runtime& runtime() const { return runtime_; }
  // Called when the host has waited and before it reads: throws where what it waited for was cut off. Empty: none.
  void guard(std::function<void()> check) { check_ = std::move(check); }

 protected:
  void* obtain(std::size_t bytes, Segment segment) override;
  void give_back(void* data, std::size_t bytes) noexcept override;

 private:
  enum class For { kernels, data, calls };
  bool multiplies() const;  // its products are cuBLASLt's
  bool in_calls() const;    // this thread's kernels go to the stream of calls
  struct Released {         // a block of data that the compute stream may still read
    Event event;
    void* block;
  };
  Stream of(ov::Stream stream) const { return stream == ov::Stream::compute ? compute_ : copy_; }
  Arena& arena(For use) { return use == For::data ? data_ : use == For::calls ? for_calls_ : blocks_; }
  Arena::Backing source(For use);
  For use_of(const void* address) const;
  void order(ov::Stream waiting, ov::Stream awaited);
  void reclaim(bool wait);
  template <class F>
  void deliver(F&& copies);
  [[noreturn]] void out_of_memory(std::size_t bytes, Segment segment, const Arena& arena);

  Runtime& runtime_;
  const kernels::Launchers& launchers_;
  const Options options_;
  std::mutex mutex_;
  Stream compute_, copy_, calls_;
  Event ordered_[2];            // of wait(), by awaited stream
  Event calls_ordered_[2];      // of InCalls, and of await_calls()
  bool copies_awaited_ = true;  // the compute stream waits for all that the copy stream holds
  std::map<const std::byte*, std::pair<std::size_t, For>> chunks_;  // bytes, and what for
  Arena blocks_, data_, for_calls_;
  std::deque<Released> released_;
  std::vector<Event> events_;  // not in use
  Staging in_, out_;
  std::function<void()> check_;
};

// The machine's GPU of that number, opened on first use, the only one of this process: "cuda" (machine_error with the
// reason where there is none), "cpu", or "auto": the GPU where there is one that can be used, else the CPU.
Device& device_named(std::string_view name, int index = 0);
constexpr int least_major = 8;  // compute capability of the oldest GPUs that kernels are compiled for
std::string too_old(Runtime& runtime, int index);  // why this GPU runs none of them; empty: it does
void bring_gpu(Device* simulated);                 // tests: what "cuda" names from here on; null: the machine's

}  // namespace ov::gpu
