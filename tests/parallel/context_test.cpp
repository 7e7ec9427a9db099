// Context parallelism against one rank: bits that stay, bounds for those that do not, calls, bytes, checkpoints.
#include <doctest/doctest.h>

#include <bit>

#include "parallel/bytes.h"
#include "tests/parallel/context_world.h"
#include "tests/parallel/rounding.h"
#include "train/objectives/language_context.h"

using namespace ov;
using namespace ov::test;

TEST_CASE("context: a row's forward bits are one rank's, cut or whole, in every type; so is the loss of a token") {
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16, Dtype::f64})
    for (const int c : {2, 3, 4})
      all_well(in_ranks(c, 60, [&](ProcessRanks& ranks) {
        const auto model = small_model(dtype);
        const std::vector<MicroBatch> rows = {mixed_row(1), long_row(2), text_row(3),
                                              joined({mixed_row(4), mixed_row(5)}), short_row(6)};
        bool cut = false, whole = false;
        for (const MicroBatch& row : rows) {
          const LossTargets targets = loss_targets(as_step({row}), NormaliseBy::global_token_mean).micro_batches[0];
          const SharedRow shared = shared_row(model->config(), row, targets, c);
          (shared.plan.cuts() ? cut : whole) = true;
          const RowPart part = part_of(shared, row, targets, ranks, cpu());
          Tape one_tape, tape;
          const LanguageLoss all = language_loss(*model, one_tape, row, targets, 7),
                             own = language_loss(*model, tape, part.batch, part.targets, 7, {}, 0, part.context);
          const auto& labelled = shared.labelled[static_cast<std::size_t>(ranks.rank())];
          require(own.logits.dim(0) == std::ssize(labelled), "not as many rows");
          for (std::size_t i = 0; i < labelled.size(); ++i) {
            const auto at = [&](const Tensor& t, std::size_t n) {
              const auto row = static_cast<std::int64_t>(n);
              return t.view({t.dim(0), t.numel() / t.dim(0)}).slice(0, row, row + 1).contiguous_copy();
            };
            require(same_bits(at(own.logits.value, i), at(all.logits.value, labelled[i])), cat("logits ", labelled[i]));
            require(same_bits(at(own.token_loss, i), at(all.token_loss, labelled[i])), cat("loss ", labelled[i]));
          }
        }
        require(cut && whole, "both should be among them");
      }));
}

TEST_CASE(
    "context: whole segments are to the bit one rank with the ranks' parts as micro-batches, cut in two or four") {
  for (const int c : {2, 4})
    for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
      // Leaf i is the parts (i, 0) .. (i, c-1), which cost the same, so that the plan gives them to the ranks in turn.
      const int leaves = 2;
      std::vector<MicroBatch> alone, together;
      for (int k = 0; k < c; ++k)
        for (int i = 0; i < leaves; ++i) alone.push_back(even_row(static_cast<std::uint64_t>(10 * i + k)));
      for (int i = 0; i < leaves; ++i) {
        std::vector<MicroBatch> parts;
        for (int k = 0; k < c; ++k) parts.push_back(even_row(static_cast<std::uint64_t>(10 * i + k)));
        together.push_back(joined(parts));
      }
      const auto said = [](StepEngine& engine) {
        std::string all;
        for (int i = 0; i < 3; ++i) {
          const StepReport r = engine.step();
          all += cat(std::bit_cast<std::uint64_t>(r.loss), " ", std::bit_cast<std::uint64_t>(r.gradient_norm), " ",
                     r.checksums->gradients, " ", r.checksums->parameters, " ", r.products, " ", r.labelled, "\n");
        }
        return all;
      };
      ContextRun one({.dtype = dtype}, {}, one_rank(), {as_step(alone)});
      const std::string expected = said(one.engine);
      all_well(in_ranks(c, 60, [&](ProcessRanks& ranks) {
        ContextRun run({.dtype = dtype}, {.context = c}, ranks, {as_step(together)});
        const std::string got = said(run.engine);
        require(got == expected, cat("not as one rank:\n", got, expected));
        require(run.mesh.context.sent() > 0 && run.mesh.data.sent() == 0, "only gradients are sent");
      }));
    }
}

