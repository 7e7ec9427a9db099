// Which attention runs: bf16 on tensor cores where its shape fits, plain arithmetic for f32 and for what does not.
#include "kernels/cuda/attention_rows.h"
#include "kernels/cuda/launchers.h"

namespace ov::kernels::OV_CUDA {

void attention_forward(const AttentionForward& a, gpu::Stream stream) {
  const AttentionForwardScratch space = scratch_of(a);
  (space.tensor_cores ? tensor_core_attention_forward : plain_attention_forward)(a, space, stream);
}

void attention_backward(const AttentionBackward& a, gpu::Stream stream) {
  const AttentionBackwardScratch space = scratch_of(a);
  (space.tensor_cores ? tensor_core_attention_backward : plain_attention_backward)(a, space, stream);
}

}  // namespace ov::kernels::OV_CUDA
