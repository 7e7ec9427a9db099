#include "kernels/gpu/cublaslt.h"

#include <cstdio>
#include <cstdlib>

#include "kernels/gpu/vendor_library.h"

namespace ov::gpu {
namespace {

constexpr std::uint64_t workspace_bytes = cublaslt_workspace;
constexpr std::size_t least_version = 130000;
constexpr const char* soname = "libcublasLt.so.13";
constexpr const char* need = "products on a GPU need cuBLAS 13 (package nvidia-cublas or libcublas-13)";
constexpr const char* variables[] = {
    "NVIDIA_TF32_OVERRIDE",         "CUBLAS_EMULATE_SINGLE_PRECISION",    "CUBLAS_EMULATION_STRATEGY",
    "CUBLASLT_HEURISTICS_LUT_FILE", "CUBLASLT_HEURISTICS_CACHE_CAPACITY", "CUBLAS_AUTOTUNING_CACHE_CAPACITY",
    "CUBLAS_WORKSPACE_CONFIG"};

lt::Api open_library() {
  if (const std::string gone = remove_environment(); !gone.empty())
    std::fprintf(stderr, "cuBLASLt: these environment variables would change numbers and are ignored: %s\n",
                 gone.c_str());
  const VendorLibrary library(soname, need);
  lt::Api api;
#define OV_LOAD(name, symbol, type) library.load(api.name, #symbol);
  OV_CUBLASLT_CALLS(OV_LOAD)
#undef OV_LOAD
  if (api.version() < least_version) machine_error(soname, ": version ", api.version(), "; ", need);
  return api;
}

// The largest power of two, at most 256, that an address is a multiple of. Views begin at any multiple of 16 bytes: 16
// and 256 are told apart, nothing between, so that few algorithms are kept.
unsigned alignment_of(const void* p) {
  const auto a = reinterpret_cast<std::uintptr_t>(p);
  if (a % 256 == 0) return 256;
  if (a % 16 == 0) return 16;
  return static_cast<unsigned>(a & -a);
}

lt::Type type_of(const Tensor& t) {
  if (t.dtype() == Dtype::f32) return lt::f32;
  if (t.dtype() == Dtype::bf16) return lt::bf16;
  input_error("no CUDA product for ", name_of(t.dtype()), "; f32 and bf16 exist");
}

struct Devices {
  std::mutex mutex;
  std::map<Device*, lt::Api> brought;
  std::map<Device*, std::unique_ptr<CublasLt>> open;
};
Devices& devices() {
  static auto* d = new Devices;  // outlives every device
  return *d;
}

}  // namespace

std::string remove_environment() {
  std::string gone;
  for (const char* name : variables) {
    if (!std::getenv(name)) continue;
    unsetenv(name);
    if (!gone.empty()) gone += ' ';
    gone += name;
  }
  return gone;
}

void bring_cublaslt(Device& device, const lt::Api& api) {
  const std::lock_guard lock(devices().mutex);
  devices().brought[&device] = api;
  devices().open.erase(&device);
}

void close_cublaslt(Device& device) {
  const std::lock_guard lock(devices().mutex);
  devices().open.erase(&device);
  devices().brought.erase(&device);
}

CublasLt& cublaslt(Device& device) {
  const std::lock_guard lock(devices().mutex);
  auto& open = devices().open[&device];
  if (!open) {
    const auto brought = devices().brought.find(&device);
    open = std::make_unique<CublasLt>(brought == devices().brought.end() ? open_library() : brought->second, device);
  }
  return *open;
}

// What one shape needs, made once: descriptors, and the algorithm.
struct CublasLt::Plan {
  explicit Plan(const lt::Api& api) : api(api) {}
  ~Plan() {
    if (desc) api.desc_destroy(desc);
    for (const lt::Layout l : {a, b, d})
      if (l) api.layout_destroy(l);
  }
  Plan(const Plan&) = delete;

