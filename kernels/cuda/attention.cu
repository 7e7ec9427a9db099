// Which attention runs: bf16 on tensor cores where its shape fits, plain arithmetic for f32 and for what does not.
#include "kernels/cuda/attention_rows.h"
#include "kernels/cuda/launchers.h"

namespace ov::kernels::OV_CUDA {

void attention_forward(const AttentionForward& a, gpu::Stream stream) {
  fits_tensor_cores(a) ? tensor_core_attention_forward(a, stream) : plain_attention_forward(a, stream);
}

void attention_backward(const AttentionBackward& a, gpu::Stream stream) {
  fits_tensor_cores(a) ? tensor_core_attention_backward(a, stream) : plain_attention_backward(a, stream);
}

}  // namespace ov::kernels::OV_CUDA
