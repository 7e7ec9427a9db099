// A decoder with mixtures of experts in some of its layers: the same bits whatever stands beside a token, threads,
// recomputation, resumption; and its directory in Hugging Face's form.
#include "nn/moe.h"

#include <doctest/doctest.h>

#include "audit/trace.h"
#include "base/parallel.h"
#include "generate/generate.h"
#include "kernels/experts.h"
#include "kernels/gemm.h"
#include "kernels/router.h"
#include "model/files/hf_directory.h"
#include "tests/base/scratch.h"
#include "tests/train/training_run.h"

using namespace ov;
using namespace ov::test;

namespace {

using Ids = std::vector<std::int64_t>;

ModelConfig mixture() {
  ModelConfig c = small_config();
  c.text.layers = 3;
  c.text.experts = 5;
  c.text.experts_per_token = 2;
  c.text.expert_intermediate = 24;
  c.text.mlp_only_layers = {1};
  c.text.router_aux_loss_coef = 0.01;
  return c;
}

std::string train(int threads, bool recompute, bool aux_global, bool resumed = false) {
  const int before = ov::threads();
  set_threads(threads);
  TrainOptions options = short_run(4);
  options.aux_global = aux_global;
  const std::vector<GlobalStep> steps = {as_step({mixed_row(1), mixed_row(2), mixed_row(3)}), as_step({mixed_row(4)})};
  const ScratchDirectory dir;
  std::string out;
  for (int part = resumed ? 0 : 1; part < 2; ++part) {
    const auto model = random_model(mixture());
    model->recompute_blocks = recompute;
    FixedSteps data(steps);
    Training training(*model, data, options);
    if (part == 1 && resumed) load_into(training, newest_checkpoint(dir.path()).value());
    for (int i = resumed ? 2 * part : 0; i < (part ? 4 : 2); ++i) training.step();
    if (part == 0) save_checkpoint(dir.path(), training.state(), Json::object());
    out = sha256_of(training);
  }
  set_threads(before);
  return out;
}

Tensor drawn(const Shape& shape, std::uint64_t seed) {
  const Philox random(seed, "test values");
  const Tensor t(shape, Dtype::f32, cpu());
  for (std::int64_t i = 0; i < t.numel(); ++i) t.data<float>()[i] = random.normal(static_cast<std::uint64_t>(i));
  return t;
}

Routing route_of(const std::vector<float>& z, std::int64_t E, std::int64_t k, bool normalise = true) {
  return route(Var{Tensor::of(z, {static_cast<std::int64_t>(z.size()) / E, E})}, k, normalise);
}

}  // namespace

TEST_CASE("router: ties go to the lower index, NaN too, and the weights are those of the chosen") {
  const float nan = std::nanf("");
  // Tokens: all equal; all NaN; one clear order; a tie at the border.
  const Routing r = route_of({1, 1, 1, 1, nan, nan, nan, nan, 0, 3, 1, 2, 2, 0, 2, 2}, 4, 2);
  CHECK(r.offsets.to_vector<std::int64_t>() == Ids{0, 3, 6, 7, 8});
  CHECK(r.tokens.to_vector<std::int64_t>() == Ids{0, 1, 3, 0, 1, 2, 3, 2});  // by expert, then by token
  CHECK(r.slots.to_vector<std::int64_t>() == Ids{0, 3, 1, 4, 5, 7, 2, 6});
  const auto w = r.weights.value.to_vector<float>();
  CHECK(w[0] == 0.5f);
  CHECK(w[4] == doctest::Approx(1 / (1 + std::exp(-1.0))));
  CHECK(std::isnan(w[2]));
  const auto plain = route_of({0, 3, 1, 2}, 4, 2, false);
  CHECK(plain.weights.value.to_vector<float>()[0] == plain.probabilities.value.to_vector<float>()[1]);
  CHECK_THROWS_AS(route_of({1, 2}, 2, 3), Error);
}

