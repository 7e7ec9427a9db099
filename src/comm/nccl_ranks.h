// Ranks that are processes with a GPU each: tensors of the GPU travel through NCCL (kernels/gpu/nccl.h), those of the
// host through the memory that the ranks share (process_ranks.h).
//
//   ordered   the default: NCCL moves bytes, in groups of sends and receives, and sums are ours (communicator.h): one
//             rank's bits
//   nccl      all_reduce, reduce_scatter, all_gather and broadcast are the library's: fewer and longer messages; sums
//             by rings, whose bits repeat on one machine with one layout and differ from one rank's within rounding.
//             Where some ranks have nothing to add, sums are ordered
//
// Before bytes go, the hosts agree on call, type and size, message by message: what the library leaves undefined, a
// hang or numbers that are wrong, is an error that names both sides. A message of the host comes after all that the GPU
// has been given, so that there is one order of everything that ranks say. What goes wrong on the GPU: nccl_watch.h.
#pragma once
#include <map>
#include <memory>

#include "comm/nccl_watch.h"

namespace ov {

enum class CommSum { ordered, nccl };

class NcclRanks : public Communicator, public Inbox {
 public:
  // machine_error when the ranks have not one version of the library, or when it is too old or missing.
  NcclRanks(ProcessRanks& host, gpu::CudaDevice& device, CommSum sum);
  ~NcclRanks() override;
  void close();                 // at the end of a run that has gone well
  std::string version() const;  // "2.28.9"

  void at_step(std::int64_t step) override;
  void works_alone(bool on) override { host_.works_alone(on); }
  Beside* beside() override;
  int sender(std::span<const int> of, double seconds) override;
  double timeout() const override { return host_.timeout(); }
  // The library's communicator ends with the first rank that is lost: here each is needed, and a killed one fails all.
  void may_lose(std::span<const int>) override {}
  bool lost(int) const override { return false; }

 protected:
  void exchange(Call call, const Parts& to, const Parts& from) override;
  OwnCalls* own_calls(const Tensor& like, const std::vector<int>& members) override;

 private:
  class Members;
  class Lane;
  gpu::nccl::Comm join(Communicator& members);
  void run(Call call, std::int64_t bytes, gpu::nccl::Comm comm, const std::function<void()>& calls);
  void agree(Call call, const Parts& to, const Parts& from);
  void waiting() const;

  ProcessRanks& host_;
  gpu::CudaDevice& device_;
  const CommSum sum_;
  gpu::Nccl library_;
  NcclWatch watch_;
  gpu::nccl::Comm all_ = nullptr;
  std::unique_ptr<Lane> lane_;
  std::map<std::vector<int>, std::unique_ptr<Members>> members_;
  double deadline_ = 0;  // of the library's answer to the call that is being queued
};

}  // namespace ov
