// AdamW and the gradient norm (kernels/adamw.h), in the CPU's operations and order of sums: its bits.
//
//   g ← clip grad,  m ← β1 m + (1-β1) g,  v ← β2 v + (1-β2) g²,  w ← w (1 - lr wd) - step m / (√v / correction + eps)
//   partial_k = Σ x² over chunk k,  norm = √Σ_k partial_k,  clip = min(1, limit / (norm + 1e-6))
//
//   grad m v w | 4 elements | 4 elements | ...   one thread a packet of each, 16 bytes; the same 4 of a bf16 parameter
//   ranges     | blocks 0, 1 | block 2 | blocks 3, 4, 5 | ...    1024 elements a block, whatever rate its range has
//   x          | chunk 0: block 0, 4096 elements | chunk 1: block 1 | ...    by packets (kernels/cuda/reduce.h), then
//                                                                           one block for the chunks' sums
//
// One launch updates all parameters: what differs between ranges is a table among the kernel's parameters. f32: 16
// bytes read and 12 written an element, with a bf16 parameter 2 more, with moments in bf16 4 less each way; about 13
// FLOPs, a root and two quotients, and where they are rounded by chance 20 integer operations of Philox.
// squared_sums: size(x) bytes and 2 f64 FLOPs an element.
#include "kernels/adamw.h"

#include "kernels/cuda/launchers.h"
#include "kernels/cuda/reduce.h"

#ifndef __CUDACC__
#define __grid_constant__  // a parameter that is indexed where it lies, in constant memory
#endif

namespace ov::kernels::OV_CUDA {
namespace {

constexpr int most_ranges = 512, update_threads = 256, update_width = 4;
constexpr std::int64_t of_block = update_threads * update_width;

struct Range {
  std::int64_t block, param, begin, count;  // its first block; its first elements; how many
  float keep, step_size;
};
struct Ranges {
  int count;
  Range at[most_ranges];
};

// Moments of type M, rounded by chance or to the nearest.
template <class T, class M, bool by_chance>
struct Update {
  T* param;
  float* master;  // param where that is f32
  M *m, *v;
  const float* grad;
  const double* clip;
  float b1, b2, c1, c2, eps, correction;
  bool aligned;  // all of them, for packets
  Philox random;
  std::uint64_t first;