namespace {

// Those of a run in `meshes` that share rows alike.
void same_bits_in(const MeshWorld& world, const Ways& alone, const std::vector<Ways>& meshes) {
  int folder = 0;
  std::string expected;
  std::vector<Ways> all = {alone};
  all.insert(all.end(), meshes.begin(), meshes.end());
  for (const Ways& ways : all) {
    TrainJob job = world.job(cat("same", folder++));
    job.train.steps = 3, job.data.micro_batches_per_step = 4, job.data.samples_per_micro_batch = 2;
    in_mesh(ways, job);
    const std::string got = steps_of(job) + model_sha(job);
    if (expected.empty()) expected = got;
    CHECK_MESSAGE(got == expected, ways.said());
  }
}

}  // namespace

TEST_CASE("context: copies of the model, ZeRO and stages beside it change no bit") {
  same_bits_in(MeshWorld(), {.context = 2},
               {{.data = 2, .zero = 2, .context = 2}, {.pipeline = 2, .chunks = 2, .context = 2}});
}

TEST_CASE("context: experts that copies share, and values that are divided, change no bit beside it") {
  same_bits_in(MeshWorld(experts()), {.context = 2},
               {{.data = 4, .context = 2, .experts = 2}, {.data = 2, .zero = 3, .context = 2}});
}

TEST_CASE("context: every mesh of copies, ZeRO and stages beside it changes no bit" * doctest::skip()) {
  for (const Strings& more : {Strings(), experts()})
    for (const int c : {2, 3}) {
      same_bits_in(MeshWorld(more), {.context = c},
                   {{.data = 2, .zero = 0, .context = c},
                    {.data = 2, .zero = 1, .context = c},
                    {.data = 2, .zero = 2, .context = c},
                    {.data = 4, .context = c},
                    {.data = 2, .zero = 3, .context = c},
                    {.data = 4, .zero = 3, .context = c},
                    {.pipeline = 2, .context = c},
                    {.pipeline = 4, .context = c},
                    {.data = 2, .pipeline = 2, .chunks = 2, .context = c}});
    }
}

TEST_CASE("context: 20 steps of cp 2, one segment a row, are one rank's within its own rounding") {
  compare(MeshWorld(), {{.context = 2}}, false);
}

TEST_CASE("context: every mesh of up to eight ranks, dense and with experts, in f32 and f64" * doctest::skip()) {
  const std::vector<Ways> meshes = {{.context = 2},
                                    {.context = 3},
                                    {.context = 4},
                                    {.data = 2, .zero = 0, .context = 2},
                                    {.data = 2, .context = 2},
                                    {.data = 2, .zero = 2, .context = 2},
                                    {.tensor = 2, .context = 2},
                                    {.data = 2, .tensor = 2, .context = 2},
                                    {.pipeline = 2, .context = 2},
                                    {.pipeline = 2, .chunks = 2, .tensor = 2, .context = 2},
                                    {.data = 2, .context = 4}};
  for (const Strings& more : {Strings(), experts()}) {
    const MeshWorld world(more);
    std::vector<Ways> all = meshes;
    if (!more.empty())
      all.insert(all.end(), {{.data = 4, .context = 2, .experts = 2}, {.data = 2, .context = 2, .experts = 2}});
    for (const std::int64_t samples : {1, 3}) compare(world, all, true, samples);
  }
}

