#include "kernels/sim/cublaslt_stand_in.h"

#include <cstring>
#include <map>
#include <vector>

#include "base/error.h"
#include "base/hash.h"
#include "kernels/cpu/gemm.h"
#include "kernels/sim/stream.h"
#include "tensor/dtype.h"

namespace ov::sim {
namespace {

using namespace gpu::lt;

enum class Kind { handle, product, matrix, wish };

std::string complaint;
std::map<const void*, Kind> live;
std::map<const void*, gpu::lt::Stream> stream_of;  // of a workspace
CublasLtModes modes;

template <class... A>
int refuse(Status status, const A&... why) {
  complaint = cat(why...);
  return status;
}
int refuse(const char* why) { return refuse(invalid_value, why); }

struct Library {
  static constexpr Kind kind = Kind::handle;
};
struct Matrix {
  static constexpr Kind kind = Kind::matrix;
  Type type;
  std::int64_t rows, columns, ld;
  bool operator==(const Matrix&) const = default;
};
struct Product {
  static constexpr Kind kind = Kind::product;
  Compute compute;
  std::int32_t transpose_a = as_it_is, transpose_b = as_it_is, bias_type = -1;
  std::uint32_t epilogue = nothing;
  const void* bias = nullptr;
};
struct Wish {
  static constexpr Kind kind = Kind::wish;
  std::uint64_t workspace = 0, implementations = ~std::uint64_t{0};
  std::uint32_t reductions = 7, align[4] = {256, 256, 256, 256};  // the library's own defaults
};

// Whether all of them live, and as what they are taken for.
template <class T>
bool known(std::initializer_list<const void*> objects) {
  return std::all_of(objects.begin(), objects.end(), [](const void* o) {
    const auto found = live.find(o);
    return found != live.end() && found->second == T::kind;
  });
}

template <class T>
int made(void** to, T value) {
  if (!to) return refuse("nowhere to put an object");
  live[*to = new T(value)] = T::kind;
  return success;
}
template <class T>
int gone(void* object) {
  if (!known<T>({object})) return refuse("an object is destroyed twice, or is another");
  live.erase(object);
  delete static_cast<T*>(object);
  return success;
}
template <class T>
int put(T& to, const void* value, std::size_t bytes) {
  if (!value) return refuse("an attribute without a value");
  if (bytes != sizeof(T)) return refuse(invalid_value, "an attribute of ", sizeof(T), " bytes is given ", bytes);
  std::memcpy(&to, value, bytes);
  return success;
}

// What an algorithm says of itself. Copied about by the caller: no pointers.
struct Chosen {
  std::uint64_t of;  // a hash of the product it was chosen for
  std::uint64_t flags;
  std::uint32_t align[4];
  std::uint64_t workspace;
};
static_assert(sizeof(Chosen) <= sizeof(Algo));

bool pointer(int type) { return type == f32 || type == bf16; }
std::int64_t bytes_of(int type) { return type == f32 ? 4 : 2; }

struct Call {
  const Product& p;
  const Matrix &a, &b, &c, &d;
  std::int64_t m() const { return d.rows; }
  std::int64_t n() const { return d.columns; }
  std::int64_t k() const { return p.transpose_a ? a.rows : a.columns; }

