// Every op of the registry, forward and backward, in f32 and bf16 against f64, with each of its sizes in turn at 1,
// around a vector, around the sixteen lanes of a sum, a prime, and beyond a block.
//
// With n the longest sum of the op:
//   arithmetic in f32  a sum of n terms below 4 has at most d roundings in a row, d = min(n, 384) + n/16 + 16 (a block
//                      of a product's chain, or the lanes of base/sum.h, and what follows), each of at most 2^-24 of
//                      a partial sum, on average half of the whole 4 n: 2 n d 2^-24
//   stored in bf16     2^-8 of the tensor's largest element for each rounding on the way: `stores` of a row
#include <doctest/doctest.h>

#include "base/parallel.h"
#include "kernels/cpu/gemm_wide.h"
#include "kernels/gelu.h"
#include "kernels/gemm.h"
#include "tests/kernels/edge_example.h"

using namespace ov;
using namespace ov::test;

namespace {

const std::int64_t edges[] = {1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 257, 2053};

// The last element of the output and of the gradient are forgotten.
std::vector<Var> forgets_the_last(Example& e) {
  const Var x = e.input({3, e.size(5)});
  const Tensor y = Tensor::like(x.value);
  kernels::gelu_forward({.y = y, .x = x.value});
  y.slice(0, 2, 3).slice(1, y.dim(1) - 1, y.dim(1)).copy_from(Tensor::zeros({1, 1}, y.dtype(), cpu()));
  return {record(
      {.op = Op::gelu, .inputs = {x}, .outputs = {y}, .saved = {x.value}, .backward = [](const Node& n, Grads& d) {
         kernels::gelu_backward({.dx = d.in[0], .dy = d.out[0], .x = n.saved[0]});
       }})};
}
// A sum over rows that leaves out the last one.
std::vector<Var> sums_too_few(Example& e) {
  const Var x = e.input({e.size(5), 3}), w = e.parameter({2, 3});
  const std::int64_t N = x.dim(0);
  const Var few = linear(Var{x.value}, Var{w.value});
  return {record({.op = Op::linear,
                  .inputs = {x, w, Var{}},
                  .outputs = {few.value},
                  .saved = {x.value, w.value},
                  .backward = [N](const Node& n, Grads& d) {
                    kernels::gemm({.c = d.in[0], .a = d.out[0], .b = n.saved[1]});
                    kernels::gemm({.c = d.in[1],
                                   .a = d.out[0].slice(0, 0, N - 1),
                                   .b = n.saved[0].slice(0, 0, N - 1),
                                   .trans_a = true,
                                   .accumulate = true});
                  }})};
}

}  // namespace

TEST_CASE("every op in f32 and bf16 agrees with f64 at the edge sizes of vectors, lanes and blocks") {
  for (const OpRow* op : rows()) {
    const int sizes = run(op->example, Dtype::f64, cpu(), -1, 0).sizes;
    for (int which = std::min(0, sizes - 1); which < sizes; ++which)
      for (const std::int64_t edge : edges) {
        if (which < 0 && edge > 1) break;  // an op without a size has one case
        const Run expected = run(op->example, Dtype::f64, cpu(), which, edge);
        for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
          const double roundings = dtype == Dtype::bf16 ? stores(op->op) : 0;
          const std::string at = cat(op->name, " ", name_of(dtype), ", size number ", which, " at ", edge);
          const Run got = run(op->example, dtype, cpu(), which, edge);
          const double share = worst(got, expected, roundings);
          CHECK_MESSAGE(share <= 1, at, ": ", share);
        }
      }
  }
}

TEST_CASE("every op has the same bits for any number of threads, in bf16 too") {
  const int before = threads();
  for (const OpRow* op : rows())
    for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
      set_threads(1);
      const Run alone = run(op->example, dtype, cpu(), 0, 257);
      for (const int n : {2, 3}) {
        set_threads(n);
        const bool same = run(op->example, dtype, cpu(), 0, 257).tensors == alone.tensors;
        CHECK_MESSAGE(same, op->name, " in ", name_of(dtype), " with ", n, " threads");
      }
    }
  set_threads(before);
}

TEST_CASE("every op has the same bits in 512-bit vectors, where this processor has them, and without") {
  for (const OpRow* op : rows())
    for (const Dtype dtype : {Dtype::f64, Dtype::f32, Dtype::bf16}) {
      const int sizes = run(op->example, dtype, cpu(), -1, 0).sizes;
      for (int which = std::min(0, sizes - 1); which < sizes; ++which)
        for (const std::int64_t edge : {7, 16, 37, 257}) {
          if (which < 0 && edge > 7) break;
          const Run wide = run(op->example, dtype, cpu(), which, edge, test::Values::whole);
          kernels::cpu::allow_wide_vectors(false);
          const Run narrow = run(op->example, dtype, cpu(), which, edge, test::Values::whole);
          kernels::cpu::allow_wide_vectors(true);
          const bool same = wide.tensors == narrow.tensors;
          CHECK_MESSAGE(same, op->name, " in ", name_of(dtype), ", size number ", which, " at ", edge);
        }
    }
}

TEST_CASE("the edge-size check finds an element left out, in either type and at every size") {
  for (const Op_ wrong : {&forgets_the_last, &sums_too_few})
    for (const std::int64_t edge : edges) {
      if (wrong == &sums_too_few && edge == 1) continue;  // the twin needs a row to leave out
      const Op_ right = wrong == &sums_too_few ? Op_([](Example& e) -> std::vector<Var> {
        const Var x = e.input({e.size(5), 3});
        return {linear(x, e.parameter({2, 3}))};
      })
                                               : Op_([](Example& e) -> std::vector<Var> {
                                                   return {gelu(e.input({3, e.size(5)}))};
                                                 });
      const Run expected = run(right, Dtype::f64, cpu(), 0, edge);
      for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
        const std::string at = cat(name_of(dtype), " at ", edge);
        const double roundings = dtype == Dtype::bf16 ? 4 : 0;
        const double agrees = worst(run(right, dtype, cpu(), 0, edge), expected, roundings);
        const double differs = worst(run(wrong, dtype, cpu(), 0, edge), expected, roundings);
        CHECK_MESSAGE(agrees <= 1, at, ": ", agrees);
        CHECK_MESSAGE(differs > 1, at, ": ", differs);
      }
    }
}