  // Packet p of `width` elements, counted from element 0 of the range.
  template <int width>
  __device__ void at(const Range& r, float factor, std::int64_t p) const {
    float* const weights = master + (std::is_same_v<T, float> ? r.param : r.begin);
    const auto g = load<width>(grad + r.begin, p);
    auto mean = load<width>(m + r.begin, p), square = load<width>(v + r.begin, p);
    auto w = load<width>(weights, p);
    [[maybe_unused]] auto words = [&] {
      if constexpr (by_chance) return PhiloxWords(random, first + static_cast<std::uint64_t>(r.begin + p * width));
      else return 0;
    }();
    UNROLL
    for (int i = 0; i < width; ++i) {
      const float gi = g.at[i] * factor;
      const float mi = b1 * float(mean.at[i]) + c1 * gi;
      const float vi = b2 * float(square.at[i]) + c2 * (gi * gi);
      w.at[i] = w.at[i] * r.keep - r.step_size * (mi / (std::sqrt(vi) / correction + eps));
      if constexpr (by_chance) {
        const std::uint32_t word = words();
        mean.at[i] = rounded_by_chance(mi, word), square.at[i] = rounded_by_chance(vi, word >> 16);
      } else {
        mean.at[i] = M(mi), square.at[i] = M(vi);
      }
    }
    store<width>(m + r.begin, p, mean);
    store<width>(v + r.begin, p, square);
    store<width>(weights, p, w);
    if constexpr (!std::is_same_v<T, float>) {
      Packet<T, width> rounded;
      UNROLL
      for (int i = 0; i < width; ++i) rounded.at[i] = T(w.at[i]);
      store<width>(param + r.param, p, rounded);
    }
  }
};

template <class U>
__global__ void update(const U u, const __grid_constant__ Ranges ranges) {
  if (!std::isfinite(*u.clip)) return;
  int first = 0;  // the last range that begins at this block or before
  for (int count = ranges.count; count > 1;) {
    const int half = count / 2;
    if (ranges.at[first + half].block <= blockIdx.x) first += half, count -= half;
    else count = half;
  }
  const Range& r = ranges.at[first];
  const std::int64_t packet = (blockIdx.x - r.block) * update_threads + threadIdx.x;
  const float factor = float(*u.clip);
  const bool whole = u.aligned && (r.param | r.begin) % update_width == 0 && (packet + 1) * update_width <= r.count;
  if (whole) return u.template at<update_width>(r, factor, packet);
  for (std::int64_t i = packet * update_width; i < (packet + 1) * update_width && i < r.count; ++i)
    u.template at<1>(r, factor, i);
}

// βᵗ by squaring, as the CPU has it.
double power(double base, std::int64_t exponent) {
  double result = 1;
  for (; exponent > 0; exponent /= 2, base *= base)
    if (exponent % 2 == 1) result *= base;
  return result;
}

template <class T>
__global__ void chunk_squares(double* partial, const T* x, std::int64_t N, bool aligned) {
  const T* chunk = x + blockIdx.x * norm_chunk;
  const std::int64_t left = N - blockIdx.x * norm_chunk;
  const int count = static_cast<int>(left < norm_chunk ? left : norm_chunk);
  const Columns<packet_width<T>> columns{count, aligned && count % packet_width<T> == 0};
  const double sum = row_sum<double>(Block(), columns, [&](auto width, int p) {
    return each([](float x) { return double(x) * double(x); }, load<width>(chunk, p));
  });
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

__global__ void clip_of(double* norm, double* clip, const double* partial, std::int64_t K, double limit) {
  const double total = std::sqrt(row_sum<double>(K, [&](std::int64_t k) { return partial[k]; }));
  if (threadIdx.x > 0) return;
  *norm = total;
  const double factor = limit / (total + 1e-6);
  *clip = !std::isfinite(total) ? double(NAN) : limit > 0 && factor < 1 ? factor : 1.0;
}

template <class T, class M, bool by_chance>
void run(const Adamw& a, gpu::Stream stream) {
  T* const param = a.param.device_data<T>();
  float* master = nullptr;
  if constexpr (std::is_same_v<T, float>) master = param;
  else master = a.master.device_data<float>();
  const auto in_packets = [](const Tensor& t) {
    return !t || reinterpret_cast<std::uintptr_t>(t.device_bytes()) % (update_width * size_of(t.dtype())) == 0;
  };
  using U = Update<T, M, by_chance>;
  const U of_all{.param = param,
                 .master = master,
                 .m = a.m.device_data<M>(),
                 .v = a.v.device_data<M>(),
                 .grad = a.grad.device_data<float>(),
                 .clip = a.clip.device_data<double>(),
                 .b1 = float(a.beta1),
                 .b2 = float(a.beta2),
                 .c1 = float(1 - a.beta1),
                 .c2 = float(1 - a.beta2),
                 .eps = float(a.eps),
                 .correction = float(std::sqrt(1 - power(a.beta2, a.step))),
                 .aligned = in_packets(a.param) && in_packets(a.master) && in_packets(a.m) && in_packets(a.v) &&
                            in_packets(a.grad),
                 .random = a.random.value_or(Philox(0, "")),
                 .first = a.first};
  const double by_step = 1 - power(a.beta1, a.step);
  Ranges ranges{};
  std::int64_t blocks = 0;
  const auto go = [&] {
    if (blocks > 0)
      launch(update<U>, dim3(static_cast<unsigned>(blocks)), dim3(update_threads), 0, stream, of_all, ranges);
    ranges.count = 0, blocks = 0;
  };
  for (const AdamwRange& r : ranges_of(a)) {
    if (r.count == 0) continue;
    ranges.at[ranges.count++] = {
        blocks, r.param, r.begin, r.count, float(1 - r.lr * r.weight_decay), float(r.lr / by_step)};
    blocks += (r.count + of_block - 1) / of_block;
    if (ranges.count == most_ranges) go();
  }
  go();
}

}  // namespace

void adamw(const Adamw& a, gpu::Stream stream) {
  by_cuda_dtype(a.param.dtype(), [&](auto t) {
    using T = decltype(t);
    if (a.m.dtype() != Dtype::bf16) run<T, float, false>(a, stream);
    else if (a.random) run<T, Bf16, true>(a, stream);
    else run<T, Bf16, false>(a, stream);
  });
}

void squared_sums(const SquaredSums& a, gpu::Stream stream) {
  const std::int64_t N = a.x.numel(), K = a.partial.numel();
  if (K == 0) return;
  by_cuda_dtype(a.x.dtype(), [&](auto t) {
    using T = decltype(t);
    const T* x = a.x.device_data<T>();
    static_assert(norm_chunk % packet_width<T> == 0);  // the last chunk alone may end within a packet
    launch(chunk_squares<T>, dim3(static_cast<unsigned>(K)), dim3(row_threads(std::min(N, norm_chunk))), 0, stream,
           a.partial.device_data<double>(), x, N, in_packets<packet_width<T>>(x, norm_chunk));
  });
}

void clip_factor(const ClipFactor& a, gpu::Stream stream) {
  const std::int64_t K = a.partial.numel();
  launch(clip_of, dim3(1), dim3(row_threads(K)), 0, stream, a.norm.device_data<double>(), a.clip.device_data<double>(),
         a.partial.device_data<double>(), K, a.limit);
}

}  // namespace ov::kernels::OV_CUDA
