#include "audit/trace.h"

namespace ov {
namespace {

class Recorder : public Tracer {
 public:
  explicit Recorder(std::vector<NamedTensor>& out) : out_(out) {}
  void activation(const std::string& name, const Tensor& value) override {
    out_.push_back({"act." + name, as_hugging_face(name, value)});
  }

 private:
  // HF's decoder sees [1, T, ...] and projections unsplit; its patch convolution gives [P, C, 1, 1].
  static Tensor as_hugging_face(const std::string& name, const Tensor& t) {
    const Tensor copy = t.contiguous_copy();
    if (name.ends_with("patch_embed.proj")) return copy.view({t.dim(0), t.dim(1), 1, 1});
    if (!name.starts_with("model.language_model.")) return copy;
    const std::int64_t T = t.dim(0), rest = t.numel() / std::max<std::int64_t>(1, T);
    const bool heads = name.ends_with("_norm") && t.rank() == 3;
    return heads ? copy.view({1, T, t.dim(1), t.dim(2)}) : copy.view({1, T, rest});
  }
  std::vector<NamedTensor>& out_;
};

std::vector<std::int64_t> integers(const Safetensors& file, const std::string& name) {
  const Tensor t = file.tensor(name);
  return (t.dtype() == Dtype::i64 ? t : t.to(Dtype::i64)).to_vector<std::int64_t>();
}

}  // namespace

TraceCase read_trace_case(const std::string& path, Dtype dtype) {
  const Safetensors file = Safetensors::open(path);
  TraceCase c;
  c.input_ids = integers(file, "input_ids");
  if (file.find("labels")) c.labels = integers(file, "labels");
  if (!c.labels.empty() && c.labels.size() != c.input_ids.size())
    input_error(path, ": labels has ", c.labels.size(), " values, input_ids ", c.input_ids.size());
  if (!file.find("pixel_values")) return c;
  c.pixel_values = file.tensor("pixel_values").to(dtype, Segment::data);
  const auto grid = integers(file, "image_grid_thw");
  if (grid.size() % 3 != 0) input_error(path, ": image_grid_thw has ", grid.size(), " values, expected three an image");
  for (std::size_t i = 0; i < grid.size(); i += 3) c.grids.push_back({grid[i], grid[i + 1], grid[i + 2]});
  if (c.grids.empty()) c.pixel_values = {};
  return c;
}

const Tensor* Trace::find(const std::string& name) const {
  for (const NamedTensor& t : tensors)
    if (t.name == name) return &t.tensor;
  return nullptr;
}

NextToken next_token_targets(const std::vector<std::int64_t>& labels, Dtype dtype) {
  const auto T = static_cast<std::int64_t>(labels.size());
  NextToken n{Tensor({T}, Dtype::i64, cpu(), Segment::data),
              Tensor::zeros({T}, accum_dtype(dtype), cpu(), Segment::data),
              0,
              {}};
  for (std::int64_t t = 0; t < T; ++t) {
    const std::int64_t target = t + 1 < T ? labels[static_cast<std::size_t>(t + 1)] : -100;
    n.targets.data<std::int64_t>()[t] = target;
    if (target == -100) continue;
    by_dtype(n.weights.dtype(), [&](auto v) { n.weights.data<decltype(v)>()[t] = decltype(v)(1); });
    n.rows.push_back(t);
    ++n.labelled;
  }
  return n;
}

Trace trace_model(Onevision& model, const TraceCase& c) {
  Trace trace;
  Recorder recorder(trace.tensors);
  Tape tape(&recorder);
  const bool learn = !c.labels.empty();
  if (learn) model.parameters().train([](const std::string&) { return true; });
  const OnevisionInputs inputs = single_segment(c.input_ids, c.pixel_values, c.grids, model.parameters().device());
  const Var logits = model.logits(model.hidden(&tape, inputs));
  trace.tensors.push_back({"logits", logits.value});
  if (!learn) return trace;

  const NextToken next = next_token_targets(c.labels, model.parameters().dtype());
  const CrossEntropy ce = cross_entropy(logits, next.targets, next.weights, static_cast<double>(next.labelled));
  const Tensor index = index_tensor("labelled rows", next.rows, {next.labelled}, 0, logits.dim(0), cpu());
  trace.tensors.push_back(
      {"token_loss", take_rows(Var{ce.token_loss.view({ce.token_loss.numel(), 1})}, index).value.flat()});
  const Tensor seed = Tensor::like(ce.loss.value);
  by_dtype(seed.dtype(), [&](auto v) {
    seed.data<decltype(v)>()[0] = decltype(v)(1);
    trace.loss = ce.loss.value.data<decltype(v)>()[0];
  });
  tape.backward(ce.loss, seed);
  for (const auto& e : model.parameters().entries())
    trace.tensors.push_back({"grad." + e.parameter.name, e.parameter.main_grad});
  return trace;
}

void write_trace(const std::string& path, const Trace& trace) {
  std::string order;
  for (const NamedTensor& t : trace.tensors) order += t.name + "\n";
  write_safetensors(path, trace.tensors, {{"order", order}});
}

}  // namespace ov
