// What plan counts for ranks that share rows, experts or class tables: what a real rank holds and sends, to the byte,
// and what the headers of src/parallel say. The model is configs/model/mesh.json, dense and with 8 experts.
#include <doctest/doctest.h>

#include <algorithm>
#include <bit>

#include "audit/plan.h"
#include "cli/keys.h"
#include "cli/verbs.h"
#include "kernels/table.h"
#include "parallel/bytes.h"
#include "parallel/expert.h"
#include "tests/parallel/class_world.h"
#include "tests/parallel/context_world.h"
#include "tests/parallel/plan_compare.h"
#include "train/objectives/language_context.h"

using namespace ov;
using namespace ov::test;

namespace {

struct Case {
  Ways ways;
  Dtype dtype = Dtype::f32;
  bool experts = false, recompute = false, tree = true, aux_global = false;
  std::int64_t leaves = 4;
  std::vector<MicroBatch> rows = {};  // none: those of step_of()
  std::string said() const {
    return cat(ways.said(), ", ", name_of(dtype), experts ? ", experts" : "", recompute ? ", recompute" : "",
               tree ? "" : ", chain", aux_global ? ", aux global" : "", ", ", leaves, " leaves");
  }
};

ModelConfig model_of(bool experts) {
  Strings arguments = {"--config", "configs/model/mesh.json"};
  if (experts)
    for (const char* word : {"--text.experts", "8", "--text.experts_per_token", "2", "--text.expert_intermediate", "32",
                             "--text.mlp_only_layers", "2"})
      arguments.push_back(word);
  const Config config = Config::parse(cli::keys(), "plan", arguments);
  ModelConfig m;
  m.vision = cli::described_vision(config), m.text = cli::described_text(config);
  m.image_token = 96;
  return m;
}

// A leaf without a token, one without a label, others with pictures; leaf 3 is long enough to be cut.
GlobalStep step_of(const Case& c) {
  if (!c.rows.empty()) return as_step(c.rows);
  GlobalStep step = uneven_step(c.leaves, 7);
  if (c.leaves > 3) step.micro_batches[3] = long_row(9);
  return as_step(step.micro_batches);
}

PlanOptions options_of(const Case& c) {
  PlanOptions o;
  o.dtype = c.dtype, o.recompute = c.recompute;
  o.train = short_run(1);
  o.train.tree = c.tree, o.train.aux_global = c.aux_global, o.train.checksum_every = 0;
  c.ways.set(o.train);
  o.ranks = c.ways.ranks();
  o.rows = step_of(c).micro_batches;
  return o;
}

// Experts as plan spreads them: rows of a leaf go to one after another.
void in_turns(const kernels::RouterForward& a) {
  const std::int64_t T = a.logits.dim(0), E = a.logits.dim(1), k = a.experts.dim(1);
  std::vector<std::int64_t> chosen;
  for (std::int64_t i = 0; i < T * k; ++i) chosen.push_back(i % E);
  kernels::RouterForward forced = a;
  forced.forced = Tensor::of(chosen, {T, k});
  kernels::cpu::router_forward(forced);
}

// The step of a real rank, on a device of its own; input_error where plan says something else, or where it sends
// something else than the `formula` of an axis, if there is one.
void compare_with_plan(const Case& c, ProcessRanks& ranks, const char* of = "", std::int64_t formula = 0) {
  PlanOptions options = options_of(c);
  options.rank = ranks.rank();
  kernels::Table table = *cpu().table;
  table.router_forward = in_turns;
  HostDevice device(Device::Kind::cpu, "test", &table);
  Mesh mesh(ranks, c.ways.tensor, c.ways.pipeline, c.ways.context, c.ways.experts);
  Onevision model(model_of(c.experts), mesh.tensor, mesh.pipe, c.ways.chunks, mesh.experts);
  model.recompute_blocks = c.recompute;
  model.parameters().allocate(c.dtype, device);
  initialize(model.parameters(), {.matrix = "uniform_fan_in"}, 1);
  FixedSteps data({step_of(c)});
  LanguageObjective objective(model, data, options.train, mesh.context);
  StepEngine engine(objective, options.train, mesh.data);
  // Plan tells what a step takes, not what was before values were divided.
  if (engine.parallel().divides_values()) device.reset_peaks();
  std::map<std::string, std::int64_t> sent;
  const std::map<std::string, Communicator*> axes = {{"data", &mesh.data},
                                                     {"pipe", &mesh.pipe},
                                                     {"context", &mesh.context},
                                                     {"experts", &mesh.experts},
                                                     {"tensor", &mesh.tensor}};
  for (const auto& [name, axis] : axes) sent[name] -= all_sent(*axis);
  engine.step();
  for (const auto& [name, axis] : axes) sent[name] += all_sent(*axis);
  const Plan plan = plan_model(model_of(c.experts), options);
  compare_plan(c.said(), ranks, plan, device, engine, sent);
  if (formula > 0) require_bytes(ranks, c.said(), of, formula, sent_on(plan, of), sent.at(of));
}

const std::vector<Case> cases = {
    {.ways = {.context = 2}},
    {.ways = {.context = 4}, .dtype = Dtype::bf16, .recompute = true},
    {.ways = {.context = 2}, .experts = true},
    {.ways = {.data = 2, .zero = 2, .context = 2}, .recompute = true},
    {.ways = {.data = 2, .context = 2, .overlap = true}},
    {.ways = {.tensor = 2, .context = 2}},
    {.ways = {.pipeline = 2, .context = 2}, .dtype = Dtype::bf16},
    {.ways = {.data = 2, .experts = 2}, .experts = true},
    {.ways = {.data = 2, .experts = 2}, .experts = true, .aux_global = true},
    {.ways = {.data = 4, .experts = 4}, .dtype = Dtype::bf16, .experts = true, .recompute = true, .leaves = 6},
    {.ways = {.data = 4, .experts = 2}, .experts = true, .tree = false, .leaves = 5},
    {.ways = {.data = 4, .zero = 3, .experts = 2}, .experts = true},
    {.ways = {.data = 2, .tensor = 2, .experts = 2}, .experts = true},
    {.ways = {.data = 2, .context = 2, .experts = 2}, .experts = true, .recompute = true, .leaves = 3},
};

}  // namespace

