// What this machine's cores could do at most: the denominator of every "share of peak".
#pragma once

namespace ov::kernels::cpu {

// f32 floating-point operations a second of `n` threads that do nothing but independent fused multiply-adds, 2 per
// multiply-add. Measured on the first call for an n (about 20 ms), then remembered. input_error when n < 1.
double fma_peak_flops(int n);

// Values a second of base/math.h's e^x and erf x on one thread, of f32 in the nearest cache; takes under 1 ms.
double exp_rate();
double erf_rate();

}  // namespace ov::kernels::cpu
