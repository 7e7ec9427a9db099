// Whether 512-bit vectors are used: apart from the products, which most kernels do without.
#include <atomic>

#include "kernels/cpu/gemm_wide.h"

namespace ov::kernels::cpu {
namespace {

std::atomic<bool> allowed{true};

#if OV_GEMM_AVX2
bool processor_has_them() {
  static const bool yes = __builtin_cpu_supports("avx512f");
  return yes;
}
#else
bool processor_has_them() { return false; }
#endif

}  // namespace

bool wide_vectors() { return allowed.load(std::memory_order_relaxed) && processor_has_them(); }
void allow_wide_vectors(bool yes) { allowed = yes; }

}  // namespace ov::kernels::cpu