TEST_CASE("grouped product: a row has the bits of a product of its own, and an expert without rows is none") {
  const std::int64_t C = 401, F = 23, R = 9;  // longer than a block of the product's sums
  const Tensor x = drawn({R, C}, 1), w = drawn({4 * F, C}, 2), dy = drawn({R, F}, 3);
  const Ids offsets = {0, 5, 5, 8, 9};
  const Tensor at = Tensor::of(offsets, {5}), y({R, F}, Dtype::f32, cpu()), dx({R, C}, Dtype::f32, cpu());
  const Tensor dw = Tensor::zeros({4 * F, C}, Dtype::f32, cpu());
  kernels::grouped_gemm({.c = y, .a = x, .b = w, .offsets = at, .trans_b = true});
  kernels::grouped_gemm({.c = dx, .a = dy, .b = w, .offsets = at});
  kernels::grouped_gemm({.c = dw, .a = dy, .b = x, .offsets = at, .trans_a = true, .accumulate = true});
  for (std::int64_t e = 0; e < 4; ++e) {
    const auto begin = offsets[static_cast<std::size_t>(e)], end = offsets[static_cast<std::size_t>(e) + 1];
    const Tensor own = w.slice(0, e * F, (e + 1) * F), sum = Tensor::zeros({F, C}, Dtype::f32, cpu());
    for (std::int64_t r = begin; r < end; ++r) {
      const Tensor one({1, F}, Dtype::f32, cpu()), back({1, C}, Dtype::f32, cpu());
      kernels::gemm({.c = one, .a = x.slice(0, r, r + 1), .b = own, .trans_b = true});
      kernels::gemm({.c = back, .a = dy.slice(0, r, r + 1), .b = own});
      CHECK(same_bits(one, y.slice(0, r, r + 1)));
      CHECK(same_bits(back, dx.slice(0, r, r + 1)));
    }
    if (begin < end)
      kernels::gemm({.c = sum, .a = dy.slice(0, begin, end), .b = x.slice(0, begin, end), .trans_a = true});
    CHECK(same_bits(sum, dw.slice(0, e * F, (e + 1) * F)));
  }
  CHECK_THROWS_AS(kernels::grouped_gemm({.c = y, .a = x, .b = w.slice(0, 0, 3 * F), .offsets = at, .trans_b = true}),
                  Error);
}

TEST_CASE("mixture: a sub-sample's logits have the same bits alone, packed and from a cache") {
  const auto model = random_model(mixture());
  MicroBatch sample, text;
  add_sample(sample, 1, 4, 6, 80);
  add_sample(text, 3, 0, 0, 37);
  const Tensor alone = logits_of(*model, sample), packed = logits_of(*model, joined({text, sample, text}));
  CHECK(same_bits(packed.slice(0, text.tokens(), text.tokens() + sample.tokens()), alone));
  CHECK_FALSE(same_bits(packed.slice(0, text.tokens() - 1, text.tokens() - 1 + sample.tokens()), alone));

  const Ids prompt(sample.input_ids.begin(), sample.input_ids.begin() + 40);
  Generation generation(*model, prompt, sample.pixel_values, {{1, 4, 6}}, sample.tokens() - 40);
  for (std::int64_t t = 40; t < sample.tokens(); ++t) {
    CHECK(same_bits(generation.logits(), alone.slice(0, t - 1, t)));
    generation.append(sample.input_ids[static_cast<std::size_t>(t)]);
  }
}

TEST_CASE("mixture: four steps have the same bits for any threads, recomputed or not, killed and resumed or not") {
  for (const bool global : {false, true}) {
    const std::string one = train(1, false, global);
    CHECK(train(2, false, global) == one);
    CHECK(train(3, true, global) == one);
    CHECK(train(2, true, global, true) == one);
  }
  CHECK(train(1, false, false) != train(1, false, true));  // with several micro-batches the scopes differ
}

TEST_CASE("mixture: what experts did not see has no gradient, and an empty micro-batch does not count") {
  const auto model = random_model(mixture());
  MicroBatch row;
  add_sample(row, 5, 0, 0, 3);  // its second token predicts the third, nothing else is learnt
  FixedSteps data({as_step({row, MicroBatch()})}), without({as_step({row})});
  Training training(*model, data, short_run(1));
  training.prepare();
  const Tensor gradients = training.accumulate(0, 2);
  Training alone(*model, without, short_run(1));
  alone.prepare();
  CHECK(same_bits(alone.accumulate(0, 1), gradients));
  std::int64_t zero = 0, other = 0;
  for (const auto& e : model->parameters().entries())
    if (e.parameter.module == Module::experts)
      (gradient_norm(gradient_of(e.parameter, gradients).flat()) == 0 ? zero : other) += 1;
  CHECK(other >= 2 * 2 * 3);  // in both layers that token's two experts
  CHECK(zero >= 3 * 3);       // in the last one, the others
}

TEST_CASE("mixture: a directory written and read again is the same model, named as Transformers names it") {
  for (const bool whole : {true, false}) {
    ModelConfig c = mixture();
    c.has_tower = whole;
    c.text.norm_topk_prob = false;
    const auto model = random_model(c);
    const ScratchDirectory dir;
    write_model(dir.path(), *model, {1}, 0);
    const Json json = Json::read(dir / "config.json");
    const Json& text = whole ? json.at("text_config") : json;
    CHECK(text.at("model_type").as_string() == "qwen3_moe");
    CHECK(text.at("num_experts").as_int() == 5);
    CHECK(!text.at("norm_topk_prob").as_bool());
    const auto again = load_model(dir.path());
    CHECK(same_bits(again->parameters().values(), model->parameters().values()));
    CHECK(again->config().text.mlp_only_layers == c.text.mlp_only_layers);
    CHECK(again->config().json().dump() == json.dump());
    const CheckpointReader files = CheckpointReader::open(dir.path());
    const auto on_disk = [&](const std::string& name) { return files.shards()[0].find(name) != nullptr; };
    CHECK(on_disk("model.layers.0.mlp.gate.weight"));
    CHECK(on_disk("model.layers.2.mlp.experts.4.down_proj.weight"));
    CHECK(on_disk("model.layers.1.mlp.up_proj.weight"));
    CHECK_FALSE(on_disk("model.layers.1.mlp.gate.weight"));
  }
}

