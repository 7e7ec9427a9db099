#include "audit/plan.h"

#include <doctest/doctest.h>

#include <map>

#include "base/parallel.h"
#include "cli/keys.h"
#include "cli/verbs.h"
#include "kernels/table.h"
#include "model/files/hf_directory.h"
#include "store/hf_names.h"

using namespace ov;

namespace {

ModelConfig described(const std::string& file) {
  const Config config = Config::parse(cli::keys(), "plan", {"--config", file});
  ModelConfig model;
  model.vision = cli::described_vision(config);
  model.text = cli::described_text(config);
  return model;
}

std::int64_t parameters_of(const Plan& plan, const std::string& module) {
  for (const auto& m : plan.modules)
    if (m.name == module) return m.parameters;
  return -1;
}

// Forward FLOPs by the published formulas, written down independently of the model's code. A segment of n patches has
// n + 1 rows. Causal attention is published as S² pairs halved; the visible pairs are S (S + 1) / 2, more by 1 / S.
double published_forward(double n, double tokens, double hidden, double linears_a_token, double attention = 294912) {
  const double rows = n + 1, vocabulary = 151936;
  const double tower = 1204224 * n + 603979776 * rows + 98304 * rows * rows;
  const double merger = n / 4 * 2 * (4096.0 * 4096 + 4096 * hidden);
  const double decoder = linears_a_token * tokens + attention * tokens * tokens * (1 + 1 / tokens);
  return tower + merger + decoder + 2 * hidden * vocabulary * tokens;
}

}  // namespace

TEST_CASE("plan: the 4B model has the published parameters, tensors and FLOPs, and takes no memory (T-41, R-36)") {
  cpu().reset_peaks();
  const std::int64_t before = cpu().memory().total;
  const Plan plan = plan_model(described("configs/model/4b.json"), {});
  CHECK(cpu().memory().total_peak - before < 1 << 20);  // frequencies are real; nineteen gigabytes are not
  CHECK(plan.parameters == 4741610528);
  CHECK(plan.tensors == 698);
  CHECK(plan.trained == plan.parameters);
  CHECK(parameters_of(plan, "vision tower") == 302914592);
  CHECK(parameters_of(plan, "merger") == 27271680);
  CHECK(parameters_of(plan, "embedding") == 388956160);
  CHECK(parameters_of(plan, "head") == 388956160);
  CHECK(plan.tokens == 512);
  CHECK(plan.patches == 1600);
  CHECK(plan.forward_flops == published_forward(1600, 512, 2560, 7266631680));
  CHECK(std::abs(plan.forward_flops / 1e12 - 5.439) < 0.0005);
  // Backward: one product for the input and one for the weights, but none for the pixels.
  CHECK(plan.backward_flops == 2 * plan.forward_flops - 1204224.0 * 1600);
  const auto bytes = [&](Segment s) { return plan.memory.peak[static_cast<std::size_t>(s)]; };
  CHECK(bytes(Segment::gradients) == 4 * plan.parameters);
  CHECK(bytes(Segment::optimizer) == 8 * plan.parameters);
  CHECK(bytes(Segment::weights) - 4 * plan.parameters < 4096);  // and the tables of frequencies
  CHECK(bytes(Segment::weights) >= 4 * plan.parameters);
}

TEST_CASE("plan: the 8B model has the published parameters, tensors and FLOPs") {
  const Plan plan = plan_model(described("configs/model/8b.json"), {});
  CHECK(plan.parameters == 8527214624);
  CHECK(plan.tensors == 698);
  CHECK(parameters_of(plan, "merger") == 33564672);
  CHECK(plan.forward_flops == published_forward(1600, 512, 4096, 13891534848));
  CHECK(std::abs(plan.forward_flops / 1e12 - 9.075) < 0.0005);
}

