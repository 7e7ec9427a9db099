// Region attention: one query a region, which sees a list of rows (kernels/region_attention.h). With the CPU's bits.
//
//   s_rj = scale q_r·k_j,  p_rj = exp(s_rj - lse_r),  o_r = Σ_j p_rj v_j
//
// Forward and gradient_q: a block of 128 threads takes one region and one head, and walks the region's list 128 rows at
// a time. Within such a step a thread is one row of the list while scores are made, and a column (d = thread) while
// rows are added up:
//
//            rows of the list ->                       columns d ->
//           +---+---+---+---+-----+                  +---+---+-----+
//        p  | 0 | 1 | 2 | 3 | ... |        out  =    | 0 | 1 | ... |  += p_j v_jd for the 128 j, in their order
//           +---+---+---+---+-----+                  +---+---+-----+
//
// The maximum has to be known first, so scores are computed twice: 6 D flops and two rows read per pair and head.
//
// gradient_kv: a row's gradient is a sum over the regions that list it, in their order. A block takes 16 rows of k and
// v and one head, walks the whole list and picks what falls on its rows; p and ds were left by gradient_q, 8 bytes a
// pair and head. Every list entry is read once per 16 rows: N/16 · pairs · H of four bytes, small beside what the
// pictures themselves cost. A column a thread and any width, so single numbers; arithmetic takes the time.
#include "kernels/region_attention.h"

#include "kernels/cuda/attention_rows.h"
#include "kernels/cuda/launchers.h"
#include "kernels/cuda/reduce.h"

namespace ov::kernels::OV_CUDA {
namespace {

constexpr int threads = 128;
constexpr int most_columns = 2;  // of a thread: heads of up to 256 numbers
constexpr int rows_of_block = 16;

// a·b in the order of base/sum.h, by one thread.
template <class T>
__device__ float lane_dot(const T* a, const T* b, int D) {
  float lane[sum_lanes] = {};
  for (int d = 0; d < D; d += sum_lanes)
    for (int k = 0; k < sum_lanes; ++k)
      if (d + k < D) lane[k] += float(a[d + k]) * float(b[d + k]);
  for (int step = sum_lanes / 2; step; step /= 2)
    for (int k = 0; k < sum_lanes / 2; ++k)
      if (k < step) lane[k] += lane[k + step];
  return lane[0];
}

// to_d += p_j row_jd for the n rows of this step, in their order.
template <class Factors, class Row>
__device__ void add_rows(float* to, int n, int D, const Factors& factor, Row row) {
  for (int c = 0; c < most_columns; ++c)
    if (const int d = threadIdx.x + c * threads; d < D)
      for (int j = 0; j < n; ++j) to[c] += factor[j] * float(row(j)[d]);
}

template <class T>
__global__ void forward(Heads<T> o, float* lse, Heads<T> q, Heads<T> k, Heads<T> v, const std::int64_t* begin,
                        const std::int64_t* rows, int H, int D, float scale) {
  SHARED(float, p, threads);
  SHARED(std::int64_t, seen, threads);
  const int r = blockIdx.x / H, h = int(blockIdx.x) % H, thread = threadIdx.x;
  const std::int64_t first = begin[r], end = begin[r + 1];
  const T* query = q.at(r, h);
  float top = -INFINITY;
  for (std::int64_t j = first + thread; j < end; j += threads) {
    const float s = scale * lane_dot(query, k.at(rows[j], h), D);
    top = s > top ? s : top;
  }
  top = block_max(top);

  float lane = 0, out[most_columns] = {};
  for (std::int64_t j0 = first; j0 < end; j0 += threads) {
    const int n = smaller(threads, int(end - j0));
    if (thread < n) {
      seen[thread] = rows[j0 + thread];
      p[thread] = math::exp(scale * lane_dot(query, k.at(seen[thread], h), D) - top);
    }
    __syncthreads();
    if (thread < sum_lanes)
      for (int j = thread; j < n; j += sum_lanes) lane += p[j];
    __syncthreads();
    if (thread < n) p[thread] = float(T(p[thread]));  // the sum keeps all digits, the product does not
    __syncthreads();
    add_rows(out, n, D, p, [&](int j) { return v.at(seen[j], h); });
    __syncthreads();
  }
  if (thread < sum_lanes) {
    for (int step = sum_lanes / 2; step; step /= 2) lane += __shfl_down_sync(0xffffu, lane, step, sum_lanes);
    if (thread == 0) p[0] = lane, lse[std::int64_t(r) * H + h] = top + math::log(lane);
  }
  __syncthreads();
  for (int c = 0; c < most_columns; ++c)
    if (const int d = thread + c * threads; d < D) o.at(r, h)[d] = T(out[c] / p[0]);
}

// What a pair gives to its row's gradients.
struct Weights {
  float p, ds;
};

template <class T>
__global__ void gradient_q(Heads<T> dq, Weights* pairs, Heads<T> q, Heads<T> k, Heads<T> v, Heads<T> o, Heads<T> d_o,
                           const float* lse, const std::int64_t* begin, const std::int64_t* rows, int H, int D,
                           float scale) {
  SHARED(float, ds, threads);
  SHARED(std::int64_t, seen, threads);
  const int r = blockIdx.x / H, h = int(blockIdx.x) % H, thread = threadIdx.x;
  const std::int64_t first = begin[r], end = begin[r + 1];
  const T *query = q.at(r, h), *gradient = d_o.at(r, h);
  const float delta = lane_dot(o.at(r, h), gradient, D), my_lse = lse[std::int64_t(r) * H + h];
  float out[most_columns] = {};
  for (std::int64_t j0 = first; j0 < end; j0 += threads) {
    const int n = smaller(threads, int(end - j0));
    if (thread < n) {
      const std::int64_t row = seen[thread] = rows[j0 + thread];
      const float p = math::exp(scale * lane_dot(query, k.at(row, h), D) - my_lse);
      ds[thread] = scale * p * (lane_dot(gradient, v.at(row, h), D) - delta);
      pairs[(j0 + thread) * H + h] = {float(T(p)), ds[thread]};
    }
    __syncthreads();
    add_rows(out, n, D, ds, [&](int j) { return k.at(seen[j], h); });
    __syncthreads();
  }
  for (int c = 0; c < most_columns; ++c)
    if (const int d = thread + c * threads; d < D) dq.at(r, h)[d] = T(out[c]);
}

// The region that entry i of the list belongs to: begin is ascending.
__device__ int region_of(std::int64_t i, const std::int64_t* begin, int R) {
  int low = 0, high = R;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (begin[middle] <= i) low = middle;
    else high = middle;
  }
  return low;
}

template <class T>
__global__ void gradient_kv(Heads<T> dk, Heads<T> dv, Heads<T> q, Heads<T> d_o, const Weights* pairs,
                            const std::int64_t* begin, const std::int64_t* rows, int N, int R, int H, int D) {
  SHARED(int, hit, threads);  // which of the 16 rows; -1: none
  SHARED(int, region, threads);
  SHARED(float, p, threads);
  SHARED(float, ds, threads);
  DYN_SHARED(float, sums);  // dk, then dv, [16,D] each: thread t owns columns t and t + 128
  const int first = int(blockIdx.x) / H * rows_of_block, h = int(blockIdx.x) % H, thread = threadIdx.x;
  const int mine = smaller(rows_of_block, N - first), of_v = rows_of_block * D;
  for (int d = thread; d < D; d += threads)
    for (int row = 0; row < rows_of_block; ++row) sums[row * D + d] = sums[of_v + row * D + d] = 0;

  const std::int64_t listed = begin[R];
  for (std::int64_t i0 = 0; i0 < listed; i0 += threads) {
    const std::int64_t i = i0 + thread, row = i < listed ? rows[i] - first : -1;
    hit[thread] = row >= 0 && row < mine ? int(row) : -1;
    if (hit[thread] >= 0) {
      region[thread] = region_of(i, begin, R);
      p[thread] = pairs[i * H + h].p, ds[thread] = pairs[i * H + h].ds;
    }
    __syncthreads();
    for (int e = 0; e < threads; ++e) {
      if (hit[e] < 0) continue;
      const T *query = q.at(region[e], h), *gradient = d_o.at(region[e], h);
      for (int d = thread; d < D; d += threads) {
        sums[hit[e] * D + d] += ds[e] * float(query[d]);
        sums[of_v + hit[e] * D + d] += p[e] * float(gradient[d]);
      }
    }
    __syncthreads();
  }
  for (int row = 0; row < mine; ++row)
    for (int d = thread; d < D; d += threads) {
      dk.at(first + row, h)[d] = T(sums[row * D + d]);
      dv.at(first + row, h)[d] = T(sums[of_v + row * D + d]);
    }
}

void check_width(std::int64_t D) {
  if (D > most_columns * threads)
    input_error("region attention on a CUDA device: heads of ", D, " numbers; at most 256 are supported");
}

}  // namespace

