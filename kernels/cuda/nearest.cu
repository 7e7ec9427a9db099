// Exact search (kernels/nearest.h): the CPU's ids and scores, which are those of f64.
//
//   s_nm = a_n · b_m        ids_n: the k rows m with the largest s_nm, of equal ones the lower m
//
// propose, in f32: a block takes 16 rows of a past all rows of b, 64 at a time, and keeps the best k + 8 of each.
// Product and selection are one: a tile of scores stands in shared memory until its rows have been looked through.
//
//                   64 rows of b of this step               256 threads: thread (i, lane) = (x / 16, x % 16) has row
//             lane 0   1  ...  15  0   1  ... 15  ...         i of a, and lane, lane + 16, + 32, + 48 of b, whose
//            +---+---+---+---+---+---+---+---+---+            products run over slices of 32 columns:
//   a_0      | 0 | 1 | . |15 | 0 | 1 | . |15 |...|
//    ...     |     number in a field: its thread |              shared | a [16,32] | b [64,33] | scores [16,64] |
//   a_15     |240|...|   |255|240|...|   |255|...|                     | lists: 16 of k + 8 pairs (score, id)   |
//            +---+---+---+---+---+---+---+---+---+
//
//   A list is in order, best first; its worst is what a score has to beat. The 16 threads of a row ask together whether
//   any of their 64 does: seldom, since k (1 + ln (M / k)) scores enter a list when b comes in a shuffled order. So
//   tiles come in one, every `stride`-th of them; what is in a list at the end does not depend on it.
//
// decide, in f64: a block is a row of a. A warp adds up the product with one proposed row after the other, in the order
// of base/sum.h; then the best k are known, and proved: a row of b that was not proposed has an f32 score of at most
// the list's worst, and so an exact one of at most that and the bound. Where the k-th is not above it, the block goes
// through all of b.
//
// Numbers come one by one: each is used 16 times from shared memory, and f32 products take the time.
//
// Bytes: b is read once for 16 rows of a, C / 4 a pair (from the cache: b of 500 K x 1024 is 2 GB); FLOPs: 2 C a pair.
// f32 on purpose: a bound for bf16 would prove few rows.
#include "kernels/nearest.h"

#include <numeric>

#include "kernels/cuda/launchers.h"
#include "kernels/cuda/reduce.h"
#include "kernels/gpu/scratch.h"

