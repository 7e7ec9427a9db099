// Dense products on a GPU through NVIDIA's cuBLASLt, which is opened when the first one is asked for.
//
// Our matrices are row-major and stay where they are: X [N,C] with rows s apart is, column by column, a matrix C x N
// with ld = s. So C = op(A) op(B) is asked for as Cᵀ = op(B)ᵀ op(A)ᵀ, with the operands exchanged.
//
// What is promised of the numbers:
//   f32    plain multiply-adds in f32: the compute type is the pedantic one, and an algorithm that says it uses tensor
//          cores or TF32 is refused
//   bf16   added in f32, and rounded once, after the bias; partial sums of a split are f32 too
//   which algorithm runs is a function of the shape, the strides and the alignments alone: the first that the library
//          recommends, asked once a shape, with a workspace of constant size. Nothing is timed. Environment variables
//          that would change the library's answers are removed before it is opened, and that is said on stderr. What
//          was chosen can be kept in a file, and a run that goes on asks no more (kernels/gpu/algorithms.h)
// A row's bits may depend on how many rows there are: the library chooses by that. What must not, is in
// kernels/cuda/gemm_rows.cu.
#pragma once
#include <compare>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "kernels/gemm.h"
#include "kernels/gpu/algorithms.h"
#include "kernels/gpu/cublaslt_api.h"

namespace ov::gpu {

// Per stream that products run in, from the first of them on; the second is what is taken of the device, which aligns
// less. The recommendation for Hopper; a constant, since algorithms depend on it.
constexpr std::int64_t cublaslt_workspace = 32 << 20, cublaslt_workspace_taken = cublaslt_workspace + 255;

class CublasLt {
 public:
  CublasLt(const lt::Api& api, Device& device);
  ~CublasLt();
  CublasLt(const CublasLt&) = delete;

  // Neither M, N nor K is 0; the bias is of c's type, at a multiple of 16 bytes. machine_error names the shape.
  void product(const kernels::Gemm&, lt::Stream stream);
  std::size_t shapes() const { return plans_.size(); }
  std::size_t version() const { return api_.version(); }  // 130101 is 13.1.1

  // What was chosen so far, and what was kept of an earlier run and not used yet.
  Algorithms chosen();
  // Taken for the shapes that it names, before the library is asked. A product throws machine_error, naming `from`,
  // when the library refuses what stands there, or when that would compute in another type.
  void choose(Algorithms kept, std::string from);

 private:
  struct Key {  // all that an algorithm may depend on
    bool transpose_a, transpose_b, accumulate, bias;
    lt::Type type, d_type;
    std::int64_t m, n, k, lda, ldb, ldd;
    unsigned align_a, align_b, align_d, align_bias;
    auto operator<=>(const Key&) const = default;
    std::string str() const;
  };
  struct Plan;
  Plan& plan_of(const Key& key, const void* bias);
  void ask(Plan& plan, const Key& key);
  void take(Plan& plan, const lt::Algo& algo, const Key& key) const;
  void check(int status, const char* call, const Key& key) const;

  const lt::Api api_;
  Device& device_;
  lt::Handle handle_ = nullptr;
  std::mutex mutex_;
  std::map<Key, Plan> plans_;
  Algorithms kept_;
  std::string kept_in_;
  std::map<lt::Stream, Tensor> workspaces_;
};

// The library of a device. A simulated device brings a stand-in; a GPU opens libcublasLt.so.13, or throws a
// machine_error that says what to install.
void bring_cublaslt(Device& device, const lt::Api& api);
CublasLt& cublaslt(Device& device);
void close_cublaslt(Device& device);  // before a device ends

// The names of the variables that were set and are not any more, separated by spaces.
std::string remove_environment();

}  // namespace ov::gpu
