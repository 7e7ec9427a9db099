// What the kernels of a GPU take of its memory inside a call, and give back before they return; and what decides how
// much: which kernel runs, in tiles of which size. This is the only declaration of it: a kernel (kernels/cuda) works in
// what scratch_of gives it, and `plan` rehearses a call by asking for the same and doing nothing (kernels/rehearsed.h).
// An entry of kernels/table.h without an overload takes nothing.
//
// CPU kernels take nothing of their device: what they need lies on the stack, or in memory that a thread keeps for
// itself: packed panels of products (kernels/cpu/gemm.h: at most 11 MB a thread), the turned rows of a product of few
// (gemm_few_rows.cpp: at most 512 rows of f32), what bf16 was widened to (widened.h: at most 96 MB a thread), a row of
// norms and routers, the numbers of one attention call. It is the host's, and device.memory() does not count it.
//
// All of it is Segment::workspace, unspecified until written. A null tensor: nothing is needed.
#pragma once
#include "kernels/row_blocks.h"
#include "tensor/tensor.h"

namespace ov::kernels {

struct AttentionBackward;
struct AttentionForward;
struct ClusterHits;
struct EmbeddingBackward;
struct ExpScaleBackward;
struct ExpertOrder;
struct Gemm;
struct GroupedGemm;
struct LayernormBackward;
struct LoadBalanceForward;
struct Nearest;
struct NormRopeBackward;
struct RegionAttentionBackward;
struct RmsnormBackward;
struct SumRows;

// --- sums over rows (kernels/cuda/row_sums.h): gradients of norms and biases, balance of experts

constexpr std::int64_t rows_in_tree = 64;
// Σ_n of [N,C]: a row of f32 for every rows_in_block rows, behind those one for every rows_in_tree of them, and so on
// while there are several.
struct SumScratch {
  std::int64_t N = 0, C = 0;
  Tensor partial = {};  // [rows of all levels, C] f32
};
SumScratch scratch_of(const SumRows&);
SumScratch scratch_of(const LayernormBackward&);  // for dw, then for db
SumScratch scratch_of(const RmsnormBackward&);
SumScratch scratch_of(const NormRopeBackward&);  // [N,C]: heads of all tokens, width

struct BalanceScratch {
  Tensor total;  // [E] f32
  SumScratch sums;
};
BalanceScratch scratch_of(const LoadBalanceForward&);

// --- attention (kernels/cuda/attention_rows.h)

// Bf16, a width that there are kernels for, rows at multiples of 16 bytes. Others go to attention_plain.cu.
bool fits_tensor_cores(const AttentionForward&);
bool fits_tensor_cores(const AttentionBackward&);
// Rows of a block of attention_tensor_cores.cu and of attention_plain.cu; keys and rows of one of attention_spans.cu.
constexpr int attention_tile = 128, plain_attention_tile = 16, span_keys = 512, span_rows = 16;
// Pieces of `size` rows at most, of rows that S segments divide.
struct PieceList {
  int size = 0, count = 0, S = 0;
  Tensor memory = {};  // [2 count + S] i32: pieces, then a number of each segment
};
struct AttentionForwardScratch {
  bool tensor_cores = false;
  PieceList queries = {}, spans = {};  // spans: of rows with a cache, where somebody may have one
  Tensor partials = {};                // [rows of all spans (D + 2)] f32
};
AttentionForwardScratch scratch_of(const AttentionForward&, bool tensor_cores);
AttentionForwardScratch scratch_of(const AttentionForward&);  // by what fits
struct AttentionBackwardScratch {
  bool tensor_cores = false;
  Tensor delta = {};  // [T,H] f32; null: no pair of a query and a key
  PieceList queries = {}, keys = {};
};
AttentionBackwardScratch scratch_of(const AttentionBackward&, bool tensor_cores);
AttentionBackwardScratch scratch_of(const AttentionBackward&);
// [listed pairs of a region and a patch, H, 2] f32
Tensor scratch_of(const RegionAttentionBackward&);

// --- products

// Which one runs (kernels/cuda/gemm.cu). The library's own workspace stays, once a stream (kernels/gpu/cublaslt.h).
enum class Product { none, without_terms, of_chunk, of_rows, library };
constexpr std::int64_t few_rows = 16;  // up to so many have a kernel of their own
Product product_of(const Gemm&);
Tensor scratch_of(const Gemm&);  // the bias [N] in the library's type and at its alignment, where it has another

constexpr int grouped_tile = 128, plain_grouped_tile = 32;  // rows of a block, on tensor cores and not
struct GroupedScratch {
  std::int64_t E = 0, F = 0, C = 0;
  bool tensor_cores = false;
  int size = 0, count = 0;  // of a tile, of tiles
  Tensor tiles = {};        // [count, 2] i32; null: nothing to multiply
};
GroupedScratch scratch_of(const GroupedGemm&);

// --- experts, embeddings, RICE, search

constexpr int slots_in_chunk = 1024;
Tensor scratch_of(const ExpertOrder&);        // [chunks E] i64
Tensor scratch_of(const EmbeddingBackward&);  // [T] i64
Tensor scratch_of(const ClusterHits&);        // [R] i64
Tensor scratch_of(const ExpScaleBackward&);   // [N] f32

constexpr int nearest_spare = 8, nearest_most = 1024;  // candidates of a row beside the k that are asked for; in all
struct NearestScratch {
  std::int64_t kept = 0;   // candidates of a row
  Tensor lengths = {};     // [M + 1] f64
  Tensor candidates = {};  // [2 N kept] i32
};
NearestScratch scratch_of(const Nearest&);  // input_error for too many

}  // namespace ov::kernels
