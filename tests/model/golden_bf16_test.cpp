// bf16 against fp64 by the figures of tests/golden/bf16 (its README says how they were made and how to judge).
#include <doctest/doctest.h>

#include <cmath>
#include <map>

#include "audit/trace.h"
#include "base/io/file.h"
#include "base/io/mapped_file.h"
#include "model/files/hf_directory.h"
#include "tests/base/scratch.h"
#include "tests/devices/sim_device.h"
#include "train/objectives/language.h"

using namespace ov;

namespace {

const std::string golden = "tests/golden/";
const std::pair<const char*, const char*> classes[] = {
    {"logits", "logits"}, {"activations", "act."}, {"gradients", "grad."}};

struct Worst {
  double rms = 0;
  std::string name;
};

// The tensor of a class (names that start so, and that `judged` has) with the largest rms(a - b) / rms(b); the
// denominator is at least 1e-6 of the class's largest element. Infinite when one is missing.
Worst worst(const std::vector<NamedTensor>& a, const std::vector<NamedTensor>& b, const std::string& prefix,
            const Safetensors& judged) {
  const auto numbers = [](const Tensor& t) { return t.to(Dtype::f64).to_vector<double>(); };
  std::map<std::string, std::vector<double>> ours;
  for (const NamedTensor& t : a) ours[t.name] = numbers(t.tensor);
  const auto counts = [&](const std::string& name) {
    return name.starts_with(prefix) && (!name.starts_with("act.") || judged.find(name));
  };
  double largest = 0;
  for (const NamedTensor& t : b)
    if (counts(t.name))
      for (const double x : numbers(t.tensor)) largest = std::max(largest, std::abs(x));
  Worst w;
  for (const NamedTensor& t : b) {
    if (!counts(t.name)) continue;
    const std::vector<double> x = ours[t.name], y = numbers(t.tensor);
    double error = 0, size = 0;
    for (std::size_t i = 0; i < y.size() && x.size() == y.size(); ++i)
      error += (x[i] - y[i]) * (x[i] - y[i]), size += y[i] * y[i];
    const auto n = static_cast<double>(y.size());
    const double rms =
        x.size() == y.size() ? std::sqrt(error / n) / std::max(std::sqrt(size / n), 1e-6 * largest) : HUGE_VAL;
    if (!(rms <= w.rms)) w = {rms, t.name};
  }
  return w;
}

struct Case {
  std::string name, path, model;  // as the folder lists it; its file; the model's directory
  std::map<std::string, double> bounds,
      of_weights;  // by class: 1.5 x the worst stored run; the weights' rounding alone
};

// Every case of errors*.json whose tensors are kept here.
std::vector<Case> listed_cases() {
  std::map<std::string, Case> found;
  for (const std::string& file : list_directory(golden + "bf16")) {
    if (!file.ends_with(".json")) continue;
    const Json errors = Json::read(golden + "bf16/" + file);
    for (const auto& [name, figures] : errors.members()) {
      const auto slash = name.find('/');
      if (slash == name.npos) continue;
      const std::string folder = golden + name.substr(0, slash), base = name.substr(slash + 1);
      if (!path_exists(folder)) continue;
      const std::string plain = folder + "/" + base + ".safetensors";
      Case& c = found[name];
      c.name = name, c.model = folder + "/checkpoint";
      c.path = path_exists(plain) ? plain : folder + "/case_" + base + ".safetensors";
      for (const auto& [kind, prefix] : classes) {
        c.of_weights[kind] = figures.at("rounding_of_weights_alone").at(kind).at("worst_rms")[0].as_double();
        for (const auto& [run, of_run] : figures.at("runs").members())
          if (const Json* rounded = of_run.find("rounded"))
            c.bounds[kind] = std::max(c.bounds[kind], 1.5 * rounded->at(kind).at("worst_rms")[0].as_double());
      }
    }
  }
  std::vector<Case> cases;
  for (auto& [name, c] : found) cases.push_back(std::move(c));
  return cases;
}

// The model in fp64 with the weights that bf16 has.
std::unique_ptr<Onevision> with_rounded_weights(const std::string& directory) {
  auto model = load_model(directory, {.dtype = Dtype::f64});
  const Tensor& values = model->parameters().values();
  values.copy_from(values.to(Dtype::bf16).to(Dtype::f64));
  return model;
}

// A mixture meets the experts of the stored fp64 run: rounding alone would route a token otherwise.
std::unique_ptr<Onevision> with_experts(std::unique_ptr<Onevision> model, const Case& c) {
  const auto tokens = static_cast<std::int64_t>(read_trace_case(c.path, Dtype::f64).input_ids.size());
  model->forced_experts = experts_of(Safetensors::open(c.path), model->config(), tokens);
  return model;
}

Trace rounded_trace(const Case& c, bool forced = true) {
  TraceCase input = read_trace_case(c.path, Dtype::bf16);
  if (input.pixel_values) input.pixel_values = input.pixel_values.to(Dtype::f64);
  auto model = with_rounded_weights(c.model);
  return trace_model(forced ? *(model = with_experts(std::move(model), c)) : *model, input);
}

// Rounds every value that has a name to six binary digits, where bf16 has eight.
class SixDigits : public Tracer {
 public:
  void activation(const std::string& name, const Tensor& value) override {
    if (value.dtype() != Dtype::bf16) return;  // routers' logits
    for (std::int64_t n = 0; n < value.dims<2>()[0]; ++n)
      for (std::int64_t c = 0; c < value.dim(-1); ++c) {
        std::uint16_t& bits = value.row<Bf16>(n)[c].bits;
        bits = static_cast<std::uint16_t>((bits + 1 + (bits >> 2 & 1)) & ~3);
      }
    all.push_back({"act." + name, value.contiguous_copy()});
  }
  std::vector<NamedTensor> all;
};

}  // namespace