namespace {

struct SharedCase {
  const char* what;
  ContextCase kind;
  std::vector<MicroBatch> rows;
};

// Cut, with a picture on the first of two ranks, of whose features the second has some.
MicroBatch first_row(std::uint64_t seed) {
  MicroBatch b;
  add_sample(b, seed, 8, 8, 40);
  return b;
}
// On the second, and the first, whose other text is the longer one, has its features.
MicroBatch second_row(std::uint64_t seed) {
  MicroBatch b;
  add_sample(b, seed, 2, 2, 300);
  add_sample(b, seed + 1, 0, 0, 100);
  add_sample(b, seed + 2, 0, 0, 80);
  return b;
}

// Everything that could make ranks call differently.
std::vector<SharedCase> shared_cases() {
  const std::vector<std::string> adapter = {"adapter"}, tower = {"vision_model"}, language = {"language_model"};
  MicroBatch mixed = joined({long_row(1), mixed_row(3)});
  return {{"text only", {}, {text_row(1), joined({text_row(2), text_row(3), text_row(4)})}},
          {"no label", {}, {without_labels(long_row(1)), without_labels(mixed_row(2))}},
          {"all faulty", {}, {{}, long_row(1)}},
          {"pictures on one rank, on the other", {.modules = tower}, {first_row(6), second_row(1)}},
          {"fewer tokens than ranks", {.experts = true}, {short_row(1), short_row(2)}},
          {"experts", {.experts = true}, {mixed, text_row(5)}},
          {"experts, recomputed", {.experts = true, .recompute = true, .aux_global = true}, {mixed, text_row(5)}},
          {"adapter alone", {.modules = adapter}, {apart_row(6), text_row(5), mixed}},
          {"tower alone", {.recompute = true, .modules = tower}, {long_row(1), text_row(5), mixed}},
          {"language model alone", {.modules = language}, {long_row(1), mixed}}};
}

// The largest difference of gradients that a rank updates from one rank's, of a parameter relative to its largest.
double distance(ContextRun& run, ContextRun& one) {
  double most = 0;
  const Range own = run.engine.optimizer().own();
  const auto x = run.engine.gradients().to(Dtype::f64).to_vector<double>(),
             y = one.engine.gradients().to(Dtype::f64).to_vector<double>();
  for (const auto& e : run.model.parameters().entries()) {
    if (!e.parameter.trainable) continue;
    double largest = 0, worst = 0;
    const std::int64_t first = one.model.parameters().find(e.parameter.name)->gradient;
    for (std::int64_t i = 0; i < e.shape.numel(); ++i) {
      const double g = y[static_cast<std::size_t>(first + i)];
      largest = std::max(largest, std::abs(g));
      const std::int64_t at = e.parameter.gradient + i;
      if (at < own.begin || at >= own.end) continue;
      worst = std::max(worst, std::abs(x[static_cast<std::size_t>(at - own.begin)] - g));
    }
    if (largest > 0) most = std::max(most, worst / largest);
  }
  return most;
}

}  // namespace

TEST_CASE("context: all ranks make the same calls, whatever a row holds, and get one rank's gradients") {
  for (const SharedCase& c : shared_cases()) {
    std::vector<Ways> all = {{.context = 2}, {.context = 3}, {.pipeline = 2, .context = 2}};
    all.push_back({.data = 2, .zero = 3, .context = 2});
    if (c.kind.experts) all.push_back({.data = 2, .zero = 0, .context = 2, .experts = 2});
    if (c.kind.experts) all.push_back({.data = 4, .zero = 3, .context = 2, .experts = 2});
    for (const Ways& ways : all) {
      if (ways.pipeline > 1 && c.kind.aux_global) continue;
      for (const Ended& e : in_ranks(ways.ranks(), 60, [&](ProcessRanks& ranks) {
             ContextCase exact = c.kind;
             exact.dtype = Dtype::f64;
             ContextRun rounded(c.kind, {}, one_rank(), {as_step(c.rows)}),
                 one(exact, {}, one_rank(), {as_step(c.rows)}), run(exact, ways, ranks, {as_step(c.rows)});
             const StepReport expected = one.engine.step(), got = run.engine.step();
             rounded.engine.step();
             require(got.parts.at("token_loss").dump() == expected.parts.at("token_loss").dump(),
                     "the loss of a token is another");
             // As for whole runs (tests/parallel/rounding.h): twice one rank's rounding, in f64 2^-29 of f32's.
             const double apart = distance(run, one), bound = 0x1p-29 * 2 * distance(rounded, one);
             require(apart <= bound, cat("gradients: ", apart, ", bound ", bound));
             // Sums of at most n positive numbers, in f64, in two orders: each within n 2^-53 of the exact one.
             const double n = static_cast<double>(expected.tokens);
             require(std::abs(got.loss - expected.loss) <= 2 * n * 0x1p-53 * expected.loss,
                     cat("loss ", got.loss, ", one rank's ", expected.loss));
             // A rank whose leaf has no picture goes backward with others, also through what is frozen.
             const bool with_others = ways.zero == 3 && c.kind.modules.size() < 3;
             require(with_others || got.products == expected.products,
                     cat(got.products, " products, expected ", expected.products));
             require(broadcast_text(run.mesh.context, run.context.calls, 0) == run.context.calls, "calls are others");
             require(contains(run.context.calls, "all_reduce"), "calls were not recorded");
           }))
        CHECK_MESSAGE(e.exit == 0, std::string(c.what), ", ", ways.said(), ": ", e.error);
    }
  }
}

