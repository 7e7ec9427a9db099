// NVIDIA's matrix product library as we declare it ourselves, so that the program builds without a toolkit. Where the
// toolkit is installed, tests/kernels/gpu_declarations_test.cpp compares every line with cublasLt.h.
#pragma once
#include <cstddef>
#include <cstdint>

namespace ov::gpu::lt {

using Handle = void*;
using Desc = void*;        // of a product: types, transposes, what is added at the end
using Layout = void*;      // of a matrix: column-major, rows x columns, `ld` elements from one column to the next
using Preference = void*;  // for the choice of an algorithm
using Stream = void*;

struct Algo {
  std::uint64_t data[8];
};
struct Heuristic {
  Algo algo;
  std::size_t workspace;
  int status;
  float waves;
  int reserved[4];
};

enum Status : int { success = 0, invalid_value = 7, not_supported = 15 };
enum Type : int { f32 = 0, bf16 = 14 };
enum Compute : int { compute_32f = 68, compute_32f_pedantic = 69, compute_32f_fast_tf32 = 77 };
enum Operation : int { as_it_is = 0, transposed = 1 };
enum Epilogue : int { nothing = 1, add_bias = 4 };
enum DescAttribute : int { transpose_a = 3, transpose_b = 4, epilogue = 7, bias_pointer = 8, bias_type = 26 };
enum PreferenceAttribute : int {
  max_workspace = 1,
  reduction_schemes = 3,
  alignment_a = 5,
  alignment_b = 6,
  alignment_c = 7,
  alignment_d = 8,
  implementations = 12
};
enum Reduction : unsigned { no_split = 0, in_compute_type = 2 };
enum Capability : int { implementation_flags = 15 };
// Bits of an implementation: what multiplies, in what it adds, what the inputs are taken as.
enum Implementation : std::uint64_t {
  by_fma = 1,
  by_tensor_cores = 0xfe,
  adds_in_f32 = 0x02 << 8,
  takes_tf32 = 0x04 << 16,
  takes_f32 = 0x08 << 16
};

#define OV_CUBLASLT_CALLS(C)                                                                                        \
  C(version, cublasLtGetVersion, std::size_t())                                                                     \
  C(create, cublasLtCreate, int(Handle*))                                                                           \
  C(destroy, cublasLtDestroy, int(Handle))                                                                          \
  C(desc_create, cublasLtMatmulDescCreate, int(Desc*, int compute, int scale_type))                                 \
  C(desc_destroy, cublasLtMatmulDescDestroy, int(Desc))                                                             \
  C(desc_set, cublasLtMatmulDescSetAttribute, int(Desc, int attribute, const void*, std::size_t))                   \
  C(layout_create, cublasLtMatrixLayoutCreate,                                                                      \
    int(Layout*, int type, std::uint64_t rows, std::uint64_t columns, std::int64_t ld))                             \
  C(layout_destroy, cublasLtMatrixLayoutDestroy, int(Layout))                                                       \
  C(preference_create, cublasLtMatmulPreferenceCreate, int(Preference*))                                            \
  C(preference_destroy, cublasLtMatmulPreferenceDestroy, int(Preference))                                           \
  C(preference_set, cublasLtMatmulPreferenceSetAttribute, int(Preference, int attribute, const void*, std::size_t)) \
  C(heuristic, cublasLtMatmulAlgoGetHeuristic,                                                                      \
    int(Handle, Desc, Layout a, Layout b, Layout c, Layout d, Preference, int wanted, Heuristic*, int* found))      \
  C(algo_check, cublasLtMatmulAlgoCheck,                                                                            \
    int(Handle, Desc, Layout a, Layout b, Layout c, Layout d, const Algo*, Heuristic*))                             \
  C(capability, cublasLtMatmulAlgoCapGetAttribute, int(const Algo*, int, void*, std::size_t, std::size_t* written)) \
  C(matmul, cublasLtMatmul,                                                                                         \
    int(Handle, Desc, const void* alpha, const void* a, Layout, const void* b, Layout, const void* beta,            \
        const void* c, Layout, void* d, Layout, const Algo*, void* workspace, std::size_t, Stream))

struct Api {
#define OV_MEMBER(name, symbol, type) \
  using name##_type = type;           \
  name##_type* name = nullptr;
  OV_CUBLASLT_CALLS(OV_MEMBER)
#undef OV_MEMBER
};

}  // namespace ov::gpu::lt
