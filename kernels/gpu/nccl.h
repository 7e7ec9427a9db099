// Messages between GPUs through NVIDIA's NCCL, which is opened when the first communicator is made.
//
//   compute stream   ... writes x | ready        waits for done | reads x ...
//   stream of calls          waits for ready | the call | done
//
// The library's calls run in the device's stream of calls, one for all communicators: it waits for all that the compute
// stream holds when a call is queued, and finish(call) makes the compute stream wait for the call. Between the two,
// kernels that neither read nor write the call's tensors run beside it. Within CudaDevice::InCalls the kernels between
// calls are in that stream too, and nothing waits.
//
// Communicators do not block: a call returns at once and is asked after until the library has queued it, so that a
// thread that watches can end all of them when another rank is gone. A kernel that waits for a rank that is gone never
// ends by itself.
//
// Environment variables that change numbers or make calls block are set or removed before the library is opened,
// and that is said on stderr: sums by rings, not in the switch (NVLS), with as many channels as the library finds fit.
#pragma once
#include <atomic>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "kernels/gpu/cuda_device.h"
#include "kernels/gpu/nccl_api.h"
#include "tensor/tensor.h"

namespace ov::gpu {

class Nccl {
 public:
  // `waiting` is called again and again while the library is asked after; it throws to give up.
  Nccl(CudaDevice& device, std::function<void()> waiting);
  ~Nccl();  // what close() has not ended is aborted
  Nccl(const Nccl&) = delete;

  int version() const { return version_; }  // 22809 is 2.28.9
  nccl::Id unique_id() const;
  nccl::Comm join(const nccl::Id& id, int ranks, int rank);  // returns when all of them have
  void close();                                              // at the end, when nothing is under way

  // The library's calls that `calls` makes, as one group: they run together. Returns their number, from 1.
  std::uint64_t queue(nccl::Comm comm, const std::function<void()>& calls);
  void finish(std::uint64_t call);                            // what is queued for kernels from here on comes after it
  void host_away() { device_.runtime().host_away(stream_); }  // the host goes to wait for other ranks
  // Within queue(). Tensors are contiguous and lie on the device, and one without elements is passed over; those of
  // send and recv travel as bytes, and reduce leaves its sum at the root alone.
  void send(nccl::Comm comm, const Tensor& t, int to);
  void recv(nccl::Comm comm, const Tensor& t, int from);
  void all_reduce(nccl::Comm comm, const Tensor& t);
  void reduce(nccl::Comm comm, const Tensor& t, const Tensor& sum, int root);
  // Of parts by rank: one call where they have one size and lie together, else one for each part.
  void reduce_scatter(nccl::Comm comm, const std::vector<Tensor>& of, const Tensor& part, int rank);
  void all_gather(nccl::Comm comm, const std::vector<Tensor>& of, int rank);
  void broadcast(nccl::Comm comm, const Tensor& t, int root);

  // For a thread that watches.
  void enter() { device_.enter(); }
  std::uint64_t queued() const { return queued_; }  // calls so far
  std::uint64_t done();                             // of them, how many have run
  std::string error();                              // of the library, found since; empty: none
  void abort();                                     // ends all communicators; queued calls end with garbage
  bool aborted() const { return aborted_; }

 private:
  struct Under {
    std::uint64_t number;
    Event done;
  };
  void check(int result, const char* call, nccl::Comm comm = nullptr) const;
  void settle(const char* call, nccl::Comm comm);
  Event event();

  const nccl::Api api_;
  CudaDevice& device_;
  const std::function<void()> waiting_;
  int version_ = 0;
  const Stream stream_;  // the device's
  Event ready_;
  mutable std::mutex use_;  // of the communicators
  std::vector<nccl::Comm> comms_;
  std::mutex log_;  // of what is under way
  std::deque<Under> under_way_;
  std::vector<Event> events_;  // not in use
  std::atomic<std::uint64_t> queued_ = 0, done_ = 0;
  std::atomic<bool> aborted_ = false;
};

// The library of a device: a simulated one brings a stand-in; a GPU opens libnccl.so.2, or throws a machine_error that
// says what to install.
void bring_nccl(Device& device, const nccl::Api& api);
void forget_nccl(Device& device);  // when it ends

// The names of the variables that were found and are overridden, separated by spaces.
std::string settle_nccl_environment();

}  // namespace ov::gpu