  int check() const {
    for (const std::int32_t t : {p.transpose_a, p.transpose_b})
      if (t != as_it_is && t != transposed) return refuse(not_supported, "this transpose");
    for (const Matrix* x : {&a, &b, &c, &d}) {
      if (!pointer(x->type)) return refuse(not_supported, "a type other than f32 and bf16");
      if (x->rows < 1 || x->columns < 1) return refuse("an empty matrix");
      if (x->ld < x->rows) return refuse(invalid_value, "ld ", x->ld, " is shorter than a column of ", x->rows);
    }
    if (!(c == d)) return refuse("C and D have different layouts");
    if (a.type != b.type || (d.type != a.type && d.type != f32)) return refuse(not_supported, "these types together");
    if ((p.transpose_a ? a.columns : a.rows) != m()) return refuse("A does not have the rows of D");
    if ((p.transpose_b ? b.rows : b.columns) != n()) return refuse("B does not have the columns of D");
    if ((p.transpose_b ? b.columns : b.rows) != k()) return refuse("A and B do not fit together");
    if (p.epilogue != nothing && p.epilogue != add_bias) return refuse(not_supported, "this epilogue");
    if ((p.epilogue == add_bias) != (p.bias != nullptr)) return refuse("a bias without its epilogue, or the reverse");
    if (p.bias && p.bias_type != d.type) return refuse("a bias of another type than D");
    if (p.bias && reinterpret_cast<std::uintptr_t>(p.bias) % 16) return refuse("a bias not at a multiple of 16 bytes");
    return success;
  }
  std::uint64_t hash() const {
    const std::int64_t all[] = {p.compute, p.transpose_a, p.transpose_b, p.epilogue, p.bias_type, a.type,
                                a.rows,    a.columns,     a.ld,          b.type,     b.rows,      b.columns,
                                b.ld,      d.type,        d.rows,        d.columns,  d.ld};
    return fnv1a({reinterpret_cast<const char*>(all), sizeof all});
  }
};

int choose(Handle handle, Desc desc, Layout a, Layout b, Layout c, Layout d, Preference preference, int wanted,
           Heuristic* found, int* count) {
  if (!known<Library>({handle}) || !known<Product>({desc}) || !known<Matrix>({a, b, c, d}) ||
      !known<Wish>({preference}))
    return refuse("an object that does not live, or is another");
  if (!found || !count || wanted < 1) return refuse("no room for algorithms");
  const Call call{*static_cast<Product*>(desc), *static_cast<Matrix*>(a), *static_cast<Matrix*>(b),
                  *static_cast<Matrix*>(c), *static_cast<Matrix*>(d)};
  if (const int status = call.check()) return status;
  const Wish& wish = *static_cast<Wish*>(preference);
  if (wish.reductions & ~unsigned{in_compute_type}) return refuse("partial sums in another type than f32 are allowed");
  const bool tf32 = call.a.type == f32 && (call.p.compute != compute_32f_pedantic || modes.offers_tensor_cores);
  Chosen chosen{.of = call.hash(),
                .flags = tf32                 ? std::uint64_t{0x02 | adds_in_f32 | takes_tf32}
                         : call.a.type == f32 ? std::uint64_t{by_fma | adds_in_f32 | takes_f32}
                                              : std::uint64_t{0x02 | adds_in_f32},
                .align = {},
                .workspace = std::uint64_t(4096)};
  if (chosen.workspace > wish.workspace) return refuse(not_supported, "no workspace");
  std::copy_n(wish.align, 4, chosen.align);
  *count = std::min(wanted, 2);
  for (int i = 0; i < *count; ++i) {
    found[i] = {};
    found[i].status = i == 0 && wanted > 1 ? not_supported : success;  // the first one is not always usable,
    if (found[i].status != success) continue;                          // and then it is none
    found[i].workspace = chosen.workspace;
    std::memcpy(&found[i].algo, &chosen, sizeof chosen);
  }
  return success;
}

// Whether an algorithm, of this process or of an earlier one, is for this product.
int check_algorithm(Handle handle, Desc desc, Layout a, Layout b, Layout c, Layout d, const Algo* algo,
                    Heuristic* result) {
  if (!known<Library>({handle}) || !known<Product>({desc}) || !known<Matrix>({a, b, c, d}))
    return refuse("an object that does not live, or is another");
  if (!algo || !result) return refuse("no algorithm, or no place for the answer");
  const Call call{*static_cast<Product*>(desc), *static_cast<Matrix*>(a), *static_cast<Matrix*>(b),
                  *static_cast<Matrix*>(c), *static_cast<Matrix*>(d)};
  if (const int status = call.check()) return status;
  Chosen chosen;
  std::memcpy(&chosen, algo, sizeof chosen);
  if (chosen.of != call.hash()) return refuse("the algorithm was chosen for another product");
  result->workspace = chosen.workspace, result->status = success;  // its algorithm is left alone, as by the real one
  return success;
}

int capability(const Algo* algo, int attribute, void* to, std::size_t bytes, std::size_t* written) {
  if (!algo || !to || !written) return refuse("a capability without an algorithm or an address");
  if (attribute != implementation_flags || bytes != 8) return refuse(not_supported, "this capability");
  std::memcpy(to, reinterpret_cast<const char*>(algo) + offsetof(Chosen, flags), 8);
  *written = 8;
  return success;
}

// A matrix, column by column, widened to f32; in TF32 with the 13 lowest bits cut off.
std::vector<float> widened(const void* data, const Matrix& x, bool tf32) {
  std::vector<float> w(std::size_t(x.ld * (x.columns - 1) + x.rows));
  for (std::int64_t j = 0; j < x.columns; ++j)
    for (std::int64_t i = 0; i < x.rows; ++i) {
      const auto at = std::size_t(j * x.ld + i);
      w[at] = x.type == f32 ? static_cast<const float*>(data)[at] : float(static_cast<const Bf16*>(data)[at]);
      if (tf32) w[at] = __builtin_bit_cast(float, __builtin_bit_cast(std::uint32_t, w[at]) & 0xffffe000u);
    }
  return w;
}

// Bytes of memory that a call reaches.
struct Span {
  const void* at;
  std::size_t bytes;
  std::uintptr_t begin() const { return reinterpret_cast<std::uintptr_t>(at); }
};
Span span_of(const void* at, const Matrix& m) {
  return {at, std::size_t((m.ld * (m.columns - 1) + m.rows) * bytes_of(m.type))};
}
bool overlap(const Span& x, const Span& y) {
  return x.begin() < y.begin() + y.bytes && y.begin() < x.begin() + x.bytes;
}

// A product that has been accepted, run in its turn. It keeps what it needs: descriptors may be gone by then.
struct Work {
  Product p;
  Matrix a, b, d;
  bool add, tf32;
  std::int64_t pieces;  // of the sum
  std::uint64_t workspace_bytes;
  std::uint64_t address[5];  // of A, B, D, the workspace and the bias, where kernels reach them