TEST_CASE("plan: the 30B-A3B model has the published parameters, tensors, names, shapes and FLOPs") {
  const ModelConfig config = described("configs/model/30b-a3b.json");
  const Plan plan = plan_model(config, {});
  CHECK(plan.parameters == 30860211232);
  CHECK(plan.tensors == 19166);
  CHECK(parameters_of(plan, "merger") == 25174016);
  CHECK(parameters_of(plan, "experts") == 48LL * 128 * 3 * 768 * 2048);
  CHECK(parameters_of(plan, "embedding") + parameters_of(plan, "decoder") + parameters_of(plan, "experts") +
            parameters_of(plan, "head") ==
        30532122624);
  const double H = 2048, q = 4096, kv = 512;
  const double linears = 2 * 48 * (2 * H * q + 2 * H * kv + 8 * 3 * H * 768 + 128 * H);
  CHECK(plan.forward_flops == published_forward(1600, 512, H, linears, 2 * 48 * q));
  CHECK(plan.backward_flops == 2 * plan.forward_flops - 1204224.0 * 1600);

  // The decoder's names and shapes as they stand in the released format.
  std::map<std::string, Shape> expected = {
      {"model.embed_tokens.weight", {151936, 2048}}, {"lm_head.weight", {151936, 2048}}, {"model.norm.weight", {2048}}};
  for (int i = 0; i < 48; ++i) {
    const std::string layer = cat("model.layers.", i, ".");
    for (const auto& [name, shape] : std::map<std::string, Shape>{{"input_layernorm", {2048}},
                                                                  {"post_attention_layernorm", {2048}},
                                                                  {"self_attn.q_proj", {4096, 2048}},
                                                                  {"self_attn.k_proj", {512, 2048}},
                                                                  {"self_attn.v_proj", {512, 2048}},
                                                                  {"self_attn.o_proj", {2048, 4096}},
                                                                  {"self_attn.q_norm", {128}},
                                                                  {"self_attn.k_norm", {128}},
                                                                  {"mlp.gate", {128, 2048}}})
      expected[layer + name + ".weight"] = shape;
    for (int e = 0; e < 128; ++e) {
      const std::string expert = cat(layer, "mlp.experts.", e, ".");
      expected[expert + "gate_proj.weight"] = expected[expert + "up_proj.weight"] = {768, 2048};
      expected[expert + "down_proj.weight"] = {2048, 768};
    }
  }
  std::int64_t tower = 0;
  for (const NamedShape& p : expected_names(Onevision(config))) {
    const std::string name = name_on_disk(p.name);
    if (name.starts_with("visual.")) {
      ++tower;
      continue;
    }
    CHECK_MESSAGE((expected.contains(name) && expected[name] == p.shape), name);
    expected.erase(name);
  }
  CHECK(expected.empty());
  CHECK(tower == 299);
}

TEST_CASE("plan: sixteen isolated pictures in one causal row cost what the formulas say (T-41, R-36)") {
  const ModelConfig config = described("configs/model/4b.json");
  PlanOptions options;
  options.grids = std::vector<Grid>(16, {1, 112, 64});
  options.text_tokens = 32768 - 28672;
  const Plan plan = plan_model(config, options);
  CHECK(plan.tokens == 32768);
  CHECK(std::abs(plan.forward_flops / 1e12 - 732.1) < 0.05);
}

TEST_CASE("plan: a tied head is no second tensor") {
  ModelConfig config = described("configs/model/tiny.json");
  CHECK(config.text.tied);
  const Plan tied = plan_model(config, {});
  config.text.tied = false;
  const Plan untied = plan_model(config, {});
  CHECK(untied.parameters - tied.parameters == 278 * 128);
  CHECK(untied.tensors - tied.tensors == 1);
  CHECK(tied.forward_flops == untied.forward_flops);
}

TEST_CASE("plan: recomputation trades activations for a second pass of the blocks that backward goes through") {
  const ModelConfig config = described("configs/model/tiny.json");
  const double head = 2.0 * 512 * 128 * 278, merger = 2.0 * 400 * (384 * 384 + 384 * 128),
               patches = 2.0 * 1600 * 588 * 96;
  const double tower = 2 * 2.0 * (1601.0 * 12 * 96 * 96 + 2.0 * 96 * 1601 * 1601);
  for (const bool all : {true, false}) {
    PlanOptions options;
    if (!all) options.train.modules = {"adapter"};
    const Plan kept = plan_model(config, options);
    options.recompute = true;
    const Plan again = plan_model(config, options);
    const auto activations = static_cast<std::size_t>(Segment::activations);
    CHECK(again.memory.peak[activations] < kept.memory.peak[activations]);
    CHECK(again.forward_flops == kept.forward_flops);
    CHECK(again.backward_flops == kept.backward_flops);
    CHECK(kept.recomputed_flops == 0);
    CHECK(again.recomputed_flops == kept.forward_flops - head - merger - patches - (all ? 0 : tower));
  }
}

