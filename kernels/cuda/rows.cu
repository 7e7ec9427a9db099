// Rows by an index list (kernels/rows.h): every kernel here says for row n where its elements come from and go to.
//
//   y_n = x_i(n)
//
//   from  | row i | ......... |     to  | row n | ......... |     one thread a packet of 16 bytes, all rows of a block
//         | packet 0 | p. 1 | ...       | packet 0 | p. 1 | ...   next to each other (kernels/cuda/elementwise.h)
//
// Nothing is added but the class tokens' gradients: one thread a column, the images in order, single numbers since a
// batch has a few dozen such rows. Every row of the result is written once; what an index list may leave out is zeroed
// before.
//
// 2 size(T) bytes an element and an index a packet; no FLOPs.
#include "kernels/rows.h"

#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/launchers.h"

namespace ov::kernels::OV_CUDA {
namespace {

template <class T>
struct Way {
  T* to;                // null: this row goes nowhere
  const T* from;        // null: the row is filled with
  float otherwise = 0;  // this
};

template <class T, class Map>
struct Move {
  Map way;
  template <int width>
  __device__ void at(std::int64_t n, std::int64_t p) const {
    const Way<T> w = way(n);
    if (!w.to) return;
    Packet<T, width> packet;
    if (w.from) packet = load<width>(w.from, p);
    else UNROLL
    for (T& e : packet.at) e = T(w.otherwise);
    store<width>(w.to, p, packet);
  }
};

template <class T, class Map, class... R>
void move_rows(const Map& way, std::int64_t N, std::int64_t C, gpu::Stream stream, const R&... arrays) {
  for_each_packet<packet_width<T>>(Move<T, Map>{way}, N, C, stream, arrays...);
}

__device__ inline bool in_range(std::int64_t i, std::int64_t end) { return i >= 0 && i < end; }

// y_n = x[index_n]
template <class T>
struct Gather {
  DeviceRows<T> y, x;
  const std::int64_t* index;
  std::int64_t end;
  __device__ Way<T> operator()(std::int64_t n) const {
    const std::int64_t i = index[n];
    return {y[n], in_range(i, end) ? x[i] : nullptr, NAN};
  }
};

// dx[index_n] = dy_n
template <class T>
struct Scatter {
  DeviceRows<T> dx, dy;
  const std::int64_t* index;
  std::int64_t end;
  __device__ Way<T> operator()(std::int64_t n) const {
    const std::int64_t i = index[n];
    return {in_range(i, end) ? dx[i] : nullptr, dy[n]};
  }
};

template <class T>
struct Splice {
  DeviceRows<T> y, text, features;
  const std::int64_t* source;
  std::int64_t end;
  __device__ Way<T> operator()(std::int64_t n) const {
    const std::int64_t i = source[n];
    return {y[n], i < 0 ? text[n] : i < end ? features[i] : nullptr, NAN};
  }
};

// dtext_n = dy_n, or 0 where a feature stood
template <class T>
struct SpliceText {
  DeviceRows<T> dtext, dy;
  const std::int64_t* source;
  __device__ Way<T> operator()(std::int64_t n) const { return {dtext[n], source[n] < 0 ? dy[n] : nullptr}; }
};

// How many of the ascending `first` [G] lie before row m, and whether m is one of them.
struct Classes {
  const std::int64_t* first;
  std::int64_t G;
  struct Found {
    std::int64_t before;
    bool here;
  };
  __device__ Found find(std::int64_t m) const {
    std::int64_t low = 0, high = G;
    while (low < high) {
      const std::int64_t middle = (low + high) / 2;
      if (first[middle] < m) low = middle + 1;
      else high = middle;
    }
    return {low, low < G && first[low] == m};
  }
};

template <class T>
struct InsertClasses {
  DeviceRows<T> y, x;
  const T* class_vector;
  Classes classes;
  std::int64_t P;  // rows of x
  __device__ Way<T> operator()(std::int64_t m) const {
    const auto c = classes.find(m);
    return {y[m], c.here ? class_vector : in_range(m - c.before, P) ? x[m - c.before] : nullptr, NAN};
  }
};

template <class T>
struct RemoveClasses {
  DeviceRows<T> dx, dy;
  Classes classes;
  std::int64_t P;
  __device__ Way<T> operator()(std::int64_t m) const {
    const auto c = classes.find(m);
    return {!c.here && in_range(m - c.before, P) ? dx[m - c.before] : nullptr, dy[m]};
  }
};

template <class T>
__global__ void add_class_rows(float* dclass, DeviceRows<T> dy, Classes classes, std::int64_t M, std::int64_t C) {
  const std::int64_t c = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (c >= C) return;
  float sum = dclass[c];
  for (std::int64_t g = 0; g < classes.G; ++g)
    if (in_range(classes.first[g], M)) sum += float(dy[classes.first[g]][c]);
  dclass[c] = sum;
}

template <class T>
void gather(const Tensor& y, const Tensor& x, const Tensor& index, gpu::Stream stream) {
  const auto ys = rows_of<T>(y), xs = rows_of<T>(x);
  move_rows<T>(Gather<T>{ys, xs, index.device_data<std::int64_t>(), x.dim(0)}, y.dim(0), y.dim(1), stream, ys, xs);
}

template <class T>
void scatter(const Tensor& dx, const Tensor& dy, const Tensor& index, gpu::Stream stream) {
  fill({.y = dx, .value = 0}, stream);
  const auto dxs = rows_of<T>(dx), dys = rows_of<T>(dy);
  move_rows<T>(Scatter<T>{dxs, dys, index.device_data<std::int64_t>(), dx.dim(0)}, dy.dim(0), dy.dim(1), stream, dxs,
               dys);
}

}  // namespace

void embedding_forward(const EmbeddingForward& a, gpu::Stream stream) {
  by_cuda_dtype(a.table.dtype(), [&](auto t) { gather<decltype(t)>(a.y, a.table, a.ids, stream); });
}

void take_rows_forward(const TakeRowsForward& a, gpu::Stream stream) {
  by_cuda_dtype(a.x.dtype(), [&](auto t) { gather<decltype(t)>(a.y, a.x, a.index, stream); });
}

void take_rows_backward(const TakeRowsBackward& a, gpu::Stream stream) {
  by_cuda_dtype(a.dy.dtype(), [&](auto t) { scatter<decltype(t)>(a.dx, a.dy, a.index, stream); });
}

void insert_class_tokens_forward(const InsertClassTokensForward& a, gpu::Stream stream) {
  by_cuda_dtype(a.x.dtype(), [&](auto t) {
    using T = decltype(t);
    const auto y = rows_of<T>(a.y), x = rows_of<T>(a.x), one = rows_of<T>(a.class_vector);
    const Classes classes{a.first_row.device_data<std::int64_t>(), a.first_row.numel()};
    move_rows<T>(InsertClasses<T>{y, x, one.data, classes, a.x.dim(0)}, a.y.dim(0), a.y.dim(1), stream, y, x, one);
  });
}

void insert_class_tokens_backward(const InsertClassTokensBackward& a, gpu::Stream stream) {
  const auto [M, C] = a.dy.dims<2>();
  by_cuda_dtype(a.dy.dtype(), [&, M = M, C = C](auto t) {
    using T = decltype(t);
    const auto dx = rows_of<T>(a.dx), dy = rows_of<T>(a.dy);
    const Classes classes{a.first_row.device_data<std::int64_t>(), a.first_row.numel()};
    if (a.dx) move_rows<T>(RemoveClasses<T>{dx, dy, classes, a.dx.dim(0)}, M, C, stream, dx, dy);
    if (a.dclass_vector && C > 0)
      launch(add_class_rows<T>, dim3(ceil_div(C, 128)), dim3(128), 0, stream, a.dclass_vector.device_data<float>(), dy,
             classes, M, C);
  });
}

void splice_forward(const SpliceForward& a, gpu::Stream stream) {
  by_cuda_dtype(a.y.dtype(), [&](auto t) {
    using T = decltype(t);
    const auto y = rows_of<T>(a.y), text = rows_of<T>(a.text), features = rows_of<T>(a.features);
    move_rows<T>(Splice<T>{y, text, features, a.source.device_data<std::int64_t>(), a.features.dim(0)}, a.y.dim(0),
                 a.y.dim(1), stream, y, text, features);
  });
}

void splice_backward(const SpliceBackward& a, gpu::Stream stream) {
  by_cuda_dtype(a.dy.dtype(), [&](auto t) {
    using T = decltype(t);
    if (a.dfeatures) scatter<T>(a.dfeatures, a.dy, a.source, stream);
    if (!a.dtext) return;
    const auto dtext = rows_of<T>(a.dtext), dy = rows_of<T>(a.dy);
    move_rows<T>(SpliceText<T>{dtext, dy, a.source.device_data<std::int64_t>()}, a.dy.dim(0), a.dy.dim(1), stream,
                 dtext, dy);
  });
}

}  // namespace ov::kernels::OV_CUDA
