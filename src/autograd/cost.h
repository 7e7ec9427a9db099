// What an operation costs, by which of its inputs want a gradient: multiply-adds of its matrix products, values of e^x
// and erf x, each as dear as a dozen multiply-adds, and bytes that it moves at the least. The tape counts products with
// it, train/floor.h turns it into seconds, `plan` and MFU print it.
#pragma once
#include <array>

#include "autograd/tape.h"

namespace ov {

// `again`: computed a second time in backward. It takes time, but is no part of a model's FLOPs.
enum class Pass { forward, backward, again };

// Products c [m,n] = a [m,k] b [k,n], together `multiply_adds` of them.
struct Product {
  Pass pass;
  std::int64_t m, n, k;
  bool trans_a, trans_b;  // how a and b lie in memory
  std::int64_t multiply_adds;
};

// How many values of functions are computed.
struct FunctionCounts {
  std::int64_t exp = 0, erf = 0;
};

struct Cost {
  std::int64_t forward_bytes = 0, backward_bytes = 0;  // of arrays read or written, each once
  FunctionCounts forward_values, backward_values;
  std::array<Product, 4> products{};

  std::int64_t multiply_adds(Pass pass) const {
    std::int64_t n = 0;
    for (const Product& p : products) n += p.pass == pass ? p.multiply_adds : 0;
    return n;
  }
};

// Forward reads every input and writes every output; backward reads the outputs' gradients and what was saved, and
// writes the gradients that are wanted.
Cost moved_once(const Node& n);
// Rows are copied from where an index says: forward reads and writes the output's rows, backward reads their gradients
// and writes the inputs', or adds to as many rows of a table.
Cost moved_rows(const Node& n);
// Views and handed-over gradients: no byte moves.
Cost nothing_moved(const Node& n);
// moved_once, and e^x of every element of the first input in either pass.
Cost moved_once_with_exp(const Node& n);
// q [T,H,D]: e^x for every head and pair in either pass; two products of tiles forward (scores, output), four
// backward and the scores again, whichever of q, k and v want a gradient, as the kernels compute all three of them or
// none.
Cost attention_cost(const Node& n);
// x [R,C] by weights [E F,C]: a product a group and pass, of R/E rows each.
Cost grouped_linear_cost(const Node& n);

}  // namespace ov
