// The register tile of gemm_tile.h in 512-bit vectors, where the processor has them: 12 rows by two vectors, each a
// panel of B wide. Per k it needs 12 broadcasts and 2 loads for 24 products, and reads a row of A half as often as a
// tile of one vector. Every element of C is the same chain of fused multiply-adds, so the bits are the same.
#pragma once
#include "kernels/cpu/gemm_tile.h"

namespace ov::kernels::cpu {

constexpr std::int64_t wide_rows = 2 * tile_rows;

// Whether products use them: the processor has AVX-512, and nobody has said no. Tests say no, and compare bits.
bool wide_vectors();
void allow_wide_vectors(bool);

// c[R, columns] (+)= Σ_k A(i, k) B(k, j), as tile(), for at most two panels' columns. A(i, k) is a[i a_row + k a_col]
// for i < 6 and below[(i - 6) a_row + k a_col] from there; B(k, j) is b[k b_row + j] in the first panel, and the second
// lies `to_second` elements behind it. Of B no more than `columns` elements a row are read.
template <class T>
using WideTileFn = void (*)(std::int64_t K, const T* a, const T* below, std::int64_t a_row, std::int64_t a_col,
                            const T* b, std::int64_t to_second, std::int64_t b_row, const TileOut<T>& out);
template <class T>
WideTileFn<T> wide_tile(std::int64_t rows, std::int64_t columns);  // 1 to 12, 1 to two panels'

// f32 floating-point operations of one call: independent chains of fused multiply-adds, `rounds` long.
double run_wide_chains(std::int64_t rounds, double* sum);

}  // namespace ov::kernels::cpu
