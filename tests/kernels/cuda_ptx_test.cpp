// The twins of kernels/cuda/ptx.h against the tables of the PTX manual, element by element as the manual writes them.
#include "kernels/cuda/ptx.h"

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "tests/check.h"
#include "tests/kernels/sim_schedules.h"

using namespace ov;
using ov::sim::KernelFault;

namespace {

// "Matrix Fragments for mma.m16n8k16 with floating point type": element i of lane l, two elements a register.
int a_row(int l, int i) { return i < 2 || (i >= 4 && i < 6) ? l >> 2 : (l >> 2) + 8; }
int a_column(int l, int i) { return i < 4 ? l % 4 * 2 + (i & 1) : l % 4 * 2 + (i & 1) + 8; }
int b_row(int l, int i) { return i < 2 ? l % 4 * 2 + (i & 1) : l % 4 * 2 + (i & 1) + 8; }
int b_column(int l, int) { return l >> 2; }
int c_row(int l, int i) { return i < 2 ? l >> 2 : (l >> 2) + 8; }
int c_column(int l, int i) { return l % 4 * 2 + (i & 1); }

// Small integers, so that every order of summation is exact.
float a_at(int m, int k) { return static_cast<float>((m * 7 + k * 3) % 11 - 5); }
float b_at(int k, int n) { return static_cast<float>((k * 5 + n * 9 + k * n) % 13 - 6); }
float c_at(int m, int n) { return static_cast<float>(m * 8 + n); }

unsigned pair(float low, float high) { return Bf16(low).bits | unsigned(Bf16(high).bits) << 16; }

__global__ void multiply(float* d, int swapped) {
  const int l = threadIdx.x;
  unsigned a[4], b[2];
  float c[4];
  for (int r = 0; r < 4; ++r) {
    const int to = swapped && (r == 1 || r == 2) ? 3 - r : r;
    a[to] = pair(a_at(a_row(l, 2 * r), a_column(l, 2 * r)), a_at(a_row(l, 2 * r + 1), a_column(l, 2 * r + 1)));
  }
  for (int r = 0; r < 2; ++r)
    b[r] = pair(b_at(b_row(l, 2 * r), b_column(l, 2 * r)), b_at(b_row(l, 2 * r + 1), b_column(l, 2 * r + 1)));
  for (int i = 0; i < 4; ++i) c[i] = c_at(c_row(l, i), c_column(l, i));
  ptx::mma(c, a, b[0], b[1]);
  for (int i = 0; i < 4; ++i) d[c_row(l, i) * 8 + c_column(l, i)] = c[i];
}

// Four matrices one below the other, element (row, column) of matrix i holding 64 i + 8 row + column.
__global__ void load(unsigned* to, int transposed) {
  SHARED(std::uint16_t, matrix, 32, 8);
  const int l = threadIdx.x;
  for (int c = 0; c < 8; ++c) matrix[l][c] = static_cast<std::uint16_t>(8 * l + c);
  __syncthreads();
  unsigned r[4];
  if (transposed) ptx::ldmatrix_transposed(r, &matrix[l][0]);
  else ptx::ldmatrix(r, &matrix[l][0]);
  for (int i = 0; i < 4; ++i) to[4 * l + i] = r[i];
}

enum Mistake { none, no_wait, waits_for_too_little, no_barrier, shifted, outside };

// Lane l fetches 4 numbers twice, two stages deep, and adds up what its neighbour fetched.
__global__ void fetch(float* sum, const float* from, int mistake) {
  SHARED(float, stage, 2, 64, 4);
  const int l = threadIdx.x, neighbour = (l + 1) % 64;
  const auto get = [&](int turn) {
    const int row = mistake == outside ? l + 64 : l;
    float* to = mistake == outside ? &stage[1][63][0] + 4 * (row - 63) : &stage[turn % 2][row][0];
    ptx::copy_async(to + (mistake == shifted), from + (turn * 64 + l) * 4, turn < 3);
    ptx::copy_async_commit();
  };
  float total = 0;
  get(0);
  for (int turn = 0; turn < 3; ++turn) {
    get(turn + 1);
    if (mistake == waits_for_too_little) ptx::copy_async_wait<2>();
    else if (mistake != no_wait) ptx::copy_async_wait<1>();
    __syncthreads();
    for (int i = 0; i < 4; ++i) total += stage[turn % 2][neighbour][i];
    if (mistake != no_barrier) __syncthreads();
  }
  ptx::copy_async_wait<0>();
  __syncthreads();
  sum[l] = total + stage[1][neighbour][0];  // the tail that was not there: 0
}

std::vector<std::vector<float>> fetched(int mistake) {
  std::vector<float> from(4 * 64 * 4);
  for (std::size_t i = 0; i < from.size(); ++i) from[i] = static_cast<float>(i % 97);
  std::vector<std::vector<float>> sums;
  sim::for_each_schedule([&] {
    sums.emplace_back(64);
    launch(fetch, dim3(1), dim3(64), 0, nullptr, sums.back().data(), from.data(), mistake);
  });
  return sums;
}

std::vector<float> expected_sums() {
  std::vector<float> sums(64);
  for (int l = 0; l < 64; ++l)
    for (int turn = 0; turn < 3; ++turn)
      for (int i = 0; i < 4; ++i)
        sums[static_cast<std::size_t>(l)] += static_cast<float>(((turn * 64 + (l + 1) % 64) * 4 + i) % 97);
  return sums;
}

}  // namespace

