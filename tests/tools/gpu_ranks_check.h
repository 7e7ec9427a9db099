// The part of make gpu-check that takes several GPUs: every call of ranks that have one each, over NCCL.
#pragma once

namespace ov::test {

// 0, or 1 when something is wrong; says what it has checked in lines that begin with "ranks: ", one line where there
// are fewer than two GPUs. `simulated`: on two simulated ones. To be called before this process has touched a GPU: its
// children, one a rank, cannot use one after that.
int check_gpu_ranks(bool simulated);

}  // namespace ov::test