TEST_CASE(
    "golden bf16: the worst rms against fp64 with rounded weights, by case and class, is within 1.5 of PyTorch's "
    "(M-22)") {
  const std::vector<Case> cases = listed_cases();
  CHECK(!cases.empty());
  for (const Case& c : cases) {
    CAPTURE(c.name);
    const Safetensors stored = Safetensors::open(c.path);
    const Trace half = trace_model(*with_experts(load_model(c.model, {.dtype = Dtype::bf16}), c),
                                   read_trace_case(c.path, Dtype::bf16)),
                rounded = rounded_trace(c), alone = rounded_trace(c, false),
                whole = trace_model(*load_model(c.model, {.dtype = Dtype::f64}), read_trace_case(c.path, Dtype::f64));
    for (const auto& [kind, prefix] : classes) {
      const Worst w = worst(half.tensors, rounded.tensors, prefix, stored);
      MESSAGE(c.name, ", ", std::string(kind), ": ", w.rms, " (", w.name, "), bound ", c.bounds.at(kind));
      CHECK(w.rms <= c.bounds.at(kind));
      // That the figure is the stored one's: what the rounding of weights and pixels alone makes of fp64.
      const double theirs = c.of_weights.at(kind), ours = worst(alone.tensors, whole.tensors, prefix, stored).rms;
      CHECK(std::abs(ours - theirs) < 1e-4 * theirs);
    }
  }
}

TEST_CASE("golden bf16 on the simulated GPU: within the same bounds, attention on tensor cores") {
  test::SimDevice device(test::SimDevice::Policy::lazy);
  for (const Case& c : listed_cases()) {
    const auto model = with_experts(load_model(c.model, {.dtype = Dtype::bf16, .device = &device}), c);
    const Trace half = trace_model(*model, read_trace_case(c.path, Dtype::bf16)), rounded = rounded_trace(c);
    for (const auto& [kind, prefix] : classes) {
      const Worst w = worst(half.tensors, rounded.tensors, prefix, Safetensors::open(c.path));
      MESSAGE(c.name, ", ", std::string(kind), ": ", w.rms, " (", w.name, "), bound ", c.bounds.at(kind));
      CHECK(w.rms <= c.bounds.at(kind));
    }
  }
}

TEST_CASE("golden bf16, the twin: activations of six digits exceed the bound of every case") {
  for (const Case& c : listed_cases()) {
    CAPTURE(c.name);
    const auto model = with_experts(load_model(c.model, {.dtype = Dtype::bf16}), c);
    const TraceCase input = read_trace_case(c.path, Dtype::bf16);
    SixDigits six;
    Tape tape({}, &six);
    model->hidden(&tape, single_segment(input.input_ids, input.pixel_values, input.grids, cpu()));
    std::vector<NamedTensor> compared;
    for (const NamedTensor& t : rounded_trace(c).tensors)
      if (t.name.starts_with("act.")) compared.push_back(t);
    const Worst w = worst(six.all, compared, "act.", Safetensors::open(c.path));
    CHECK_MESSAGE(w.rms > c.bounds.at("activations"), w.rms, " (", w.name, ")");
  }
}

TEST_CASE("trace in bf16: the file holds the numbers of the run, its gradients are f32 sums") {
  const Case c = listed_cases().at(0);
  const Trace half = trace_model(*load_model(c.model, {.dtype = Dtype::bf16}), read_trace_case(c.path, Dtype::bf16));
  const ScratchDirectory scratch;
  write_trace(scratch / "trace.safetensors", half);
  const Safetensors file = Safetensors::open(scratch / "trace.safetensors");
  std::int64_t narrow = 0;
  for (const NamedTensor& t : half.tensors) {
    const Tensor there = file.tensor(t.name);
    CHECK(there.dtype() == Dtype::f32);
    CHECK(there.to_vector<float>() == t.tensor.to(Dtype::f32).to_vector<float>());
    narrow += t.tensor.dtype() == Dtype::bf16;
    if (t.name.starts_with("grad.")) CHECK(t.tensor.dtype() == Dtype::f32);
  }
  CHECK(narrow > 0);
  CHECK(half.find("logits")->dtype() == Dtype::bf16);
}