TEST_CASE("plan: a loss over parts of the rows takes the memory of one part's logits, for one more product") {
  ModelConfig config = described("configs/model/tiny.json");
  config.text.vocabulary = 20000;
  PlanOptions options;
  options.text_tokens = 8192 - 400;
  const Plan whole = plan_model(config, options);
  const auto planned = [&](std::int64_t rows) {
    options.train.loss_rows = rows;
    return plan_model(config, options);
  };
  const auto workspace = [](const Plan& p) { return p.memory.peak[static_cast<std::size_t>(Segment::workspace)]; };
  const Plan least = planned(384);
  std::int64_t last = whole.memory.total_peak;
  for (const std::int64_t rows : {3072, 1536, 384}) {
    const Plan parts = planned(rows);
    CHECK(parts.memory.total_peak < last);
    last = parts.memory.total_peak;
    CHECK(workspace(parts) - workspace(least) == 2 * 4 * (rows - 384) * 20000);  // logits and their gradient
    CHECK(parts.forward_flops == whole.forward_flops);
    CHECK(parts.backward_flops == whole.backward_flops);
  }
  options.train.loss_rows = 100;
  CHECK_THROWS_WITH_AS(plan_model(config, options), doctest::Contains("train.loss_rows is 100, no multiple of 384"),
                       Error);
}

TEST_CASE("plan: training the merger alone needs no gradients of weights elsewhere and no backward through the tower") {
  const ModelConfig config = described("configs/model/4b.json");
  PlanOptions options;
  options.train.modules = {"adapter"};
  const Plan plan = plan_model(config, options);
  CHECK(plan.trained == 27271680);
  CHECK(plan.memory.peak[static_cast<std::size_t>(Segment::gradients)] == 4 * plan.trained);
  // Through decoder and head one product a linear layer and attention's two; in the merger those of the weights, and dx
  // down to its norm, which is trained.
  const double merger = 400 * 54525952.0, attention = 294912.0 * 512 * 513;
  CHECK(plan.backward_flops == 512 * (7266631680.0 + 777912320.0) + 2 * attention + 2 * merger);
}

TEST_CASE("plan: micro-batches cost gradient buffers by how they are added, and FLOPs each") {
  const ModelConfig config = described("configs/model/tiny.json");
  const int before = threads();
  const auto planned = [&](std::int64_t micro_batches, bool tree, int n) {
    set_threads(n);
    PlanOptions options;
    options.micro_batches = micro_batches;
    options.train.tree = tree;
    return plan_model(config, options);
  };
  const Plan one = planned(1, true, 1);
  const auto buffers = [&](const Plan& p) {
    return p.memory.peak[static_cast<std::size_t>(Segment::gradients)] / (4 * one.parameters);
  };
  CHECK(buffers(one) == 1);
  CHECK(buffers(planned(8, false, 1)) == 1);
  CHECK(buffers(planned(8, false, 4)) == 1);  // a chain has one buffer, so nothing runs side by side
  CHECK(buffers(planned(8, true, 1)) == 4);   // log2 8 + 1
  CHECK(planned(8, true, 1).forward_flops == 8 * one.forward_flops);
  CHECK(planned(8, false, 1).backward_flops == 8 * one.backward_flops);
  CHECK(buffers(planned(3, true, 4)) == 3);
  CHECK(buffers(planned(8, true, 4)) == 8);  // two a thread
  set_threads(before);
}

TEST_CASE("plan: what a step takes of a GPU does not depend on the threads of the host") {
  const ModelConfig config = described("configs/model/tiny.json");
  const int before = threads();
  const auto planned = [&](int n) {
    set_threads(n);
    PlanOptions options;
    options.micro_batches = 8;
    options.gpu = true;
    return plan_model(config, options).memory;
  };
  const MemoryUse one = planned(1), four = planned(4);
  set_threads(before);
  CHECK(four.peak == one.peak);
  CHECK(four.total_peak == one.total_peak);
}

TEST_CASE("plan: sizes that do not fit are refused") {
  const ModelConfig config = described("configs/model/tiny.json");
  PlanOptions options;
  options.labelled = 10000;
  CHECK_THROWS_WITH_AS(plan_model(config, options), "plan: 10000 labelled of 512 tokens", Error);
  options = {};
  options.grids = {{1, 3, 4}};
  CHECK_THROWS_AS(plan_model(config, options), Error);
}