TEST_CASE(
    "plan of shared rows and experts: a rank's memory by segment, bytes and products are a real rank's, exactly") {
  for (const Case& c : cases)
    for (const Ended& e : in_ranks(c.ways.ranks(), 120, [&](ProcessRanks& ranks) {
           compare_with_plan(c, ranks);
           ranks.barrier();
         }))
      CHECK_MESSAGE(e.exit == 0, e.error);
}

TEST_CASE("plan of shared experts: what all ranks, planned and real, send together is what parallel/expert.h says") {
  for (const int n : {2, 4})
    for (const bool recompute : {false, true}) {
      const Case c{.ways = {.data = n, .experts = n}, .experts = true, .recompute = recompute};
      INFO(c.said());
      const Plan plan = plan_model(model_of(true), options_of(c));
      const ModelConfig m = model_of(true);
      const std::int64_t E = m.text.experts, M = m.text.layers - 1;
      std::int64_t chose = 0, rest = 0, all = 0;
      for (std::int64_t leaf = 0; leaf < c.leaves; ++leaf) {
        const auto rows =
            even_rows(m.text.experts_per_token * step_of(c).micro_batches[static_cast<std::size_t>(leaf)].tokens(), E);
        for (std::int64_t e = 0; e < E; ++e)
          if (e * n / E != leaf % n) chose += M * rows[static_cast<std::size_t>(e)];
      }
      for (const Plan::Module& module : plan.modules) {
        all += module.trained;
        if (module.name != "experts") rest += module.trained;
      }
      const std::int64_t formula = ExpertBytes{.ranks = n,
                                               .turns = c.leaves / n,
                                               .experts = E,
                                               .layers = M,
                                               .chose = chose,
                                               .width = m.text.hidden,
                                               .rest = rest,
                                               .trained = all,
                                               .shared = plan.shared_chunks,
                                               .reports = 1 + plan.scalars,
                                               .recompute = recompute}
                                       .total();
      all_well(in_ranks(n, 120, [&](ProcessRanks& ranks) {
        compare_with_plan(c, ranks, "experts", formula);
        ranks.barrier();
      }));
    }
}