namespace ov::kernels::OV_CUDA {
namespace {

constexpr int mine = 16, lanes = 16, others = 64, slice = 32, turns = others / lanes, threads = mine * lanes;
constexpr int warps = threads / 32;

// Score and id of a row of b; none: what everything comes before.
template <class S>
struct Found {
  S score;
  int id;
  OV_HD bool before(const Found& other) const { return score > other.score || (score == other.score && id < other.id); }
};

// Into a list in order, which forgets its last.
template <class List, class S>
__device__ void insert(const List& list, int size, Found<S> f) {
  if (!f.before(list(size - 1))) return;
  int at = size - 1;
  for (; at > 0 && f.before(list(at - 1)); --at) list(at) = list(at - 1);
  list(at) = f;
}

__global__ void squares(double* to, DeviceRows<float> b, int M, int C) {
  const int m = int(blockIdx.x) * warps + int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32;
  const float* row = b[m < M ? m : 0];
  const double sum = warp_sum<double>(C, lane, [&](std::int64_t c) { return double(row[c]) * double(row[c]); });
  if (m < M && lane == 0) to[m] = sum;
}

__global__ void largest(double* to, const double* x, int M) {
  double most = 0;
  for (int m = threadIdx.x; m < M; m += blockDim.x) most = x[m] > most ? x[m] : most;
  most = block_max(most);
  if (threadIdx.x == 0) *to = most;
}

__global__ void __launch_bounds__(threads) propose(Found<float>* lists, DeviceRows<float> a, DeviceRows<float> b, int N,
                                                   int M, int C, int kept, int tiles, int stride) {
  SHARED(float, of_a, mine, slice);
  SHARED(float, of_b, others, slice + 1);  // a column of 16 rows meets 16 banks
  SHARED(float, scores, mine, others);
  DYN_SHARED(Found<float>, shared);
  const int i = int(threadIdx.x) / lanes, lane = int(threadIdx.x) % lanes, n = int(blockIdx.x) * mine + i;
  const float* row = a[smaller(n, N - 1)];
  const auto list = [&](int at) -> Found<float>& { return shared[i * kept + at]; };
  for (int at = lane; at < kept; at += lanes) list(at) = {-INFINITY, INT32_MAX};
  __syncwarp();

  for (int t = 0, tile = 0; t < tiles; ++t, tile = int((std::int64_t(tile) + stride) % tiles)) {
    const int m0 = tile * others;
    float s[turns] = {};
    for (int c0 = 0; c0 < C; c0 += slice) {
      for (int c = lane; c < slice; c += lanes) {
        const bool inside = c0 + c < C;
        of_a[i][c] = inside ? row[c0 + c] : 0.f;
        for (int j = i; j < others; j += mine) of_b[j][c] = inside && m0 + j < M ? b[m0 + j][c0 + c] : 0.f;
      }
      __syncthreads();
      UNROLL
      for (int c = 0; c < slice; ++c)
        for (int turn = 0; turn < turns; ++turn) s[turn] = std::fma(of_a[i][c], of_b[lane + lanes * turn][c], s[turn]);
      __syncthreads();  // before the next slice overwrites this one
    }
    const float worst = list(kept - 1).score;
    int enters = 0;
    for (int turn = 0; turn < turns; ++turn) {
      const int j = lane + lanes * turn;
      scores[i][j] = s[turn];
      enters |= m0 + j < M && s[turn] >= worst;
    }
    for (int step = lanes / 2; step; step /= 2) enters |= __shfl_xor_sync(0xffffffffu, enters, step);
    __syncwarp();  // the row's 64 scores are there: its 16 threads stand in one warp
    if (enters && lane == 0)
      for (int j = 0; j < others && m0 + j < M; ++j) insert(list, kept, Found<float>{scores[i][j], m0 + j});
    __syncwarp();  // the list is there, and its scores may be overwritten
  }
  if (n >= N) return;
  for (int at = lane; at < kept; at += lanes) lists[std::int64_t(n) * kept + at] = list(at);
}

__global__ void __launch_bounds__(threads)
    decide(int* ids, float* scores, const Found<float>* lists, const double* most, DeviceRows<float> a,
           DeviceRows<float> b, int M, int C, int k, int kept, double gamma) {
  DYN_SHARED(Found<double>, shared);  // the best k, then what is on its way there
  const int n = int(blockIdx.x), warp = int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32;
  const float* x = a[n];
  const Found<float>* proposed = lists + std::int64_t(n) * kept;
  const auto best = [&](int at) -> Found<double>& { return shared[at]; };
  const auto product = [&](const float* y) {
    return warp_sum<double>(C, lane, [&](std::int64_t c) { return double(x[c]) * double(y[c]); });
  };
  const double bound = gamma * std::sqrt(*most) * std::sqrt(product(x));
  // The best k of what was proposed, `warps` rows at a time; where that proves nothing, of all.
  for (bool all = kept == M;; all = true) {
    const int count = all ? M : kept;
    for (int at = threadIdx.x; at < k; at += threads) best(at) = {-INFINITY, INT32_MAX};
    for (int first = 0; first < count; first += warps) {
      const int at = first + warp < count ? first + warp : first, m = all ? at : proposed[at].id;
      const double score = product(b[m]);
      if (lane == 0) shared[k + warp] = {score, m};
      __syncthreads();
      if (threadIdx.x == 0)
        for (int w = 0; w < warps && first + w < count; ++w) insert(best, k, shared[k + w]);
      __syncthreads();
    }
    if (all || best(k - 1).score > double(proposed[kept - 1].score) + bound) break;
    __syncthreads();  // all have seen the k-th
  }
  for (int at = threadIdx.x; at < k; at += threads) {
    ids[std::int64_t(n) * k + at] = best(at).id;
    scores[std::int64_t(n) * k + at] = float(best(at).score);
  }
}

}  // namespace

void nearest(const Nearest& a, gpu::Stream stream) {
  const auto [N, C] = a.a.dims<2>();
  const std::int64_t M = a.b.dims<2>()[0], k = a.ids.dims<2>()[1];
  const NearestScratch space = scratch_of(a);
  const std::int64_t kept = space.kept;
  if (N == 0) return;
  const auto rows = rows_of<float>(a.a), of_b = rows_of<float>(a.b);
  double *const of_rows = space.lengths.device_data<double>(), *const most = of_rows + M;
  launch(squares, dim3(ceil_div(M, warps)), dim3(threads), 0, stream, of_rows, of_b, int(M), int(C));
  launch(largest, dim3(1), dim3(threads), 0, stream, most, of_rows, int(M));

  const std::int64_t tiles = ceil_div(M, others);
  std::int64_t stride = std::max<std::int64_t>(1, tiles * 5 / 8);  // far apart, and every tile once
  while (std::gcd(stride, tiles) != 1) ++stride;
  auto* const lists = reinterpret_cast<Found<float>*>(space.candidates.device_data<std::int32_t>());
  launch(propose, dim3(ceil_div(N, mine)), dim3(threads), std::size_t(mine * kept) * sizeof(Found<float>), stream,
         lists, rows, of_b, int(N), int(M), int(C), int(kept), int(tiles), int(stride % tiles));
  launch(decide, dim3(unsigned(N)), dim3(threads), std::size_t(k + warps) * sizeof(Found<double>), stream,
         a.ids.device_data<std::int32_t>(), a.scores.device_data<float>(), lists, most, rows, of_b, int(M), int(C),
         int(k), int(kept), 2 * double(C + 2) * 0x1p-24);
}

}  // namespace ov::kernels::OV_CUDA