  const lt::Api& api;
  lt::Desc desc = nullptr;
  lt::Layout a = nullptr, b = nullptr, d = nullptr;  // c is d
  lt::Algo algo{};
  std::size_t workspace = 0;
};

CublasLt::CublasLt(const lt::Api& api, Device& device) : api_(api), device_(device) {
  if (const int status = api_.create(&handle_)) machine_error("cuBLASLt: create failed with status ", status);
}

CublasLt::~CublasLt() {
  plans_.clear();
  api_.destroy(handle_);
}

std::string CublasLt::Key::str() const {
  const auto name = [](lt::Type t) { return t == lt::f32 ? "f32" : "bf16"; };
  return cat("column-major ", m, " x ", n, " x ", k, transpose_a ? " T" : " N", transpose_b ? "T" : "N", ", ld ", lda,
             " ", ldb, " ", ldd, ", ", name(type), " to ", name(d_type), accumulate ? ", added" : "",
             bias ? cat(", bias aligned to ", align_bias) : "", ", aligned to ", align_a, " ", align_b, " ", align_d);
}

void CublasLt::check(int status, const char* call, const Key& key) const {
  if (status != lt::success) machine_error("cuBLASLt: ", call, " failed with status ", status, ": ", key.str());
}

// The first algorithm that the library recommends.
void CublasLt::ask(Plan& p, const Key& key) {
  lt::Preference preference = nullptr;
  check(api_.preference_create(&preference), "PreferenceCreate", key);
  const std::unique_ptr<void, int (*)(lt::Preference)> owner(preference, api_.preference_destroy);
  const auto prefer = [&](int attribute, auto value) {
    check(api_.preference_set(preference, attribute, &value, sizeof value), "setting a preference", key);
  };
  prefer(lt::max_workspace, workspace_bytes);
  prefer(lt::reduction_schemes, std::uint32_t{lt::in_compute_type});  // and no split at all
  prefer(lt::alignment_a, std::uint32_t{key.align_a});
  prefer(lt::alignment_b, std::uint32_t{key.align_b});
  prefer(lt::alignment_c, std::uint32_t{key.align_d});
  prefer(lt::alignment_d, std::uint32_t{key.align_d});
  constexpr std::uint64_t plain = lt::by_fma | lt::adds_in_f32 | lt::takes_f32;
  if (key.type == lt::f32) prefer(lt::implementations, plain);

  lt::Heuristic found[4];
  int count = 0;
  check(api_.heuristic(handle_, p.desc, p.a, p.b, p.d, p.d, preference, 4, found, &count), "AlgoGetHeuristic", key);
  int best = 0;
  while (best < count && found[best].status != lt::success) ++best;
  if (best == count) machine_error("cuBLASLt: no algorithm for ", key.str());
  p.algo = found[best].algo, p.workspace = found[best].workspace;
}

// The algorithm of an earlier run.
void CublasLt::take(Plan& p, const lt::Algo& algo, const Key& key) const {
  lt::Heuristic result{};
  const int status = api_.algo_check(handle_, p.desc, p.a, p.b, p.d, p.d, &algo, &result);
  if (status != lt::success || result.status != lt::success || result.workspace > workspace_bytes)
    machine_error(kept_in_, ": cuBLASLt refuses the algorithm that stands there for ", key.str(), " (status ", status,
                  ", ", result.status, "); without the file it chooses anew");
  p.algo = algo, p.workspace = result.workspace;
}

Algorithms CublasLt::chosen() {
  const std::lock_guard lock(mutex_);
  Algorithms all = kept_;
  for (const auto& [key, plan] : plans_) all[key.str()] = plan.algo;
  return all;
}

void CublasLt::choose(Algorithms kept, std::string from) {
  const std::lock_guard lock(mutex_);
  kept_ = std::move(kept), kept_in_ = std::move(from);
}

CublasLt::Plan& CublasLt::plan_of(const Key& key, const void* bias) {
  if (const auto known = plans_.find(key); known != plans_.end()) return known->second;
  Plan& p = plans_.try_emplace(key, api_).first->second;
  try {
    const bool f32 = key.type == lt::f32;
    const auto set = [&](int attribute, const auto& value) {
      check(api_.desc_set(p.desc, attribute, &value, sizeof value), "setting an attribute", key);
    };
    check(api_.desc_create(&p.desc, f32 ? lt::compute_32f_pedantic : lt::compute_32f, lt::f32), "MatmulDescCreate",
          key);
    set(lt::transpose_a, std::int32_t(key.transpose_a ? lt::transposed : lt::as_it_is));
    set(lt::transpose_b, std::int32_t(key.transpose_b ? lt::transposed : lt::as_it_is));
    set(lt::epilogue, std::uint32_t(key.bias ? lt::add_bias : lt::nothing));
    if (key.bias) {
      set(lt::bias_type, std::int32_t{key.d_type});
      set(lt::bias_pointer, bias);  // before the choice, which looks at its alignment
    }
    const auto layout = [&](lt::Layout& l, lt::Type type, bool turned, std::int64_t rows, std::int64_t columns,
                            std::int64_t ld) {
      if (turned) std::swap(rows, columns);
      check(api_.layout_create(&l, type, std::uint64_t(rows), std::uint64_t(columns), ld), "MatrixLayoutCreate", key);
    };
    layout(p.a, key.type, key.transpose_a, key.m, key.k, key.lda);
    layout(p.b, key.type, key.transpose_b, key.k, key.n, key.ldb);
    layout(p.d, key.d_type, false, key.m, key.n, key.ldd);

    if (const auto kept = kept_.find(key.str()); kept != kept_.end()) take(p, kept->second, key);
    else ask(p, key);
    if (f32) {
      std::uint64_t flags = 0;
      std::size_t written = 0;
      check(api_.capability(&p.algo, lt::implementation_flags, &flags, sizeof flags, &written), "AlgoCapGetAttribute",
            key);
      if (flags & (lt::by_tensor_cores | lt::takes_tf32))
        machine_error("cuBLASLt: its algorithm does not compute in f32 (flags ", flags, "): ", key.str());
    }
  } catch (...) {
    plans_.erase(key);
    throw;
  }
  return p;
}

void CublasLt::product(const kernels::Gemm& g, lt::Stream stream) {
  const auto [M, N] = g.c.dims<2>();
  const std::int64_t K = g.a.dims<2>()[g.trans_a ? 0 : 1];
  // A matrix of one row may have any stride.
  const auto ld_of = [](const Tensor& t) { return std::max(t.row_stride(), t.dims<2>()[1]); };
  for (const Tensor* t : {&g.c, &g.a, &g.b})
    if (t->row_stride() < 0)
      input_error("gemm: the rows of a tensor ", t->shape().str(), " are not equally far apart; copy it first");
  const Key key{.transpose_a = g.trans_b,
                .transpose_b = g.trans_a,
                .accumulate = g.accumulate,
                .bias = bool(g.bias),
                .type = type_of(g.a),
                .d_type = type_of(g.c),
                .m = N,
                .n = M,
                .k = K,
                .lda = ld_of(g.b),
                .ldb = ld_of(g.a),
                .ldd = ld_of(g.c),
                .align_a = alignment_of(g.b.device_bytes()),
                .align_b = alignment_of(g.a.device_bytes()),
                .align_d = alignment_of(g.c.device_bytes()),
                .align_bias = g.bias ? alignment_of(g.bias.device_bytes()) : 0};
  const void* bias = g.bias ? g.bias.device_bytes() : nullptr;

  const std::lock_guard lock(mutex_);
  Plan& p = plan_of(key, bias);
  if (bias) check(api_.desc_set(p.desc, lt::bias_pointer, &bias, sizeof bias), "setting the bias", key);
  Tensor& workspace = workspaces_[stream];
  if (!workspace) workspace = Tensor({cublaslt_workspace_taken}, Dtype::u8, device_, Segment::workspace);
  std::byte* aligned = workspace.device_bytes() + (-reinterpret_cast<std::uintptr_t>(workspace.device_bytes()) & 255);
  const float one = 1, beta = g.accumulate ? 1 : 0;
  check(api_.matmul(handle_, p.desc, &one, g.b.device_bytes(), p.a, g.a.device_bytes(), p.b, &beta, g.c.device_bytes(),
                    p.d, g.c.device_bytes(), p.d, &p.algo, aligned, workspace_bytes, stream),
        "Matmul", key);
}

}  // namespace ov::gpu
