// The CUDA twins of the kernels in kernels/cpu: same contracts, same argument structs, and the stream to run in.
// Each returns once the work is queued. Arguments have passed the checking door (kernels/check.h).
//
// f32 and bf16, whose arithmetic is f32. kernels/sim runs the same text without a GPU.
#pragma once
#include "kernels/attention.h"
#include "kernels/cross_entropy.h"
#include "kernels/cuda/language.h"
#include "kernels/experts.h"
#include "kernels/gemm.h"
#include "kernels/region_attention.h"
#include "kernels/rmsnorm.h"
#include "kernels/swiglu.h"

namespace ov::kernels::cuda {

void rmsnorm_forward(const RmsnormForward&, cudaStream_t);
void rmsnorm_backward(const RmsnormBackward&, cudaStream_t);
void swiglu_forward(const SwigluForward&, cudaStream_t);
void swiglu_backward(const SwigluBackward&, cudaStream_t);
void cross_entropy_forward(const CrossEntropyForward&, cudaStream_t);
void cross_entropy_backward(const CrossEntropyBackward&, cudaStream_t);
void gemm(const Gemm&, cudaStream_t);
void grouped_gemm(const GroupedGemm&, cudaStream_t);
void attention_forward(const AttentionForward&, cudaStream_t);
void attention_backward(const AttentionBackward&, cudaStream_t);
void region_attention_forward(const RegionAttentionForward&, cudaStream_t);
void region_attention_backward(const RegionAttentionBackward&, cudaStream_t);

}  // namespace ov::kernels::cuda
