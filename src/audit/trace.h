// Every named activation and gradient of one forward and backward pass, as a safetensors file that a PyTorch hook
// dump compares with.
//
//   act.<module>       output of every module, HF's in-memory names; the decoder's have a leading batch axis of 1, but
//                      for the routers' logits, mlp.gate [T,E]
//   grad.<parameter>   of the mean loss over the labelled tokens; with experts plus router_aux_loss_coef aux_loss
//   logits [T,V], token_loss: of the labelled tokens in order
//   loss, aux_loss     [1]: the mean loss, and the load-balancing loss before its coefficient (with experts)
// bf16 numbers are written as f32, which changes none: readers without a bf16 of their own are many. In bf16 gradients
// and losses are f32 sums.
//   __metadata__.order names of all tensors in order of execution, one a line
#pragma once
#include <string>
#include <vector>

#include "model/onevision.h"
#include "store/safetensors.h"

namespace ov {

struct TraceCase {
  std::vector<std::int64_t> input_ids;
  std::vector<std::int64_t> labels;  // at the same positions as the ids, -100 ignored; empty: no loss, no gradients
  Tensor pixel_values;               // [P, 3·14·14], null without pictures
  std::vector<Grid> grids;
};
// A file with input_ids and optionally labels, [T] or [1, T]; optionally pixel_values and image_grid_thw. Results of
// another model (is_traced) may stand beside them. Another tensor is an error: without it the answer would be to
// another question. Pixels are converted to the model's dtype.
TraceCase read_trace_case(const std::string& path, Dtype dtype);

// What a trace writes, by name: those with a dot, logits, token_loss, and of CLIP (audit/trace_clip.h) image_embeds,
// text_embeds, logits_per_image, logits_per_text, loss; of experts aux_loss.
bool is_traced(const std::string& name);
// input_error for a tensor that is neither that nor one of `inputs`.
void check_trace_inputs(const Safetensors& file, const std::vector<std::string>& inputs);
// Whole numbers of any dtype; floats hold them exactly up to 2^53.
std::vector<std::int64_t> whole_numbers(const Safetensors& file, const std::string& name);

struct Trace {
  std::vector<NamedTensor> tensors;  // in order of execution
  double loss = 0;                   // mean over the labelled tokens; 0 without any
  double aux_loss = 0;               // of the routers
  const Tensor* find(const std::string& name) const;
};

// Runs the objective of `train` on one row, all of whose tokens pass through the head. Gradients of all parameters.
// The experts that a trace's routers chose, by layer, from their logits act.<layer>.mlp.gate: [T,k] i64, null for a
// layer without experts. For Onevision::forced_experts. input_error when a layer's are missing or of another shape.
std::vector<Tensor> experts_of(const Safetensors& trace, const ModelConfig& config, std::int64_t tokens);

Trace trace_model(Onevision& model, const TraceCase& input);
void write_trace(const std::string& path, const Trace& trace);

}  // namespace ov