TEST_CASE("plan: LoRA trains its matrices alone") {
  ModelConfig config = described("configs/model/4b.json");
  PlanOptions options;
  options.train.modules = {"language_model"};
  options.lora = {.rank = 16, .targets = {"q_proj", "down_proj"}};
  const Plan plan = plan_model(config, options);
  const TextConfig& t = config.text;
  const std::int64_t q = t.heads * t.head_dim;
  const std::int64_t learnt = t.layers * 16 * (t.hidden + q + t.intermediate + t.hidden);
  CHECK(plan.trained == learnt);
  CHECK(parameters_of(plan, "LoRA") == learnt);
  CHECK(plan.parameters == plan_model(config, {}).parameters + learnt);
  const auto bytes = [](const Plan& p, Segment s) { return p.memory.peak[static_cast<std::size_t>(s)]; };
  CHECK(bytes(plan, Segment::gradients) == 4 * learnt);
  CHECK(bytes(plan, Segment::optimizer) == 8 * learnt);
}

TEST_CASE("plan: pre-training of the language model is a step of text alone, its tower and merger frozen") {
  const auto planned = [](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"--config", "configs/model/4b.json", "--plan.text_tokens", "2048"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Config config = Config::parse(cli::keys(), "plan", arguments);
    return plan_model(described("configs/model/4b.json"), cli::plan_options(config, cli::described_vision(config)));
  };
  const Plan text = planned({"--what", "text"});
  CHECK(text.patches == 0);
  CHECK(text.tokens == 2048);
  // Every matrix of the decoder and the head takes part once forward and twice backward, attention likewise.
  CHECK(text.backward_flops == 2 * text.forward_flops);
  CHECK(text.trained ==
        parameters_of(text, "decoder") + parameters_of(text, "embedding") + parameters_of(text, "head"));
  CHECK(text.report() == planned({"--plan.images", "0", "--train.modules", "language_model"}).report());
  CHECK(planned({"--what", "text", "--train.recompute"}).memory.total_peak < text.memory.total_peak);
  const Config pictures = Config::parse(
      cli::keys(), "plan", {"--config", "configs/model/tiny.json", "--what", "text", "--plan.images", "2"});
  CHECK_THROWS_WITH_AS(cli::plan(pictures), doctest::Contains("plan.images"), Error);
}

TEST_CASE("train.recompute: a flag, the first so many blocks, or auto, which is plan's to answer") {
  const auto config = [](const char* command, Strings arguments) {
    return Config::parse(cli::keys(), command, arguments);
  };
  const auto all = cli::recompute_option(config("train", {"--train.recompute", "--steps", "3"}));
  CHECK(all.on);
  CHECK(all.first == every_block);
  const auto some = cli::recompute_option(config("train", {"--train.recompute", "--train.recompute_blocks", "3"}));
  CHECK(some.on);
  CHECK(some.first == 3);
  CHECK_FALSE(cli::recompute_option(config("train", {})).on);
  CHECK_THROWS_WITH_AS(cli::recompute_option(config("train", {"--train.recompute_blocks", "3"})),
                       "train.recompute_blocks 3 has no effect with train.recompute false", Error);
  CHECK(cli::recompute_option(config("train", {"--train.recompute=auto"})).choose);
  CHECK_THROWS_WITH_AS(cli::stated_recompute(config("rl", {"--train.recompute=auto"}), "the reason"),
                       "train.recompute auto: the reason", Error);
  const Strings least = {"--config", "configs/model/tiny.json", "--train.recompute=auto", "--text.vocabulary", "300"};
  const auto plan = [&](Strings more) {
    more.insert(more.begin(), least.begin(), least.end());
    return cli::plan(config("plan", more));
  };
  CHECK_THROWS_WITH_AS(plan({}), doctest::Contains("plan.device says what the step is to fit"), Error);
  CHECK_THROWS_WITH_AS(plan({"--plan.device", "cpu", "--plan.ranks", "2"}), doctest::Contains("plan.mfu"), Error);
}

