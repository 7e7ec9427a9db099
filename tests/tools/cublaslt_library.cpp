// The stand-in for cuBLASLt (kernels/sim/cublaslt_stand_in.h) as a shared library of its name,
// build/libcublasLt.so.13: a process that has loaded it gets it from dlopen("libcublasLt.so.13"), symbol by symbol, as
// a process with a GPU gets NVIDIA's. Every function counts the call and hands it on to the table that ov_forward_to()
// was given; before, all are refused.
#include <type_traits>

#include "kernels/gpu/cublaslt_api.h"

using namespace ov::gpu::lt;

namespace {

const Api* table = nullptr;
long calls = 0;

template <class R, class... A, class... B>
R hand_on(R (*Api::*call)(A...), B... arguments) {
  ++calls;
  return table ? (table->*call)(arguments...) : R(not_supported);
}

}  // namespace

extern "C" {

void ov_forward_to(const Api* to) { table = to; }
long ov_forwarded() { return calls; }

std::size_t cublasLtGetVersion() { return hand_on(&Api::version); }
int cublasLtCreate(Handle* handle) { return hand_on(&Api::create, handle); }
int cublasLtDestroy(Handle handle) { return hand_on(&Api::destroy, handle); }
int cublasLtMatmulDescCreate(Desc* desc, int compute, int scale) {
  return hand_on(&Api::desc_create, desc, compute, scale);
}
int cublasLtMatmulDescDestroy(Desc desc) { return hand_on(&Api::desc_destroy, desc); }
int cublasLtMatmulDescSetAttribute(Desc desc, int attribute, const void* value, std::size_t bytes) {
  return hand_on(&Api::desc_set, desc, attribute, value, bytes);
}
int cublasLtMatrixLayoutCreate(Layout* layout, int type, std::uint64_t rows, std::uint64_t columns, std::int64_t ld) {
  return hand_on(&Api::layout_create, layout, type, rows, columns, ld);
}
int cublasLtMatrixLayoutDestroy(Layout layout) { return hand_on(&Api::layout_destroy, layout); }
int cublasLtMatmulPreferenceCreate(Preference* preference) { return hand_on(&Api::preference_create, preference); }
int cublasLtMatmulPreferenceDestroy(Preference preference) { return hand_on(&Api::preference_destroy, preference); }
int cublasLtMatmulPreferenceSetAttribute(Preference preference, int attribute, const void* value, std::size_t bytes) {
  return hand_on(&Api::preference_set, preference, attribute, value, bytes);
}
int cublasLtMatmulAlgoGetHeuristic(Handle handle, Desc desc, Layout a, Layout b, Layout c, Layout d,
                                   Preference preference, int wanted, Heuristic* found, int* count) {
  return hand_on(&Api::heuristic, handle, desc, a, b, c, d, preference, wanted, found, count);
}
int cublasLtMatmulAlgoCheck(Handle handle, Desc desc, Layout a, Layout b, Layout c, Layout d, const Algo* algo,
                            Heuristic* result) {
  return hand_on(&Api::algo_check, handle, desc, a, b, c, d, algo, result);
}
int cublasLtMatmulAlgoCapGetAttribute(const Algo* algo, int attribute, void* to, std::size_t bytes,
                                      std::size_t* written) {
  return hand_on(&Api::capability, algo, attribute, to, bytes, written);
}
int cublasLtMatmul(Handle handle, Desc desc, const void* alpha, const void* a, Layout of_a, const void* b, Layout of_b,
                   const void* beta, const void* c, Layout of_c, void* d, Layout of_d, const Algo* algo,
                   void* workspace, std::size_t bytes, Stream stream) {
  return hand_on(&Api::matmul, handle, desc, alpha, a, of_a, b, of_b, beta, c, of_c, d, of_d, algo, workspace, bytes,
                 stream);
}

#define OV_SAME(name, symbol, type) static_assert(std::is_same_v<decltype(symbol), Api::name##_type>);
OV_CUBLASLT_CALLS(OV_SAME)
#undef OV_SAME
}
