// The device `foreign`: what a GPU would show about the host's code, on a machine without one. Tests only.
//
// Its memory is one file mapped twice. Addresses that tensors hold point into a mapping that nobody may touch: a host
// that follows one faults, and the fault's place is named. Kernels (the cpu's) and copies work in the other mapping.
//
// Nothing runs when it is called. Each stream is a queue, and a policy says which queue's head runs next and when:
//
//   eager         at once: plain logic
//   lazy          nothing before synchronize(), then the compute stream first
//   copies_first  nothing before synchronize(), then the copy stream first
//   random        some of what is ready at every call, in an order drawn from the seed
//
// Layout::fenced puts the end of every allocation to the end of a page (but for what 16-byte alignment leaves), with
// nothing behind it: a kernel that reads past the end faults, and the place is named. It costs a page or two each.
//
// All are legal orders, so all must give the cpu's bits. What is not written yet reads as NaN: fresh memory, freed
// memory, and the host's side of a copy_out before synchronize(). Faults, each an error that names its place: a kernel
// or a copy whose memory has been released, a write past the end of an allocation, an argument on another device.
#pragma once
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "base/rng.h"
#include "tensor/arena.h"
#include "tensor/device.h"
#include "tensor/tensor.h"

namespace ov::test {

class ForeignDevice : public Device {
 public:
  enum class Policy { eager, lazy, copies_first, random };
  enum class Layout { packed, fenced };
  explicit ForeignDevice(Policy policy, std::uint64_t seed = 0, std::size_t capacity = std::size_t{1} << 32,
                         const kernels::Table* table = nullptr,  // null: the cpu's kernels
                         Layout layout = Layout::packed);
  ~ForeignDevice() override;

  void copy_in(void* to, const void* from, std::size_t bytes, Stream stream) override;
  void copy_out(void* to, const void* from, std::size_t bytes, Stream stream) override;
  void wait(Stream waiting, Stream awaited) override;
  void synchronize() override;  // throws what failed since the last call

  std::size_t queued() const;  // kernels, copies and releases that have not run
  std::int64_t ran() const { return ran_; }
  std::int64_t reads() const { return reads_; }  // calls of copy_out

  // For the table of kernels (foreign_device.cpp).
  struct Use {  // an allocation that queued work reads or writes
    std::size_t offset, generation;
  };
  Use use_of(const char* what, const void* address);
  void* working(const void* address) const;
  bool holds(const void* address) const;          // among the addresses that tensors have
  bool holds_working(const void* address) const;  // among those that kernels have
  void enqueue(const char* what, Stream stream, std::vector<Use> uses, std::function<void()> run);

  static void explain_fault(void* address);  // writes where a fault's address lies to standard error

 protected:
  void* obtain(std::size_t bytes, Segment segment) override;
  void give_back(void* data, std::size_t bytes) noexcept override;
  void flush() override { drain(); }

 private:
  struct Node {
    const char* what;
    std::vector<Use> uses = {};
    std::function<void()> run = {};
    int awaited = -1;  // a stream, and how much of it must have run before
    std::uint64_t until = 0;
  };
  struct Queue {
    std::deque<Node> nodes;
    std::uint64_t queued = 0, done = 0;
  };
  struct Allocation {
    std::size_t bytes, generation;
    Segment segment;
    void* block;        // of the arena
    std::size_t guard;  // bytes behind it that nobody may write
    bool released = false;
  };
  void push(Stream stream, Node node);
  bool run_head(std::size_t stream);  // false: nothing there, or it waits
  void progress();
  void drain();
  void free_now(std::size_t offset);
  std::string describe(std::size_t offset, const Allocation& a) const;
  std::map<std::size_t, Allocation>::iterator find(std::size_t offset);

  const Policy policy_;
  const Philox random_;
  const std::size_t capacity_;
  const Layout layout_;
  std::byte *public_ = nullptr, *working_ = nullptr;
  void* whole_ = nullptr;  // until the arena takes it
  Arena arena_;
  mutable std::mutex mutex_;
  std::array<Queue, 2> queues_;
  std::map<std::size_t, Allocation> allocations_;  // by offset
  std::uint64_t draws_ = 0, generations_ = 0;
  std::int64_t ran_ = 0, reads_ = 0;
  bool draining_ = false;
  std::exception_ptr error_;
};

}  // namespace ov::test
