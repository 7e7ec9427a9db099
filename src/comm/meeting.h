// How the ranks of one machine find each other: rank 0 listens at a Unix socket in the abstract name space, whose name
// is the job's and which leaves no file; the others connect, say who they are, and get the descriptor of the memory
// that all share. The connections stay open: the system closes those of a process however it ends, and so the others
// know at once.
#pragma once
#include <string>
#include <vector>

#include "base/error.h"

namespace ov {

// An open file descriptor.
class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(other.release()) {}
  Descriptor& operator=(Descriptor&& other) noexcept;
  ~Descriptor();
  int get() const { return fd_; }
  int release() {
    const int fd = fd_;
    fd_ = -1;
    return fd;
  }

 private:
  int fd_;
};

// Which of how many this process is, and in which job (comm/rank_in_job.h).
struct RankInJob {
  int rank = 0, ranks = 1;
  std::string job;     // the same for all ranks, and for nobody else on this machine at this time
  std::string source;  // where that stands, for errors: "SLURM_PROCID, SLURM_NTASKS"
};

struct Meeting {
  Descriptor memory;
  std::vector<Descriptor> peers;  // by rank: rank 0 is connected to all others, they to rank 0 alone
};

// machine_error that names the ranks which have not come within `seconds`; input_error when two say the same rank, or
// say another number of ranks.
Meeting meet(const RankInJob& place, double seconds);

}  // namespace ov