  template <class T>
  T* at(int i) const {
    return reinterpret_cast<T*>(address[i]);
  }
  // Row-major, D^T [n,m] = op(B)^T op(A)^T: its rows are the columns here.
  void run() const {
    std::memset(at<void>(3), 0xff, workspace_bytes);
    const std::vector<float> left = widened(at<void>(1), b, tf32), right = widened(at<void>(0), a, tf32);
    const std::int64_t m = d.rows, n = d.columns, k = p.transpose_a ? a.rows : a.columns;
    std::vector<float> sums =
        add ? widened(at<void>(2), d, false) : std::vector<float>(std::size_t(d.ld * (n - 1) + m));
    for (std::int64_t i = 0; i < pieces; ++i) {
      const std::int64_t k0 = k * i / pieces, k1 = k * (i + 1) / pieces;
      const std::int64_t b_row = p.transpose_b ? 1 : b.ld, b_column = p.transpose_b ? b.ld : 1;
      const std::int64_t a_row = p.transpose_a ? 1 : a.ld, a_column = p.transpose_a ? a.ld : 1;
      kernels::cpu::gemm_serial(n, m, k1 - k0, left.data() + k0 * b_column, b_row, b_column, right.data() + k0 * a_row,
                                a_row, a_column, sums.data(), d.ld, add || i > 0);
    }
    for (std::int64_t j = 0; j < n; ++j)
      for (std::int64_t i = 0; i < m; ++i) {
        const std::int64_t to = j * d.ld + i;
        float s = sums[std::size_t(to)];
        if (p.bias) s += d.type == f32 ? at<float>(4)[i] : float(at<Bf16>(4)[i]);
        if (d.type == f32) at<float>(2)[to] = s;
        else at<Bf16>(2)[to] = Bf16(s);
      }
  }
};

int multiply(Handle handle, Desc desc, const void* alpha, const void* a, Layout a_layout, const void* b,
             Layout b_layout, const void* beta, const void* c, Layout c_layout, void* d, Layout d_layout,
             const Algo* algo, void* workspace, std::size_t workspace_bytes, gpu::lt::Stream stream) {
  if (!known<Library>({handle}) || !known<Product>({desc}) || !known<Matrix>({a_layout, b_layout, c_layout, d_layout}))
    return refuse("an object that does not live, or is another");
  if (!a || !b || !c || !d) return refuse("a matrix without an address");
  if (!alpha || !beta) return refuse("alpha or beta without an address");
  const Call call{*static_cast<Product*>(desc), *static_cast<Matrix*>(a_layout), *static_cast<Matrix*>(b_layout),
                  *static_cast<Matrix*>(c_layout), *static_cast<Matrix*>(d_layout)};
  if (const int status = call.check()) return status;
  if (!algo) return refuse("no algorithm");
  Chosen chosen;
  std::memcpy(&chosen, algo, sizeof chosen);
  if (chosen.of != call.hash()) return refuse("the algorithm was chosen for another product");
  const void* pointers[] = {a, b, c, d};
  for (int i = 0; i < 4; ++i)
    if (reinterpret_cast<std::uintptr_t>(pointers[i]) % chosen.align[i])
      return refuse(not_supported, "matrix ", "ABCD"[i], " is not at a multiple of ", chosen.align[i], " bytes");
  if (workspace_bytes < chosen.workspace || reinterpret_cast<std::uintptr_t>(workspace) % 256)
    return refuse("the workspace is too small, or not at a multiple of 256 bytes");
  const Span of_a = span_of(a, call.a), of_b = span_of(b, call.b), of_d = span_of(d, call.d),
             of_workspace{workspace, workspace_bytes},
             of_bias{call.p.bias, call.p.bias ? std::size_t(call.m() * bytes_of(call.d.type)) : 0};
  if (overlap(of_d, of_a) || overlap(of_d, of_b)) return refuse("D overlaps A or B");
  for (const Span& s : {of_a, of_b, of_d, of_bias})
    if (overlap(of_workspace, s)) return refuse("the workspace overlaps a matrix or the bias");
  if (overlap(of_d, of_bias)) return refuse("D overlaps the bias");
  if (c != d) return refuse(not_supported, "C other than D");
  const float scale = *static_cast<const float*>(alpha), keep = *static_cast<const float*>(beta);
  if (scale != 1 || (keep != 0 && keep != 1))
    return refuse(not_supported, "alpha other than 1, beta other than 0 and 1");
  if (const auto [other, first] = stream_of.try_emplace(workspace, stream); !first && other->second != stream)
    return refuse("the workspace of another stream");
  Work work{.p = call.p,
            .a = call.a,
            .b = call.b,
            .d = call.d,
            .add = keep != 0,
            .tf32 = (chosen.flags & takes_tf32) != 0,
            .pieces = modes.order_depends_on_rows ? std::min(1 + call.n() % 3, call.k()) : 1,
            .workspace_bytes = chosen.workspace,
            .address = {}};
  const void* addresses[] = {a, b, d, workspace, call.p.bias};
  std::memcpy(work.address, addresses, sizeof addresses);
  if (!stream) {
    work.run();
  } else {
    auto* queue = static_cast<gpu::StreamHandle*>(stream);
    for (const Span& s : {of_a, of_b, of_d, of_workspace, of_bias}) queue->reaches("cublasLtMatmul", s.at, s.bytes);
    queue->relocate(work.address, 5);
    queue->enqueue("cublasLtMatmul", gpu::Place::current(), [work] { work.run(); });
  }
  return success;
}

int set_desc(Desc desc, int attribute, const void* value, std::size_t bytes) {
  if (!known<Product>({desc})) return refuse("an object that does not live, or is another");
  Product& p = *static_cast<Product*>(desc);
  switch (attribute) {
    case transpose_a: return put(p.transpose_a, value, bytes);
    case transpose_b: return put(p.transpose_b, value, bytes);
    case epilogue: return put(p.epilogue, value, bytes);
    case bias_pointer: return put(p.bias, value, bytes);
    case bias_type: return put(p.bias_type, value, bytes);
    default: return refuse(not_supported, "this attribute of a product");
  }
}

int set_preference(Preference preference, int attribute, const void* value, std::size_t bytes) {
  if (!known<Wish>({preference})) return refuse("an object that does not live, or is another");
  Wish& w = *static_cast<Wish*>(preference);
  switch (attribute) {
    case max_workspace: return put(w.workspace, value, bytes);
    case reduction_schemes: return put(w.reductions, value, bytes);
    case implementations: return put(w.implementations, value, bytes);
    case alignment_a:
    case alignment_b:
    case alignment_c:
    case alignment_d: return put(w.align[attribute - alignment_a], value, bytes);
    default: return refuse(not_supported, "this preference");
  }
}

}  // namespace

const Api& cublaslt_stand_in() {
  static const Api api = {
      .version = [] { return std::size_t{130100}; },
      .create = [](Handle* h) { return made(h, Library{}); },
      .destroy = [](Handle h) { return stream_of.clear(), gone<Library>(h); },
      .desc_create =
          [](Desc* d, int compute, int scale) {
            if (scale != f32) return refuse(not_supported, "this type of alpha and beta");
            if (compute != compute_32f && compute != compute_32f_pedantic && compute != compute_32f_fast_tf32)
              return refuse(not_supported, "this type of sums");
            return made(d, Product{.compute = Compute(compute)});
          },
      .desc_destroy = [](Desc d) { return gone<Product>(d); },
      .desc_set = set_desc,
      .layout_create =
          [](Layout* l, int type, std::uint64_t rows, std::uint64_t columns, std::int64_t ld) {
            return made(l, Matrix{Type(type), std::int64_t(rows), std::int64_t(columns), ld});
          },
      .layout_destroy = [](Layout l) { return gone<Matrix>(l); },
      .preference_create = [](Preference* p) { return made(p, Wish{}); },
      .preference_destroy = [](Preference p) { return gone<Wish>(p); },
      .preference_set = set_preference,
      .heuristic = choose,
      .algo_check = check_algorithm,
      .capability = capability,
      .matmul = multiply,
  };
  return api;
}

CublasLtModes& cublaslt_modes() { return modes; }
std::string cublaslt_complaint() { return complaint; }
int cublaslt_objects() { return int(live.size()); }

}  // namespace ov::sim