TEST_CASE("ptx: mma multiplies fragments laid out as the manual's tables say, and no others") {
  sim::for_each_schedule([] {
    std::vector<float> d(16 * 8), swapped(16 * 8), expected(16 * 8);
    for (int m = 0; m < 16; ++m)
      for (int n = 0; n < 8; ++n) {
        float s = c_at(m, n);
        for (int k = 0; k < 16; ++k) s += a_at(m, k) * b_at(k, n);
        expected[static_cast<std::size_t>(m * 8 + n)] = s;
      }
    launch(multiply, dim3(1), dim3(32), 0, nullptr, d.data(), 0);
    launch(multiply, dim3(1), dim3(32), 0, nullptr, swapped.data(), 1);  // the halves of A exchanged
    CHECK(d == expected);
    CHECK(swapped != expected);
  });
}

TEST_CASE(
    "ptx: ldmatrix gives lane l of matrix i row l / 4, columns 2 (l % 4) and the next; transposed, the other way") {
  sim::for_each_schedule([] {
    std::vector<unsigned> plain(128), transposed(128);
    launch(load, dim3(1), dim3(32), 0, nullptr, plain.data(), 0);
    launch(load, dim3(1), dim3(32), 0, nullptr, transposed.data(), 1);
    for (unsigned l = 0; l < 32; ++l)
      for (unsigned i = 0; i < 4; ++i) {
        const unsigned row = l / 4, column = 2 * (l % 4), at = 4 * l + i;
        const auto both = [&](unsigned low, unsigned high) { return (64 * i + low) | (64 * i + high) << 16; };
        CHECK(plain[at] == both(8 * row + column, 8 * row + column + 1));
        CHECK(transposed[at] == both(8 * column + row, 8 * (column + 1) + row));
      }
  });
}

TEST_CASE(
    "ptx: a missing or short wait for cp.async, and a buffer refilled too early, give wrong or changing sums (G-32)") {
  const std::vector<float> expected = expected_sums();
  for (const auto& sums : fetched(none)) CHECK(sums == expected);
  for (const int mistake : {no_wait, waits_for_too_little, no_barrier}) {
    CAPTURE(mistake);
    bool all_right = true;
    for (const auto& sums : fetched(mistake)) all_right = all_right && sums == expected;
    CHECK_FALSE(all_right);
  }
}

TEST_CASE("ptx: addresses that are not aligned, or lie outside of shared memory, are faults") {
  CHECK_THROWS_WITH_AS(fetched(shifted), doctest::Contains("cp.async: an address is not a multiple of 16"),
                       KernelFault);
  CHECK_THROWS_WITH_AS(fetched(outside), doctest::Contains("cp.async: the destination lies outside"), KernelFault);
}

TEST_CASE("ptx: exp2 is 0 where the result would be subnormal, and at -inf; 1 at a subnormal argument (G-54)") {
  CHECK(ptx::exp2(-126) == 0x1p-126f);
  for (const float x : {-126.5f, -149.f, -1e30f, -INFINITY}) CHECK(ptx::exp2(x) == 0);
  CHECK(ptx::exp2(1e-40f) == 1);
  CHECK(ptx::exp2(3) == 8);
}