TEST_CASE(
    "a language model alone is traced under Transformers' names, with the whole model's bits; it sees no picture") {
  for (const std::int64_t experts : {0, 5}) {
    ModelConfig c = mixture();
    c.text.experts = experts;
    const auto whole = random_model(c);
    c.has_tower = false;
    const auto alone = random_model(c);
    TraceCase input;
    input.input_ids = input.labels = {5, 6, 7, 9};
    const Trace ours = trace_model(*alone, input), theirs = trace_model(*whole, input);
    CHECK(same_bits(*ours.find("logits"), *theirs.find("logits")));
    CHECK(same_bits(*ours.find("grad.model.layers.1.mlp.up_proj.weight"),
                    *theirs.find("grad.model.language_model.layers.1.mlp.up_proj.weight")));
    CHECK(ours.find("act.model.layers.2.mlp")->shape() == Shape{1, 4, 40});
    CHECK(ours.find("act.lm_head")->shape() == Shape{1, 4, 97});
    CHECK((ours.find("aux_loss") != nullptr) == (experts > 0));
    if (experts > 0) CHECK(ours.find("act.model.layers.0.mlp.gate")->shape() == Shape{4, 5});
    for (const NamedTensor& t : ours.tensors) CHECK_MESSAGE(t.name.find("language_model") == t.name.npos, t.name);
    input.pixel_values = Tensor::zeros({4, 588}, Dtype::f32, cpu());
    input.grids = {{1, 2, 2}};
    CHECK_THROWS_WITH_AS(trace_model(*alone, input),
                         "pictures for a language model alone: its config.json has no vision_config", Error);
  }
}

TEST_CASE("qwen3_moe: the defaults of its class, which layers are dense, and what is refused (T-07)") {
  Json json = Json::parse(R"({"model_type": "qwen3_moe", "vocab_size": 97, "hidden_size": 64, "intermediate_size": 72,
    "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "rope_theta": 1e4})",
                          "c.json");
  const auto read = [](const Json& j) { return ModelConfig::read(j, "c.json"); };
  const auto fault = [&](const char* key, const Json& value) {
    Json changed = json;
    changed.set(key, value);
    try {
      read(changed);
    } catch (const Error& e) { return std::string(e.what()); }
    return std::string("accepted");
  };
  const TextConfig t = read(json).text;
  CHECK(!read(json).has_tower);
  CHECK(t.experts == 128);
  CHECK(t.experts_per_token == 8);
  CHECK(t.expert_intermediate == 768);
  CHECK(!t.norm_topk_prob);
  CHECK(t.head_dim == 16);  // hidden over heads: the class has no value of its own
  CHECK(fault("num_experts_per_tok", 129) == "c.json: num_experts_per_tok is 129, expected 1 to 128");
  CHECK(fault("num_experts", -1) == "c.json: num_experts is -1, expected 1 to 4096");
  Json many = json;
  many.set("num_experts", 4096), many.set("num_hidden_layers", 300);
  CHECK_THROWS_WITH_AS(read(many), "c.json: num_experts is 4096 in 300 layers: more than 1048576 experts", Error);
  CHECK(fault("decoder_sparse_step", 0) == "c.json: decoder_sparse_step is 0, expected 1 to 4096");
  CHECK(fault("mlp_only_layers", "0").find("c.json: mlp_only_layers: expected a list") == 0);
  CHECK(fault("shared_expert_intermediate_size", 8).find("shared_expert_intermediate_size is 8") != std::string::npos);
  json.set("decoder_sparse_step", 2);
  json.set("mlp_only_layers", Ids{3});
  const TextConfig sparse = read(json).text;
  CHECK((!sparse.is_moe(0) && sparse.is_moe(1) && !sparse.is_moe(2) && !sparse.is_moe(3)));
  // Elsewhere nothing stands in for what the file does not say (T-07: the original's configuration leaves top-k out).
  json.set("model_type", "LLaVAOneVision1_5_text");
  json.set("num_experts", 4);
  CHECK_THROWS_WITH_AS(read_text_config(json, "c.json"), "c.json: num_experts_per_tok is missing", Error);
  json.set("model_type", "qwen3");  // a dense model has no experts
  CHECK(fault("num_experts", 4).find("nothing like it is built") != std::string::npos);
}