TEST_CASE("plan of shared rows: what all ranks, planned and real, send together is what parallel/context.h says") {
  for (const int n : {2, 4}) {
    // One segment, which is cut; and as many as ranks, which are not.
    for (const std::int64_t segments : {1, n}) {
      PlanOptions o{.grids = {}, .text_tokens = 64, .segments = segments, .micro_batches = 3, .train = short_run(1)};
      o.train.context = n, o.ranks = n;
      const ModelConfig m = model_of(false);
      std::int64_t sent = 0;
      ContextBytes formula{.ranks = n,
                           .leaves = 3,
                           .cut = segments == 1 ? 3 * 64 : 0,
                           .layers = m.text.layers,
                           .keys = 2 * m.text.kv_heads * m.text.head_dim,
                           .width = m.text.hidden};
      for (o.rank = 0; o.rank < n; ++o.rank) {
        const Plan p = plan_model(m, o);
        sent += sent_on(p, "context");
        formula.trained = p.trained, formula.reports = 1 + p.scalars;
        CHECK(p.labelled == 64 - segments);
      }
      CHECK(sent == formula.total());
      // Real ranks, with rows of as many tokens.
      Case c{.ways = {.context = n}, .leaves = 3, .rows = std::vector<MicroBatch>(3)};
      for (std::size_t i = 0; i < c.rows.size(); ++i)
        for (std::int64_t k = 0; k < segments; ++k)
          add_sample(c.rows[i], 10 * i + static_cast<std::uint64_t>(k), 0, 0, 64 / segments);
      formula.reports = 1;  // of a leaf the losses of its ranks and of its labelled rows
      for (const LossTargets& t : loss_targets(step_of(c), NormaliseBy::global_token_mean).micro_batches)
        formula.reports += n + std::ssize(t.rows);
      all_well(in_ranks(n, 120, [&](ProcessRanks& ranks) {
        compare_with_plan(c, ranks, "context", formula.total());
        ranks.barrier();
      }));
    }
  }
  PlanOptions o{.text_tokens = 64, .segments = 2, .labelled = 460, .train = short_run(1)};
  o.train.context = 2, o.ranks = 2;
  CHECK(plan_model(model_of(false), o).labelled == 460);
  o.labelled = 463;
  CHECK_THROWS_WITH_AS(plan_model(model_of(false), o),
                       doctest::Contains("plan.labelled 463 with parallel.context 2: a row of 464 tokens in 2 segments "
                                         "has at most 462"),
                       Error);
}

