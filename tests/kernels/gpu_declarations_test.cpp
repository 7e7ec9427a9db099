// Our declarations of the vendor's calls against the vendor's header, where a toolkit is installed (kernels/cuda.mk
// adds its folder): the values of constants, the sizes of structs, and what kind of thing each argument is.
#include "kernels/gpu/cublaslt_api.h"

#if __has_include(<cublasLt.h>)
#include <cublasLt.h>

#include <type_traits>

namespace {

using namespace ov::gpu;

template <class A, class B>
constexpr bool alike = sizeof(A) == sizeof(B) && std::is_pointer_v<A> == std::is_pointer_v<B> &&
                       (std::is_pointer_v<A> || std::is_integral_v<A> || std::is_enum_v<A>) ==
                           (std::is_pointer_v<B> || std::is_integral_v<B> || std::is_enum_v<B>);
template <class R, class... P, class Q, class... U>
constexpr bool same_call(R (*)(P...), Q (*)(U...)) {
  if constexpr (sizeof...(P) == sizeof...(U)) return alike<R, Q> && (alike<P, U> && ...);
  else return false;
}
#define OV_SAME(name, symbol, type) \
  static_assert(same_call(static_cast<lt::Api::name##_type*>(nullptr), static_cast<decltype(&symbol)>(nullptr)));
OV_CUBLASLT_CALLS(OV_SAME)

static_assert(!same_call(static_cast<int (*)(int)>(nullptr), static_cast<int (*)(void*)>(nullptr)));
static_assert(sizeof(lt::Algo) == sizeof(cublasLtMatmulAlgo_t));
static_assert(sizeof(lt::Heuristic) == sizeof(cublasLtMatmulHeuristicResult_t));
static_assert(offsetof(lt::Heuristic, workspace) == offsetof(cublasLtMatmulHeuristicResult_t, workspaceSize));
static_assert(offsetof(lt::Heuristic, status) == offsetof(cublasLtMatmulHeuristicResult_t, state));

#define OV_EQUAL(ours, theirs) static_assert(std::uint64_t(lt::ours) == std::uint64_t(theirs));
OV_EQUAL(success, CUBLAS_STATUS_SUCCESS)
OV_EQUAL(invalid_value, CUBLAS_STATUS_INVALID_VALUE)
OV_EQUAL(not_supported, CUBLAS_STATUS_NOT_SUPPORTED)
OV_EQUAL(f32, CUDA_R_32F)
OV_EQUAL(bf16, CUDA_R_16BF)
OV_EQUAL(compute_32f, CUBLAS_COMPUTE_32F)
OV_EQUAL(compute_32f_pedantic, CUBLAS_COMPUTE_32F_PEDANTIC)
OV_EQUAL(compute_32f_fast_tf32, CUBLAS_COMPUTE_32F_FAST_TF32)
OV_EQUAL(as_it_is, CUBLAS_OP_N)
OV_EQUAL(transposed, CUBLAS_OP_T)
OV_EQUAL(nothing, CUBLASLT_EPILOGUE_DEFAULT)
OV_EQUAL(add_bias, CUBLASLT_EPILOGUE_BIAS)
OV_EQUAL(transpose_a, CUBLASLT_MATMUL_DESC_TRANSA)
OV_EQUAL(transpose_b, CUBLASLT_MATMUL_DESC_TRANSB)
OV_EQUAL(epilogue, CUBLASLT_MATMUL_DESC_EPILOGUE)
OV_EQUAL(bias_pointer, CUBLASLT_MATMUL_DESC_BIAS_POINTER)
OV_EQUAL(bias_type, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE)
OV_EQUAL(max_workspace, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES)
OV_EQUAL(reduction_schemes, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK)
OV_EQUAL(alignment_a, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES)
OV_EQUAL(alignment_b, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES)
OV_EQUAL(alignment_c, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES)
OV_EQUAL(alignment_d, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES)
OV_EQUAL(implementations, CUBLASLT_MATMUL_PREF_IMPL_MASK)
OV_EQUAL(no_split, CUBLASLT_REDUCTION_SCHEME_NONE)
OV_EQUAL(in_compute_type, CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE)
OV_EQUAL(implementation_flags, CUBLASLT_ALGO_CAP_NUMERICAL_IMPL_FLAGS)
OV_EQUAL(by_fma, CUBLASLT_NUMERICAL_IMPL_FLAGS_FMA)
OV_EQUAL(by_tensor_cores, CUBLASLT_NUMERICAL_IMPL_FLAGS_TENSOR_OP_MASK)
OV_EQUAL(adds_in_f32, CUBLASLT_NUMERICAL_IMPL_FLAGS_ACCUMULATOR_32F)
OV_EQUAL(takes_tf32, CUBLASLT_NUMERICAL_IMPL_FLAGS_INPUT_TF32)
OV_EQUAL(takes_f32, CUBLASLT_NUMERICAL_IMPL_FLAGS_INPUT_32F)

}  // namespace
#endif