TEST_CASE("plan: RICE at the paper's size: the tower's parameters, a million centres, and the products of its parts") {
  const Config config = Config::parse(
      cli::keys(), "plan",
      {"--config", "configs/model/rice-vit-l.json", "configs/recipe/rice-pretrain.json", "--train.micro_batches", "1"});
  RegionPlan rice{.vision = cli::described_vision(config),
                  .head = cli::region_head(config),
                  .objects = cli::cluster_options(config, "objects"),
                  .characters = cli::cluster_options(config, "characters")};
  rice.head.classes = 1000000;
  PlanOptions options;
  options.grids = std::vector<Grid>(8, {1, 16, 16});
  const Plan plan = plan_region(rice, options);
  CHECK(parameters_of(plan, "vision tower") == 302914592);
  CHECK(parameters_of(plan, "class centres") == 768000000);
  CHECK(plan.trained == plan.parameters);
  const double C = 1024, F = 4096, rows = 8 * 257, regions = 8 * 10, pairs = 8 * 257.0 * 257, seen = regions * 256;
  const double tower = 2 * 588 * C * 8 * 256 + 24 * (2 * (4 * C * C + 2 * C * F) * rows + 4 * C * pairs);
  // Keys and values of every row, of each region its query, two projections and the MLP; an embedding; its cosines.
  const double layers = 2 * (2 * 2 * C * C * rows + 2 * (2 * C * C + 2 * C * F) * regions + 4 * C * seen);
  CHECK(plan.forward_flops == tower + layers + 2 * C * 768 * regions + 2 * 768.0 * 100000 * regions);
  rice.head.classes = 1000;
  const std::int64_t kept = plan_region(rice, options).memory.total_peak;
  options.recompute = true;
  CHECK(plan_region(rice, options).memory.total_peak < kept);
  rice.strings = 3;
  CHECK_THROWS_WITH_AS(plan_region(rice, options), doctest::Contains("plan.characters"), Error);
  rice.strings = 11;
  CHECK_THROWS_WITH_AS(plan_region(rice, options), "plan: 11 strings among 10 regions of a picture", Error);
}

TEST_CASE("plan: CLIP ViT-B/32 has the published parameters and the step of its pairs") {
  const Config config = Config::parse(cli::keys(), "plan", {"--config", "configs/model/clip-b.json", "--what", "clip"});
  const ClipConfig clip = cli::described_clip(config);
  PlanOptions options;
  options.grids.resize(8);
  const Plan plan = plan_clip(clip, options);
  CHECK(plan.parameters == 151277313);
  CHECK(plan.trained == plan.parameters);
  CHECK(plan.tensors == 398);
  CHECK(plan.patches == 8 * 49);
  CHECK(plan.tokens == 8 * 77);
  // Products and attention of both towers, written down independently: a block has 12 C² a row and 2 · 2 C a pair.
  const auto tower = [](double layers, double C, double rows, double pairs) {
    return layers * (24 * C * C * rows + 4 * C * pairs);
  };
  const double pictures = tower(12, 768, 8 * 50, 8 * 50 * 50) + 2 * 3072 * 768 * 8 * 49 + 2 * 768 * 512 * 8;
  const double texts = tower(12, 512, 8 * 77, 8 * 77 * 78 / 2.0) + 2 * 512 * 512 * 8;
  CHECK(plan.forward_flops == pictures + texts + 2 * 2 * 512 * 8 * 8);
  options.grids.resize(16);
  CHECK(plan_clip(clip, options).memory.total_peak > plan.memory.total_peak);
  options.grids.clear();
  CHECK_THROWS_AS(plan_clip(clip, options), Error);
}

TEST_CASE("plan: bf16 weights are held once where nothing trains them; what is trained has a master of f32 beside") {
  const ModelConfig config = described("configs/model/4b.json");
  PlanOptions options;
  options.dtype = Dtype::bf16;
  for (const bool all : {true, false}) {
    if (!all) options.train.modules = {"adapter"};
    const Plan plan = plan_model(config, options);
    CHECK((plan.trained == plan.parameters) == all);
    const std::int64_t weights = plan.memory.peak[static_cast<std::size_t>(Segment::weights)],
                       values = 2 * plan.parameters + 4 * plan.trained;
    CHECK(weights >= values);
    CHECK(weights - values < 4096);  // tables of frequencies
  }
  // Who only reads a model trains nothing.
  MetaDevice device;
  device.table = &kernels::meta_table();
  Onevision model(config);
  model.parameters().allocate(Dtype::bf16, device);
  const std::int64_t read = device.memory().total, values = 2 * model.parameters().count();
  CHECK_FALSE(model.parameters().masters());
  CHECK(read >= values);
  CHECK(read - values < 4096);
}
