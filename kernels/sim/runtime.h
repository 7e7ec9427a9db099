// A GPU's runtime (kernels/gpu/runtime.h) on a machine without one. Tests only.
//
// Nothing runs when it is called. Each stream is a queue, and a policy says which queue's head runs next and when:
//
//   eager         at once: plain logic
//   lazy          nothing before a call that waits, then only what that call waits for
//   others_first  nothing before a call that waits, then all other streams' work, the last stream's first
//   random        some of what is ready at every call, in an order drawn from the seed
//
// All are legal orders, so all must give the same bits. Work runs on the thread whose call makes it run. What fails
// there comes out of the next call that waits, with the line that queued it. Faults beside those of SimMemory:
//   a kernel's parameter that points to the host's memory, or that is a working address already
//   a copy from or to memory that is not pinned; one whose source is changed before it runs
//   waiting for an event that was never recorded; a stream that ends with work in it
//   a call from a thread whose current GPU is another one
// A host's destination holds NaN until its copy has run. It is a GPU of compute capability 9.0 unless a test makes it
// another one: its attributes say so, and launches beyond its limits are faults.
#pragma once
#include <deque>
#include <exception>
#include <vector>

#include "base/rng.h"
#include "kernels/sim/capability.h"
#include "kernels/sim/memory.h"
#include "kernels/sim/stream.h"

namespace ov::sim {

class SimRuntime : public gpu::Runtime {
 public:
  enum class Policy { eager, lazy, others_first, random };
  enum class Layout { packed, fenced };
  SimRuntime(Policy policy, std::uint64_t seed = 0, std::size_t capacity = std::size_t{1} << 32,
             Layout layout = Layout::packed, int index = 0);
  ~SimRuntime() override;

  int device_count(std::string&) override { return index_ + 1; }
  void set_device(int index, gpu::Place) override;
  int attribute(gpu::Attribute, int index, gpu::Place) override;
  std::string device_name(int, gpu::Place) override { return "simulated GPU"; }
  Memory memory_info(gpu::Place) override { return {memory_.capacity() - memory_.used(), memory_.capacity()}; }
  Versions versions(gpu::Place) override { return {0, 0}; }
  void* allocate(std::size_t bytes, gpu::Place) override;
  void release(void* data) noexcept override;
  void* pinned_allocate(std::size_t bytes, gpu::Place) override;
  void pinned_release(void* data) noexcept override;
  void copy(void* to, const void* from, std::size_t bytes, gpu::Copy, gpu::Stream, gpu::Place) override;
  void fill(void* to, int byte, std::size_t bytes, gpu::Stream, gpu::Place) override;
  gpu::Stream stream_create(bool urgent, gpu::Place) override;
  void stream_destroy(gpu::Stream) noexcept override;
  void stream_synchronize(gpu::Stream, gpu::Place) override;
  void stream_wait(gpu::Stream, gpu::Event, gpu::Place) override;
  gpu::Event event_create(bool timed, gpu::Place) override;
  void event_destroy(gpu::Event) noexcept override;
  void event_record(gpu::Event, gpu::Stream, gpu::Place) override;
  bool event_done(gpu::Event, gpu::Place) override;
  bool event_past(gpu::Event, gpu::Place) override;
  void event_synchronize(gpu::Event, gpu::Place) override;
  float event_elapsed(gpu::Event, gpu::Event, gpu::Place) override;
  Runtime::Layout layout(std::size_t bytes) override { return memory_.layout(bytes); }
  void handed_out(void* data, std::size_t bytes, Segment segment, gpu::Stream) override;
  void retired(void* data, gpu::Stream) noexcept override;
  void unwritten(void* to, std::size_t bytes) override;
  void host_away(gpu::Stream) override;

  // For tests.
  struct Counts {
    std::int64_t ran = 0;                        // of all that was queued
    std::int64_t waits = 0, reads = 0;           // calls in which the host waits; copies to the host
    std::int64_t launches = 0, allocations = 0;  // of kernels and library calls; of device and pinned memory
  };
  Counts counts() const;
  std::size_t queued() const;                             // what has not run
  void drain();                                           // runs all of it, in the policy's order
  void rethrow();                                         // what has failed since the last call
  void fail(std::int64_t launch) { fails_in_ = launch; }  // the launch-th from now on fails
  void exhaust(std::int64_t chunks) { left_ = chunks; }   // of device memory that are still to be had
  // Another generation: its attributes, and its limits for what runs from now on. logic_error: there is none such.
  void become(Capability capability) { capability_ = generation_of(capability).capability; }
  // Work of the test's own: `run` on memory of these addresses.
  void enqueue(gpu::Stream, const char* what, const std::vector<const void*>& addresses, std::function<void()> run);
  const SimMemory& memory() const { return memory_; }

 private:
  struct Queue;
  struct Recorded;
  struct Node {
    const char* what;
    gpu::Place place;
    std::vector<SimMemory::Use> uses = {};
    std::function<void()> run = {};
    Queue* awaited = nullptr;  // and how much of it must have run before
    std::uint64_t until = 0;
    bool bookkeeping = false;  // runs after a fault too
  };
  void require_current(gpu::Place) const;
  Queue& queue_of(gpu::Stream, gpu::Place) const;
  Recorded& event_of(gpu::Event, gpu::Place) const;
  void push(Queue&, Node);
  bool run_head(Queue&);  // false: nothing there, or it waits
  void progress();
  void force(Queue&, std::uint64_t until);
  bool pinned(const void* data, std::size_t bytes) const;

  const Policy policy_;
  const Philox random_;
  const int index_;
  mutable std::mutex mutex_;
  std::mutex events_mutex_;  // of events_ and what they hold
  SimMemory memory_;
  std::vector<std::unique_ptr<Queue>> queues_;
  std::vector<std::unique_ptr<Recorded>> events_;
  std::map<const std::byte*, std::vector<std::byte>> pinned_;
  Counts counts_;
  std::uint64_t draws_ = 0;
  std::int64_t fails_in_ = 0;  // 0: none will
  std::int64_t left_ = -1;     // chunks; -1: as many as fit
  Capability capability_;
  bool running_ = false;
  std::exception_ptr error_;
};

}  // namespace ov::sim
