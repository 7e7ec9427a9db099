#include "audit/trace_clip.h"

#include "train/objectives/contrastive.h"

namespace ov {
namespace {

class Recorder : public Tracer {
 public:
  Recorder(std::vector<NamedTensor>& out, std::int64_t pairs) : out_(out), pairs_(pairs) {}
  void activation(const std::string& name, const Tensor& value) override {
    const bool pooled = name.ends_with("_projection") || name.ends_with("post_layernorm");
    const Tensor copy = value.contiguous_copy();
    out_.push_back({"act." + name, pooled ? copy : copy.view({pairs_, copy.dim(0) / pairs_, copy.dim(1)})});
  }

 private:
  std::vector<NamedTensor>& out_;
  std::int64_t pairs_;
};

}  // namespace

ClipCase read_clip_case(const std::string& path, const ClipConfig& config, Dtype dtype) {
  const Safetensors file = Safetensors::open(path);
  check_trace_inputs(file, {"input_ids", "pixel_values"});
  const Shape ids = file.tensor("input_ids").shape();
  const Tensor pixels = file.tensor("pixel_values");
  if (ids.rank() != 2 || ids[0] < 1 || ids[1] < 1)
    input_error(path, ": input_ids is ", ids.str(), ", expected [texts, tokens]");
  const Shape expected{ids[0], config.channels, config.image, config.image};
  if (pixels.shape() != expected)
    input_error(path, ": pixel_values is ", pixels.shape().str(), ", expected ", expected.str(),
                ": a picture for each text, of the model's size");
  return {ids[0],
          {patch_rows(pixels.to(dtype, Segment::data), config.patch), whole_numbers(file, "input_ids"),
           std::vector(static_cast<std::size_t>(ids[0]), ids[1])}};
}

Trace trace_clip(ClipModel& model, const ClipCase& c) {
  Trace trace;
  Recorder recorder(trace.tensors, c.pairs);
  Parameters& parameters = model.parameters();
  parameters.train([](const Parameter&) { return true; });
  const Tensor gradients = parameters.gradient_buffer();
  gradients.zero();
  Tape tape(gradients, &recorder);
  const ContrastiveLoss l = contrastive_loss(model, tape, c.inputs, 2 * static_cast<double>(c.pairs));
  for (const auto& [name, v] :
       {std::pair{"image_embeds", &l.image_embeds}, std::pair{"text_embeds", &l.text_embeds},
        std::pair{"logits_per_image", &l.logits_per_image}, std::pair{"logits_per_text", &l.logits_per_text}})
    trace.tensors.push_back({name, v->value});
  backward_from(tape, l.losses);
  trace.loss = read_scalar(l.losses[0].value) + read_scalar(l.losses[1].value);
  trace.tensors.push_back({"loss", Tensor::of<double>({trace.loss}, Shape())});
  for (const auto& e : parameters.entries())
    trace.tensors.push_back({"grad." + e.parameter.name, gradient_of(e.parameter, gradients)});
  return trace;
}

}  // namespace ov