TEST_CASE("context: a picture's features go from the first rank to the second, or the other way, as rows above say") {
  for (const int from : {0, 1}) {
    const MicroBatch row = from == 0 ? first_row(6) : second_row(1);
    const LossTargets targets = loss_targets(as_step({row}), NormaliseBy::global_token_mean).micro_batches[0];
    const ContextPlan plan = shared_row(ContextRun::config({}), row, targets, 2).plan;
    CHECK(plan.pictures[static_cast<std::size_t>(from)].size() == 1);
    std::int64_t travel = 0;
    for (const RowSource& s : plan.feature_sources(1 - from)) travel += s.rank == from;
    CHECK(travel > 0);
  }
}

TEST_CASE("context: what ranks send in a step is what parallel/context.h says") {
  for (const int n : {2, 4})
    for (const ContextCase& kind : {ContextCase{}, {.experts = true}, {.recompute = true}})
      all_well(in_ranks(n, 60, [&](ProcessRanks& ranks) {
        // A prefix of 48 tokens with two pictures, and its branches of 16 and 32; another segment, which is whole.
        MicroBatch row;
        add_sample(row, 1, 4, 4, 44);
        row.input_ids[1 + 4] = row.input_ids[2 + 4] = 96, row.grids = {{1, 4, 4}, {1, 2, 4}};
        row.labels[1 + 4] = row.labels[2 + 4] = ignored_label;
        const Tensor more({24, 588}, Dtype::f32, cpu(), Segment::data);
        more.fill(0.25);
        row.pixel_values = more;
        add_branch(row, 2, 0, 16), add_branch(row, 3, 0, 32);
        add_sample(row, 4, 0, 0, 3);
        ContextRun run(kind, {.context = n}, ranks, {as_step({row, row})});
        const LossTargets targets = loss_targets(as_step({row}), NormaliseBy::global_token_mean).micro_batches[0];
        const SharedRow shared = shared_row(run.model.config(), row, targets, n);
        run.engine.step();
        const TextConfig& t = run.model.config().text;
        std::int64_t away = 0;
        for (int r = 0; r < n; ++r)
          for (const RowSource& s : shared.plan.feature_sources(r)) away += s.rank != r;
        require(away > 0, "no feature travels: the case says nothing of those");
        const std::int64_t leaves = 2, expected = ContextBytes{.ranks = n,
                                                               .leaves = leaves,
                                                               .cut = leaves * (48 + 16 + 32),
                                                               .prefix = leaves * 48,
                                                               .features = leaves * away,
                                                               .layers = t.layers,
                                                               .keys = 2 * t.kv_heads * t.head_dim,
                                                               .width = t.hidden,
                                                               .experts = kind.experts ? t.experts : 0,
                                                               .trained = run.model.parameters().trained(),
                                                               .reports = 1 + run.objective.scalars(),
                                                               .recompute = kind.recompute}
                                                      .total();
        const auto sent = static_cast<std::int64_t>(total(ranks, static_cast<double>(run.mesh.context.sent())));
        require(sent == expected, cat(sent, " bytes, expected ", expected));
      }));
}

