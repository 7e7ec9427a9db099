// Tensor parallelism (Shoeybi et al. 2019) with sequence parallelism (Korthikanti et al. 2022): t ranks hold one model
// together, and run the same micro-batch together.
//
//   x [N,C], of which rank r has rows [N r/t, N (r+1)/t): norms and residual sums are of own rows
//   u = gather(norm(x))                          all rows
//   y_r = f(u A_rᵀ) B_rᵀ                         A cut by rows, B by columns: y_r is an addend of all rows
//   x += reduce(y_r)                             own rows of Σ_r y_r
//
//   decoder   A = q|k|v of own key heads and their queries, f = attention, B = o      A = gate|up, f = swiglu, B = down
//   tower     A = q|k|v of own heads, f = attention, B = proj                         A = fc1, f = gelu, B = fc2
//   merger    ln_q of all rows, A = fc1, f = gelu, B = fc2: an addend of the features
//   embedding rows of the table are own words; x = reduce(words looked up here, else 0, with the features' addends)
//   head      rows are own words: logits [N,V/t]; the loss from three numbers a row and rank
//
// gather and reduce are each other's adjoint (autograd/ops). What all ranks compute alike, all rows of u, q's norm, a
// router, has gradients that are addends: the gradient is their sum over ranks. So a matrix that is cut has its own
// gradient at once, and one that is not (norms, biases behind a sum, the patch embedding, a router) after one
// all_reduce a step.
//
// Bytes that leave a rank, the mean over ranks, for values of b bytes, L layers of width C and D tower blocks of width
// C', T tokens, P patches with class tokens, M rows with a label, S = parameters that are not cut, of those that it
// updates, and K trained in all here, gradients of a bytes. A gather or a reduce of N rows of width C is (t-1)/t N C b.
//   decoder     (4 L + 2) (t-1)/t T C b    a micro-batch forward, as much backward
//   tower       (4 D + 1) (t-1)/t P C' b   a micro-batch forward, as much backward
//   loss        3 (t-1) M a                a micro-batch
//   gradients   2 (t-1)/t (S a + 8 K / 4096)    a step: their sum, and squares for the norm
// Recomputation runs a block's forward again, and sends it again.
// What a rank holds: 1/t of all but S: values, gradients, moments; activations of own rows, and of one u at a time.
//
// The bits are not those of one rank, whose sums over heads and inner widths are not cut in t.
#pragma once
#include "autograd/tape.h"
#include "nn/parameters.h"
#include "parallel/data.h"

namespace ov {

// input_error unless t divides heads; `key`: of the configuration.
std::int64_t heads_of_rank(const Parameters& set, std::int64_t heads, const char* key);

// gather and reduce where there are several ranks; x itself where there is one.
Var all_rows(const Parameters& set, const Var& x, std::int64_t rows);
Var own_rows_of_sum(const Parameters& set, const Var& x);
Var own_rows(const Parameters& set, const Var& x);  // of what all ranks hold alike

// Of ids, those that stand in this rank's rows of the table, counted from its first; by id, which of them it is, or -1.
struct OwnWords {
  std::vector<std::int64_t> here, source;
};
OwnWords own_words(const Parameters& set, const std::vector<std::int64_t>& ids, std::int64_t rows);
// [T,C], 0 where ids stand in another rank's rows of the table. lent: as rows_of (parallel/pipeline.h) says.
Var words_of_rank(const Parameters& set, Tape* tape, const std::vector<std::int64_t>& ids, Parameter& table,
                  Var* lent = nullptr);

// After a step's gradients are summed over micro-batches and data-parallel ranks: those of what is not cut, over the
// tensor-parallel ranks. `gradients` are the range `own` of a gradient buffer.
void sum_addends(const Parameters& parameters, const Tensor& gradients, Range own);
// The elements of [begin, end) of a gradient buffer that the norm counts elsewhere: not cut, and this is not the first
// rank. In order.
std::vector<Range> counted_elsewhere(const Parameters& parameters, Range range);

}  // namespace ov
