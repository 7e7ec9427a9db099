// Rows that ranks read of each other (parallel/context.h): y_i = row n of x of rank s, as a list says, for any i.
//
//   dx_n = Σ dy_i over all that read n: those of a rank in order of i, rounded once, then the ranks in order
//
// A row goes to a rank once, however many of its y read it, and back as one sum. Bytes that leave a rank: forward its
// rows for each other rank that reads them; backward as many as it reads of others.
#pragma once
#include "autograd/tape.h"
#include "comm/communicator.h"

namespace ov {

struct RowSource {
  int rank;
  std::int64_t row;
};

struct RowExchange {
  // sources[r]: what y of rank r is made of; alike on all ranks. own: this one.
  RowExchange(const std::vector<std::vector<RowSource>>& sources, int own, Device& device);
  std::vector<Tensor> sent;            // by rank, rows of x that go there, ascending
  std::vector<std::int64_t> received;  // by rank, where the rows that come from there begin; and how many come in all
  Tensor index;                        // [rows of y] i64, among what is received
};

// x[k] [N,...] -> y[k] [rows of y,...], all in one message. It is a call of all ranks, forward and backward: `trains`
// is alike on all of them and true where an x of some rank wants a gradient.
std::vector<Var> exchange_rows(const std::vector<Var>& x, const RowExchange& rows, Communicator& ranks, bool trains);

}  // namespace ov