TEST_CASE("context: saved by two ranks that share rows, resumed by one, and the other way round") {
  const MeshWorld world;
  const auto job_to = [&](const std::string& out) {
    TrainJob job = world.job(out);
    job.data.samples_per_micro_batch = 2, job.train.steps = 6, job.save_every = 3, job.keep = 9;
    return job;
  };
  const auto files = [](const std::string& checkpoint) { return saved_bits(checkpoint); };
  const auto cut_after_three = [](const TrainJob& job, const std::string& out) {
    fs::copy(job.out, out, fs::copy_options::recursive);
    fs::remove_all(out + "/checkpoints/step-00000006"), fs::remove_all(out + "/model");
  };
  const TrainJob one = job_to("one"), two = job_to("two"), then_one = job_to("then_one"), then_two = job_to("then_two"),
                 again = job_to("again");
  const Ways shared{.context = 2};
  quietly(one), in_mesh(shared, two);
  CHECK(files(checkpoints(one.out)[0]) != files(checkpoints(two.out)[0]));  // their sums are others
  cut_after_three(two, again.out), in_mesh(shared, again);
  CHECK(files(checkpoints(again.out).back()) == files(checkpoints(two.out).back()));
  cut_after_three(two, then_one.out), quietly(then_one);
  cut_after_three(one, then_two.out), in_mesh(shared, then_two);
  // Nothing of the mesh is in a checkpoint: what one rank loads and saves, two save alike.
  TrainJob copied = job_to("copied");
  all_well(in_ranks(2, 60, [&](ProcessRanks& ranks) {
    Mesh mesh(ranks, 1, 1, 2);
    shared.set(copied.train);
    const auto model = load_model(copied.model_dir, {});
    Loader loader(copied.data, loader_test::small_processor());
    LanguageObjective objective(*model, loader, copied.train, mesh.context);
    StepEngine engine(objective, copied.train, mesh.data);
    load_into(engine, checkpoints(one.out).back());
    save_checkpoint(copied.out, engine.state(), Json::object());
    ranks.barrier();
  }));
  CHECK(files(checkpoints(copied.out).back()) == files(checkpoints(one.out).back()));
  TrainJob exact = job_to("exact");
  exact.dtype = Dtype::f64;
  quietly(exact);
  const Distance bound = bound_of(between(one, exact), Dtype::f32);
  for (const TrainJob* job : {&two, &then_one, &then_two}) {
    const Distance d = between(*job, exact);
    CHECK_MESSAGE(d.within(bound), said(d), "; bound: ", said(bound));
  }
}

TEST_CASE(
    "context: with low-rank matrices the first step's losses are one rank's, and the adapter is within rounding") {
  const MeshWorld world;
  const auto job_to = [&](const std::string& out, Dtype dtype = Dtype::f32) {
    TrainJob job = world.job(out, dtype);
    job.data.samples_per_micro_batch = 2, job.train.steps = 4;
    job.lora.rank = 2, job.lora.targets = {"all-linear"};
    return job;
  };
  const TrainJob one = job_to("one"), exact = job_to("exact", Dtype::f64), shared = job_to("shared");
  quietly(one), quietly(exact), in_mesh({.context = 2}, shared);
  const auto first_loss = [](const TrainJob& job) {
    for (const Json& line : lines_of(job.out + "/run.jsonl"))
      if (line.at("type").as_string() == "step") return line.at("token_loss").dump();
    return std::string();
  };
  CHECK(first_loss(shared) == first_loss(one));
  CHECK(first_loss(one) != first_loss(exact));
  const Distance d = between(shared, exact), bound = bound_of(between(one, exact), Dtype::f32);
  CHECK_MESSAGE(d.within(bound), said(d), "; bound: ", said(bound));
}

TEST_CASE("context: a number that is none is found in the rank that has it, and named") {
  std::string all;
  for (const Ended& e : in_ranks(2, 60, [&](ProcessRanks& ranks) {
         ContextRun run({}, {.context = 2}, ranks, {as_step({long_row(1)})});
         if (ranks.rank() == 1)
           run.model.parameters().find("model.language_model.norm.weight")->value.fill(std::nan(""));
         run.engine.step();
       })) {
    CHECK(e.exit == 3);
    all += e.error;
  }
  CHECK_MESSAGE(
      all == "step 1: not a finite number; first in the activation model.language_model.norm of micro-batch 0", all);
}

TEST_CASE("context: a mesh that does not fit, and what is not built, is refused by name") {
  const MeshWorld world;
  const auto refused = [&](const Ways& ways, int n, const std::function<void(TrainJob&)>& change = {}) {
    TrainJob job = world.job("refused");
    if (change) change(job);
    return refused_by_ranks(n, ways, job);
  };
  CHECK(contains(refused({.context = 2}, 3), "parallel.context 2: does not divide 3 ranks; onevision launch -n 4"));
  CHECK(contains(refused({.tensor = 2, .context = 2}, 2), "parallel.tensor 2 x parallel.context 2: does not divide"));
  const auto with_lora = [](TrainJob& j) { j.lora.rank = 2, j.lora.targets = {"q_proj"}, j.lora.dropout = 0.1; };
  CHECK(contains(refused({.context = 2}, 2, with_lora), "lora.dropout 0.1 with parallel.context 2: not built"));
  CHECK(contains(refused({.context = 2}, 2, [](TrainJob& j) { j.hf_shift_bug = true; }), "numerics.hf_shift_bug"));
}