void region_attention_forward(const RegionAttentionForward& a, gpu::Stream stream) {
  const auto [R, H, D] = a.q.dims<3>();
  check_width(D);
  if (R == 0) return;
  by_cuda_dtype(a.q.dtype(), [&, R = R, H = H, D = D](auto t) {
    using T = decltype(t);
    launch(forward<T>, dim3(unsigned(R * H)), dim3(threads), 0, stream, heads_of<T>(a.o), a.lse.device_data<float>(),
           heads_of<T>(a.q), heads_of<T>(a.k), heads_of<T>(a.v), a.begin.device_data<std::int64_t>(),
           a.rows.device_data<std::int64_t>(), int(H), int(D), float(a.scale));
  });
}

void region_attention_backward(const RegionAttentionBackward& a, gpu::Stream stream) {
  const auto [R, H, D] = a.q.dims<3>();
  const std::int64_t N = a.k.dim(0);
  check_width(D);
  const Tensor pairs = scratch_of(a);  // [listed, H] of p and ds
  const auto weights = reinterpret_cast<Weights*>(pairs.device_data<float>());
  const std::int64_t *begin = a.begin.device_data<std::int64_t>(), *rows = a.rows.device_data<std::int64_t>();
  by_cuda_dtype(a.q.dtype(), [&, R = R, H = H, D = D](auto t) {
    using T = decltype(t);
    const auto q = heads_of<T>(a.q), d_o = heads_of<T>(a.d_o);
    if (R > 0)
      launch(gradient_q<T>, dim3(unsigned(R * H)), dim3(threads), 0, stream, heads_of<T>(a.dq), weights, q,
             heads_of<T>(a.k), heads_of<T>(a.v), heads_of<T>(a.o), d_o, a.lse.device_data<float>(), begin, rows, int(H),
             int(D), float(a.scale));
    if (N > 0)
      launch(gradient_kv<T>, dim3(ceil_div(N, rows_of_block) * unsigned(H)), dim3(threads),
             std::size_t(2 * rows_of_block * D) * sizeof(float), stream, heads_of<T>(a.dk), heads_of<T>(a.dv), q, d_o,
             weights, begin, rows, int(N), int(R), int(H), int(D));
  });
}

}  // namespace ov::kernels::OV_CUDA
