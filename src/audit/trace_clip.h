// A trace (audit/trace.h) of a CLIP model over a batch of pairs:
//
//   act.<module>      output of every module before the pooling, [B, rows, C], and of what follows it, [B, C]
//   image_embeds, text_embeds [B,E], logits_per_image, logits_per_text [B,B], loss []
//   grad.<parameter>  of the loss
#pragma once
#include "audit/trace.h"
#include "model/clip.h"

namespace ov {

struct ClipCase {
  std::int64_t pairs = 0;
  ClipInputs inputs;
};
// A file with input_ids [B,T] and pixel_values [B,C,H,W]. What another model made of them (is_traced) may stand beside
// them; another tensor, or a size that is not the model's, is an error.
ClipCase read_clip_case(const std::string& path, const ClipConfig& config, Dtype dtype);

Trace trace_clip(ClipModel& model, const ClipCase& input);

}  // namespace ov
