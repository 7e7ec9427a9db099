// Tensor and sequence parallelism against one rank: gradients of what passes between ranks, whole runs, checkpoints,
// bytes.
#include <doctest/doctest.h>

#include <cmath>

#include "base/config.h"
#include "comm/group.h"
#include "parallel/bytes.h"
#include "parallel/mesh.h"
#include "parallel/tensor.h"
#include "tests/autograd/gradient_check.h"
#include "tests/parallel/rounding.h"

using namespace ov;
using namespace ov::test;

namespace {

class RankExample : public CheckExample {
 public:
  RankExample(std::uint64_t seed, std::int64_t edge, Communicator& ranks) : CheckExample(seed, edge), ranks_(ranks) {}
  Communicator& ranks() override { return ranks_; }

 private:
  Communicator& ranks_;
};

// As check_gradient, of the sum over ranks of what their outputs come to; one rank's element is moved at a time. An
// output that all ranks have alike counts once.
double worst_gradient(const OpRow& op, std::uint64_t seed, std::int64_t edge, Communicator& ranks) {
  const bool alike = op.op == Op::vocabulary_cross_entropy;
  RankExample e(seed + static_cast<std::uint64_t>(ranks.rank()), edge, ranks);
  Tape tape(e.gradients);
  e.start(&tape);
  const std::vector<Var> outputs = op.example(e);
  std::vector<Tensor> cotangents;
  for (const Var& y : outputs)
    cotangents.push_back(alike ? Tensor::of(std::vector<double>{0.7}, {1}) : e.random(y.shape()));
  const auto loss = [&] {
    e.start(nullptr);
    const std::vector<Var> y = op.example(e);
    double sum = 0;
    for (std::size_t k = 0; k < y.size() && (!alike || ranks.rank() == 0); ++k)
      for (std::int64_t i = 0; i < y[k].value.numel(); ++i)
        sum += y[k].value.data<double>()[i] * cotangents[k].data<double>()[i];
    return total(ranks, sum);
  };
  tape.backward(outputs, cotangents);
  double worst = 0;
  for (auto& leaf : e.leaves()) {
    const Tensor& x = leaf.parameter->value;
    const Tensor g = tape.gradient(leaf.var);
    for (int mover = 0; mover < ranks.ranks(); ++mover) {
      const bool moves = mover == ranks.rank();
      const auto n = static_cast<std::int64_t>(total(ranks, moves ? static_cast<double>(x.numel()) : 0));
      for (std::int64_t i = 0; i < n; ++i) {
        constexpr double h = 1e-3;
        double f[4];
        const double steps[4] = {-2 * h, -h, h, 2 * h};
        for (int k = 0; k < 4; ++k) {
          const double old = moves ? x.data<double>()[i] : 0;
          if (moves) x.data<double>()[i] = old + steps[k];
          f[k] = loss();
          if (moves) x.data<double>()[i] = old;
        }
        const double expected = (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * h);
        if (moves)
          worst = std::max(worst, std::abs(g.data<double>()[i] - expected) / std::max(std::abs(expected), 1e-3));
      }
    }
  }
  return worst;
}

}  // namespace

TEST_CASE("every op between ranks: its backward is the derivative of its forward, of all ranks together") {
  for (const int n : {2, 3})
    for (const Ended& e : in_ranks(n, 60, [](ProcessRanks& ranks) {
           for (const OpRow* op : rows()) {
             if (op->op != Op::exchange_rows && op->op != Op::gather_rows && op->op != Op::reduce_rows &&
                 op->op != Op::vocabulary_cross_entropy && op->op != Op::all_to_all_rows)
               continue;
             for (const std::int64_t edge : {0, 1, 2, 4})  // fewer rows than ranks, too
               if (const double worst = worst_gradient(*op, 3, edge, ranks); !(worst <= 10 * op->tolerance))
                 input_error(op->name, " at ", edge, ": ", worst);
           }
         }))
      CHECK_MESSAGE(e.exit == 0, e.error);
}

TEST_CASE("tensor parallel: 20 steps of dp 2 x tp 2 and of tp 2 x pp 2 are one rank's within its own rounding") {
  compare(MeshWorld(), {{.data = 2, .tensor = 2}, {.pipeline = 2, .tensor = 2}}, false);
}

TEST_CASE("tensor parallel: every mesh of up to eight ranks, dense and with experts, in f32 and f64" *
          doctest::skip()) {
  const std::vector<Ways> meshes = {{.tensor = 2},
                                    {.tensor = 4},
                                    {.data = 2, .tensor = 2, .zero = 0},
                                    {.data = 2, .tensor = 2},
                                    {.data = 2, .tensor = 2, .zero = 2},
                                    {.data = 2, .tensor = 4},
                                    {.pipeline = 2, .tensor = 2},
                                    {.data = 2, .pipeline = 2, .tensor = 2}};
  compare(MeshWorld(), meshes, true);
  std::vector<Ways> of_a_mixture = meshes;
  of_a_mixture.push_back({.data = 2, .tensor = 2, .experts = 2});
  compare(MeshWorld({"--text.experts", "8", "--text.experts_per_token", "2", "--text.expert_intermediate", "32"}),
          of_a_mixture, true);
}

