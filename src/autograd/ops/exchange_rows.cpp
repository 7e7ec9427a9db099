#include "autograd/ops/exchange_rows.h"

#include <algorithm>

#include "autograd/ops.h"
#include "autograd/registry.h"
#include "kernels/rows.h"

namespace ov {
namespace {

// Rows that one rank reads of another: which, ascending, each once.
std::vector<std::int64_t> distinct(const std::vector<RowSource>& sources, int of) {
  std::vector<std::int64_t> rows;
  for (const RowSource& s : sources)
    if (s.rank == of) rows.push_back(s.row);
  std::sort(rows.begin(), rows.end());
  rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
  return rows;
}

std::int64_t width_of(const Shape& shape) {
  std::int64_t width = 1;
  for (int axis = 1; axis < shape.rank(); ++axis) width *= shape[axis];
  return width;
}

Tensor as_rows(const Tensor& t) {
  const Shape shape{t.dim(0), width_of(t.shape())};
  return t.rank() == 2 ? t : t.contiguous() ? t.view(shape) : t.contiguous_copy().view(shape);
}

// Calls f(k, columns of `whole` that are tensor k's).
template <class F>
void by_tensor(const std::vector<Shape>& shapes, const Tensor& whole, F&& f) {
  std::int64_t at = 0;
  for (std::size_t k = 0; k < shapes.size(); ++k) {
    const std::int64_t width = width_of(shapes[k]);
    f(k, whole.slice(1, at, at + width));
    at += width;
  }
}

// What there is to say; nothing: null.
Tensor message(const Tensor& t) { return t.numel() == 0 ? Tensor() : t; }

}  // namespace

RowExchange::RowExchange(const std::vector<std::vector<RowSource>>& sources, int own, Device& device) {
  std::vector<std::int64_t> places;
  std::vector<std::vector<std::int64_t>> read;
  received.push_back(0);
  const auto& mine = sources[static_cast<std::size_t>(own)];
  for (int r = 0; r < static_cast<int>(sources.size()); ++r) {
    const auto there = distinct(sources[static_cast<std::size_t>(r)], own);
    sent.push_back(Tensor::of(there, {std::ssize(there)}, device));
    read.push_back(distinct(mine, r));
    received.push_back(received.back() + std::ssize(read.back()));
  }
  for (const RowSource& s : mine) {
    const auto& rows = read[static_cast<std::size_t>(s.rank)];
    places.push_back(received[static_cast<std::size_t>(s.rank)] +
                     (std::lower_bound(rows.begin(), rows.end(), s.row) - rows.begin()));
  }
  index = Tensor::of(places, {std::ssize(places)}, device);
}

std::vector<Var> exchange_rows(const std::vector<Var>& x, const RowExchange& rows, Communicator& ranks, bool trains) {
  const Dtype dtype = x.at(0).value.dtype();
  Device& device = x[0].value.device();
  std::vector<Shape> shapes;
  std::int64_t width = 0;
  for (const Var& v : x) shapes.push_back(v.shape()), width += width_of(v.shape());
  const auto n = static_cast<std::size_t>(ranks.ranks());
  const Tensor arrived({rows.received.back(), width}, dtype, device);
  Parts to, from;
  for (std::size_t r = 0; r < n; ++r) {
    const Tensor out({rows.sent[r].numel(), width}, dtype, device);
    by_tensor(shapes, out, [&](std::size_t k, const Tensor& part) {
      kernels::take_rows_forward({.y = part, .x = as_rows(x[k].value), .index = rows.sent[r]});
    });
    from.push_back(message(out)), to.push_back(message(arrived.slice(0, rows.received[r], rows.received[r + 1])));
  }
  ranks.all_to_all(to, from);
  std::vector<Tensor> y;
  by_tensor(shapes, arrived, [&](std::size_t k, const Tensor& part) {
    Shape shape = shapes[k];
    shape[0] = rows.index.numel();
    y.emplace_back(shape, dtype, device);
    kernels::take_rows_forward({.y = as_rows(y.back()), .x = part, .index = rows.index});
  });

  std::vector<Tensor> saved = rows.sent;
  saved.push_back(rows.index);
  return record_all({.op = Op::exchange_rows,
                     .inputs = x,
                     .outputs = y,
                     .saved = saved,
                     .trains = trains,
                     .backward = [received = rows.received, width, &ranks](const Node& node, Grads& d) {
                       Device& device = node.saved[0].device();
                       const Dtype dtype = node.dtype;
                       const auto n = static_cast<std::size_t>(ranks.ranks());
                       const Tensor sums = Tensor::zeros({received.back(), width}, accum_dtype(dtype), device);
                       by_tensor(node.input_shapes, sums, [&](std::size_t k, const Tensor& part) {
                         if (d.out[k])
                           kernels::embedding_backward({.dtable = part, .dy = as_rows(d.out[k]), .ids = node.saved[n]});
                       });
                       const Tensor back = sums.to(dtype);
                       Parts to, from;
                       std::vector<Tensor> returned;
                       for (std::size_t r = 0; r < n; ++r) {
                         returned.emplace_back(Shape{node.saved[r].numel(), width}, dtype, device);
                         to.push_back(message(returned[r])),
                             from.push_back(message(back.slice(0, received[r], received[r + 1])));
                       }
                       ranks.all_to_all(to, from);
                       const Tensor total = Tensor::zeros({node.input_shapes[0][0], width}, accum_dtype(dtype), device);
                       for (std::size_t r = 0; r < n; ++r)
                         kernels::embedding_backward({.dtable = total, .dy = returned[r], .ids = node.saved[r]});
                       const Tensor dx = total.to(dtype);
                       by_tensor(node.input_shapes, dx, [&](std::size_t k, const Tensor& part) {
                         if (d.in[k]) d.in[k].copy_from(part.view(node.input_shapes[k]));
                       });
                     }});
}

extern const OpRow exchange_rows_row;
const OpRow exchange_rows_row = {
    .op = Op::exchange_rows,
    .name = "exchange_rows",
    .example = [](Example& e) -> std::vector<Var> {
      // Every rank reads all others' rows, some twice, some never; of several the last has none of its own.
      const int n = e.ranks().ranks(), r = e.ranks().rank(), having = std::max(1, n - 1);
      const std::int64_t N = e.size(5), C = e.size(3);
      std::vector<std::vector<RowSource>> sources(static_cast<std::size_t>(n));
      for (int reader = 0; reader < n; ++reader)
        for (std::int64_t i = 0; i < N + reader; ++i)
          sources[static_cast<std::size_t>(reader)].push_back(
              {static_cast<int>((i + reader) % having), (3 * i + reader) % (N + 1) / 2 % N});
      const std::int64_t own = r < having ? N : 0;
      const Var a = e.input({own, C}), b = e.input({own, 2, C});
      const auto y = exchange_rows({a, b}, RowExchange(sources, r, a.value.device()), e.ranks(), true);
      return {gelu(y[0]), y[1]};
    },
    .tolerance = 1e-8,
    .cost = moved_rows,
};

}  // namespace ov