TEST_CASE(
    "plan of class tables that ranks share: memory, bytes and products are a real rank's, exactly, and what all ranks "
    "send is what parallel/classes.h says") {
  struct Kind {
    int data, classes;
    bool softmax;
    std::int64_t leaves;
    int zero = 1;
  };
  for (const Kind& k : {Kind{1, 1, false, 3}, Kind{2, 2, false, 4}, Kind{2, 2, true, 3}, Kind{4, 2, true, 5, 2},
                        Kind{3, 3, false, 4}, Kind{4, 4, true, 8}})
    for (const Ended& e : in_ranks(k.data, 60, [&](ProcessRanks& ranks) {
           RegionPlan rice{.vision = small_config().vision, .head = {}, .regions = 3, .strings = 1, .labels = 2};
           rice.head.classes = 41, rice.head.characters = 30, rice.head.blocks = 4;
           rice.objects = rice.characters = {.softmax = k.softmax, .margin = {}, .density = 0.5};
           PlanOptions o{.grids = {{1, 4, 6}, {1, 4, 4}}, .micro_batches = k.leaves, .train = {}};
           static_cast<StepOptions&>(o.train) = short_run(1);
           o.train.classes = k.classes, o.train.zero = k.zero, o.train.checksum_every = 0;
           o.ranks = k.data, o.rank = ranks.rank();
           const Plan plan = plan_region(rice, o);

           HostDevice device(Device::Kind::cpu, "test", cpu().table);
           Mesh mesh(ranks, 1, 1, 1, 1, k.classes);
           RiceModel model(rice.vision, rice.head, mesh.experts);
           model.parameters().allocate(Dtype::f32, device);
           model.initialize({.matrix = "uniform_fan_in"}, 1);
           RegionStep step;
           std::int64_t object = 0, character = 0;
           for (std::int64_t m = 0; m < k.leaves; ++m) {
             RegionBatch batch;
             batch.pixel_values = Tensor::zeros({4 * 6 + 4 * 4, rice.vision.patch_values()}, Dtype::f32, cpu());
             batch.grids = {{1, 4, 6}, {1, 4, 4}};
             for (const std::int64_t picture : {0, 1})
               for (std::int64_t slot = 0; slot < 3; ++slot) {
                 Region r{.picture = picture, .slot = slot, .box = {0, 0, picture == 0 ? 6.0 : 4.0, 4}, .label = {}};
                 if (slot > 0) r.label.object = object++ % 41;
                 else r.label.characters = {character % 30, (character + 1) % 30}, character += 2;
                 batch.regions.push_back(r);
               }
             step.micro_batches.push_back(batch);
           }
           step.pictures = 2 * k.leaves, step.patches = 40 * k.leaves;
           step.objects = 4 * k.leaves, step.texts = 2 * k.leaves;
           FixedRegions source(step);
           RegionTrainOptions train;
           static_cast<StepOptions&>(train) = o.train;
           train.objects = rice.objects, train.characters = rice.characters;
           RegionObjective objective(model, source, train);
           StepEngine engine(objective, train, mesh.data);
           std::map<std::string, std::int64_t> sent = {{"data", -mesh.data.sent()}, {"classes", -mesh.experts.sent()}};
           engine.step();
           sent["data"] += mesh.data.sent(), sent["classes"] += mesh.experts.sent();
           const std::string said = cat(k.classes, " of ", k.data, " ranks share classes, ", k.leaves, " leaves");
           compare_plan(said, ranks, plan, device, engine, sent);
           if (k.data == k.classes && k.leaves % k.classes == 0 && std::has_single_bit(unsigned(k.data))) {
             const Spoken spoken(step, train, model.head());
             std::int64_t rest = 0, trained = 0;
             for (const auto& e : model.parameters().entries())
               trained += e.whole.numel(), rest += e.expert_holder < 0 ? e.whole.numel() : 0;
             const ClassBytes formula{.ranks = k.classes,
                                      .turns = k.leaves / k.classes,
                                      .regions = spoken.regions,
                                      .numbers = spoken.numbers,
                                      .labels = spoken.labels,
                                      .tables = 2,
                                      .width = model.head().config.embedding,
                                      .rest = rest,
                                      .trained = trained,
                                      .shared = WholeChunks(model.parameters(), engine.parallel()).shared(),
                                      .reports = 1 + objective.scalars()};
             if (k.classes > 1)
               require_bytes(ranks, said, "classes", formula.total(), sent_on(plan, "classes"), sent.at("classes"));
           }
           ranks.barrier();
         }))
      CHECK_MESSAGE(e.exit == 0, e.error);
}
