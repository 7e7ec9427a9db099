#include "kernels/rows.h"

#include "base/parallel.h"
#include "kernels/cpu/grain.h"
#include "kernels/cpu/row_pointers.h"
#include "kernels/cpu/row_sums.h"
#include "kernels/cpu/wide_for.h"
#include "kernels/table.h"

namespace ov::kernels::cpu {
namespace {

const std::int64_t* checked(const char* op, const Tensor& index, std::int64_t lowest, std::int64_t end) {
  const std::int64_t* i = index.device_data<std::int64_t>();
  for (std::int64_t n = 0; n < index.numel(); ++n)
    if (i[n] < lowest || i[n] >= end)
      input_error(op, ": index ", n, " is ", i[n], ", outside of [", lowest, ", ", end, ")");
  return i;
}

template <class T>
void copy_row(T* to, const T* from, std::int64_t C) {
  std::copy_n(from, C, to);
}

template <class T>
void add_row(Accum<T>* to, const T* from, std::int64_t C) {
  for (std::int64_t c = 0; c < C; ++c) to[c] += from[c];
}

template <class T>
void class_tokens_forward(const InsertClassTokensForward& a) {
  const std::int64_t C = a.x.dim(1), G = a.first_row.numel(), M = a.y.dim(0);
  const std::int64_t* first = checked("insert_class_tokens", a.first_row, 0, M);
  std::int64_t from = 0, image = 0;
  for (std::int64_t m = 0; m < M; ++m) {
    const bool is_class = image < G && first[image] == m;
    copy_row(a.y.device_row<T>(m), is_class ? a.class_vector.device_data<T>() : a.x.device_row<T>(from), C);
    is_class ? ++image : ++from;
    if (from > a.x.dim(0)) input_error("insert_class_tokens: first rows are not ascending");
  }
}

template <class T>
void class_tokens_backward(const InsertClassTokensBackward& a) {
  const std::int64_t C = a.dy.dim(1), G = a.first_row.numel(), M = a.dy.dim(0);
  const std::int64_t* first = checked("insert_class_tokens", a.first_row, 0, M);
  std::int64_t to = 0, image = 0;
  for (std::int64_t m = 0; m < M; ++m) {
    if (image < G && first[image] == m) {
      if (a.dclass_vector) add_row(a.dclass_vector.device_data<Accum<T>>(), a.dy.device_row<T>(m), C);
      ++image;
    } else {
      if (a.dx) copy_row(a.dx.device_row<T>(to), a.dy.device_row<T>(m), C);
      ++to;
    }
  }
}

// Columns are split between threads; every thread adds all rows in order.
template <class T>
void embedding_gradient(const EmbeddingBackward& a) {
  const auto [L, C] = a.dy.dims<2>();
  const std::int64_t* ids = checked("embedding", a.ids, 0, a.dtable.dim(0));
  parallel_ranges(C, std::max<std::int64_t>(16, 16384 / std::max<std::int64_t>(L, 1)),
                  [&, L = L](std::int64_t begin, std::int64_t end) {
                    for (std::int64_t t = 0; t < L; ++t)
                      add_row(a.dtable.device_row<Accum<T>>(ids[t]) + begin, a.dy.device_row<T>(t) + begin,
                              end - begin);
                  });
}

template <class T, class B>
void add_arrays(const Add& a) {
  const auto [N, C] = a.y.dims<2>();
  const RowPointers<T> xs(a.a), ys(a.y);
  const RowPointers<B> zs(a.b);
  wide_for(N, grain(C), [&, C = C](std::int64_t n) {
    const T* x = xs[n];
    const B* z = zs[n];
    T* y = ys[n];
    for (std::int64_t c = 0; c < C; ++c) y[c] = T(x[c] + z[c]);
  });
}

}  // namespace

void embedding_forward(const EmbeddingForward& a) {
  const std::int64_t* ids = checked("embedding", a.ids, 0, a.table.dim(0));
  by_dtype(a.table.dtype(), [&](auto v) {
    using T = decltype(v);
    parallel_for(a.ids.numel(), grain(a.y.dim(1)),
                 [&](std::int64_t t) { copy_row(a.y.device_row<T>(t), a.table.device_row<T>(ids[t]), a.y.dim(1)); });
  });
}

void embedding_backward(const EmbeddingBackward& a) {
  by_dtype(a.dy.dtype(), [&](auto v) { embedding_gradient<decltype(v)>(a); });
}

void take_rows_forward(const TakeRowsForward& a) {
  const auto [N, C] = a.x.dims<2>();
  const std::int64_t* index = checked("take_rows", a.index, 0, N);
  by_dtype(a.x.dtype(), [&, C = C](auto v) {
    using T = decltype(v);
    parallel_for(a.index.numel(), grain(C),
                 [&](std::int64_t i) { copy_row(a.y.device_row<T>(i), a.x.device_row<T>(index[i]), C); });
  });
}

void take_rows_backward(const TakeRowsBackward& a) {
  const auto [N, C] = a.dx.dims<2>();
  const std::int64_t* index = checked("take_rows", a.index, 0, N);
  by_dtype(a.dx.dtype(), [&, C = C](auto v) {
    using T = decltype(v);
    fill({.y = a.dx, .value = 0});
    for (std::int64_t i = 0; i < a.index.numel(); ++i) copy_row(a.dx.device_row<T>(index[i]), a.dy.device_row<T>(i), C);
  });
}

void insert_class_tokens_forward(const InsertClassTokensForward& a) {
  by_dtype(a.x.dtype(), [&](auto v) { class_tokens_forward<decltype(v)>(a); });
}

void insert_class_tokens_backward(const InsertClassTokensBackward& a) {
  by_dtype(a.dy.dtype(), [&](auto v) { class_tokens_backward<decltype(v)>(a); });
}

void splice_forward(const SpliceForward& a) {
  const auto [L, C] = a.y.dims<2>();
  const std::int64_t* source = checked("splice", a.source, -1, a.features.dim(0));
  by_dtype(a.y.dtype(), [&, L = L, C = C](auto v) {
    using T = decltype(v);
    parallel_for(L, grain(C), [&](std::int64_t t) {
      copy_row(a.y.device_row<T>(t), source[t] < 0 ? a.text.device_row<T>(t) : a.features.device_row<T>(source[t]), C);
    });
  });
}

void splice_backward(const SpliceBackward& a) {
  const auto [L, C] = a.dy.dims<2>();
  const std::int64_t* source = checked("splice", a.source, -1, a.dfeatures ? a.dfeatures.dim(0) : INT64_MAX);
  by_dtype(a.dy.dtype(), [&, L = L, C = C](auto v) {
    using T = decltype(v);
    if (a.dfeatures) fill({.y = a.dfeatures, .value = 0});
    for (std::int64_t t = 0; t < L; ++t) {
      const bool text = source[t] < 0;
      if (!text && a.dfeatures) copy_row(a.dfeatures.device_row<T>(source[t]), a.dy.device_row<T>(t), C);
      if (!a.dtext) continue;
      if (text) copy_row(a.dtext.device_row<T>(t), a.dy.device_row<T>(t), C);
      else std::fill_n(a.dtext.device_row<T>(t), C, T(0));
    }
  });
}

void add(const Add& a) {
  if (a.b.dtype() != a.y.dtype()) return add_arrays<float, Bf16>(a);
  by_dtype(a.y.dtype(), [&](auto v) { add_arrays<decltype(v), decltype(v)>(a); });
}

void sum_rows(const SumRows& a) {
  const auto [N, C] = a.x.dims<2>();
  by_dtype(a.x.dtype(), [&, N = N, C = C](auto v) {
    using T = decltype(v);
    add_sum_of_rows(N, C, a.sum.device_data<Accum<T>>(),
                    [&](std::int64_t n) { return [x = a.x.device_row<T>(n)](std::int64_t c) { return x[c]; }; });
  });
}

}  // namespace ov::kernels::cpu