TEST_CASE("a checkpoint does not show the mesh: loaded and saved by any, it has one rank's bits") {
  const MeshWorld world;
  TrainJob one = world.job("alone");
  one.train.steps = 2;
  quietly(one);
  const auto files = [](const std::string& out) { return saved_bits(checkpoints(out).back()); };
  for (const auto& divided : {std::array{1, 2, 1}, {1, 4, 1}, {2, 2, 1}, {3, 1, 1}}) {
    const int data = divided[0], tensor = divided[1], zero = divided[2];
    TrainJob job = world.job(cat("again", data, tensor));
    job.train.steps = 2, job.train.tensor = tensor, job.train.zero = zero;
    for (const Ended& e : in_ranks(data * tensor, 60, [&](ProcessRanks& ranks) {
           Mesh mesh(ranks, tensor);
           const auto model = load_model(job.model_dir, {.tensor = &mesh.tensor});
           LoaderOptions records = job.data;
           Loader loader(records, loader_test::small_processor());
           LanguageObjective objective(*model, loader, job.train);
           StepEngine engine(objective, job.train, mesh.data);
           load_into(engine, checkpoints(one.out).back());
           save_checkpoint(job.out, engine.state(), Json::object());
           ranks.barrier();
         }))
      REQUIRE_MESSAGE(e.exit == 0, e.error);
    CHECK_MESSAGE(files(job.out) == files(one.out), "dp ", data, " x tp ", tensor);
  }
}

TEST_CASE("what tensor-parallel ranks send in a step is what parallel/tensor.h says") {
  ModelConfig c = small_config();
  c.vision.heads = 4, c.text.heads = 8, c.text.kv_heads = 4, c.text.vocabulary = 100;
  MicroBatch row;
  add_sample(row, 1, 2, 4, 9);
  add_sample(row, 2, 0, 0, 6);
  for (const int t : {2, 4})
    for (const Ended& e : in_ranks(t, 60, [&](ProcessRanks& ranks) {
           Mesh mesh(ranks, t);
           Onevision model(c, mesh.tensor);
           model.parameters().allocate(Dtype::f32, cpu());
           initialize(model.parameters(), {.matrix = "uniform_fan_in"}, 1);
           FixedSteps data({as_step({row, row})});
           TrainOptions options = short_run(1);
           options.tensor = t, options.checksum_every = 0;
           LanguageObjective objective(model, data, options);
           StepEngine engine(objective, options, mesh.data);
           engine.step();
           const auto labelled = loss_targets(as_step({row}), NormaliseBy::global_token_mean).micro_batches.at(0).rows;
           std::int64_t uncut = 0;
           for (const auto& entry : model.parameters().entries())
             uncut += entry.cut == Cut::none ? entry.shape.numel() : 0;
           const std::int64_t expected = TensorBytes{.ranks = t,
                                                     .leaves = 2,
                                                     .tokens = 2 * row.tokens(),
                                                     .patches = 2 * (row.pixel_values.dim(0) + 1),
                                                     .labelled = 2 * static_cast<std::int64_t>(labelled.size()),
                                                     .layers = c.text.layers,
                                                     .width = c.text.hidden,
                                                     .blocks = c.vision.depth,
                                                     .tower_width = c.vision.hidden,
                                                     .uncut = uncut,
                                                     .held = model.parameters().trained()}
                                             .total();
           const auto sent = static_cast<std::int64_t>(total(ranks, static_cast<double>(mesh.tensor.sent())));
           if (sent != expected) input_error("tp ", t, ": ", sent, " bytes, expected ", expected);
           if (mesh.data.sent() != 0) input_error("one copy of the model has nobody to tell");
         }))
      CHECK_MESSAGE(e.exit == 0, e.error);
}

TEST_CASE("a mesh that does not fit is refused by name") {
  const MeshWorld world;
  const auto refused = [&](int ranks, int tensor, const std::function<void(TrainJob&)>& change = {}) {
    TrainJob job = world.job("refused");
    if (change) change(job);
    return refused_by_ranks(ranks, {.tensor = tensor}, job);
  };
  CHECK(contains(refused(3, 2), "parallel.tensor 2: does not divide 3 ranks"));
  CHECK(contains(refused(3, 3), "parallel.tensor 3: does not divide"));
  CHECK(contains(refused_by_ranks(2, {.tensor = 2, .overlap = true}, world.job("refused")),
                 "comm.overlap true has no effect with one copy of the model"));
  CHECK(contains(refused(2, 2, [](TrainJob& j) { j.lora.rank = 2, j.lora.targets = {"q_proj"}; }), "lora.rank 2"));
  // A word that is no rank's.
  for (const Ended& e : in_ranks(2, 60, [](ProcessRanks& ranks) {
         Mesh mesh(ranks, 2);
         const Onevision model(six_layers(false, false), mesh.tensor);
         for (const std::int64_t id : {-1, 16})
           if (const std::string said = thrown([&] {
                 own_words(model.parameters(), {0, id}, 8);
               });
               said != cat("input_ids: ", id, " outside of [0, 16)"))
             input_error("said of ", id, ": ", said);
       }))
    CHECK_MESSAGE(e.exit == 0, e.error);
}
