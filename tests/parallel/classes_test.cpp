// Class tables over ranks against one rank (rice test 5, G = 2 and 4): bits, bytes, what a rank holds, checkpoints.
#include "parallel/classes.h"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <csignal>

#include "parallel/bytes.h"
#include "tests/devices/foreign_device.h"
#include "tests/parallel/class_world.h"

using namespace ov;
using namespace ov::test;

namespace {

std::int64_t total(Communicator& ranks, std::int64_t own) {
  const Tensor t = Tensor::of(std::vector<std::int64_t>{own}, {1});
  ranks.all_reduce(t);
  return t.data<std::int64_t>()[0];
}

struct Shared {
  int data, classes, zero = 1;
  std::string said() const { return cat("dp ", data, " (classes ", classes, "), zero ", zero); }
};

const std::vector<ClassCase> cases = {{},
                                      {.softmax = true, .density = 0.5},
                                      {.density = 0.5},
                                      {.density = 0.1},  // one class a draw: positives alone
                                      {.softmax = true, .density = 0.1, .blocks = 7},
                                      {.dtype = Dtype::bf16, .density = 0.5},
                                      {.softmax = true, .dtype = Dtype::f64, .leaves = 3},
                                      {.characters = 0, .leaves = 1},
                                      {.embedding = 1100},  // the norm's chunks lie within blocks and across borders
                                      {.classes = 3, .density = 0.5, .blocks = 16}};  // as many blocks as classes

}  // namespace

TEST_CASE("class tables: blocks divide the rows, ranks the blocks, and every class has one of each") {
  for (const std::int64_t K : {1, 3, 10, 64, 1000})
    for (const std::int64_t B : {std::int64_t{1}, std::int64_t{3}, std::int64_t{4}, std::int64_t{7}, K}) {
      if (B > K) continue;
      for (const int n : {1, 2, 3, 4, 7}) {
        const ClassBlocks blocks{K, B, n};
        // The smallest power of two that will do: a rank's blocks are a node of the tree over blocks.
        const std::int64_t each = blocks.each();
        CHECK((each & (each - 1)) == 0);
        CHECK(each * n >= B);
        CHECK((each == 1 || each / 2 * n < B));
        std::int64_t next = 0;
        for (int r = 0; r < n; ++r) {
          const Range of = blocks.of_rank(r);
          CHECK((r < blocks.holders()) == (of.size() > 0));
          for (std::int64_t b = of.begin; b < of.end; ++b) {
            CHECK(blocks.holder(b) == r);
            CHECK(blocks.rows(b).begin == next);
            for (; next < blocks.rows(b).end; ++next)
              if (blocks.block_of(next) != b) FAIL("class ", next, " of ", K, " in ", B);
          }
        }
        CHECK(next == K);
      }
    }
}

TEST_CASE("rice test 5, G = 2 and 4: every loss, draw and type gives one rank's bits, step by step (R-31)") {
  const std::vector<Shared> meshes = {{2, 2}, {4, 4}, {4, 2, 1}, {4, 2, 2}, {4, 2, 0}, {8, 4, 1}};
  std::size_t next = 0;
  for (const ClassCase& c : cases) {
    ClassRun one(c, one_rank());
    const std::string expected = steps_of(one.engine, 2);
    for (const Shared& m : {meshes[next++ % meshes.size()], meshes[next++ % meshes.size()]}) {
      if (m.classes > c.blocks) continue;
      INFO("case ", &c - cases.data(), ", ", m.said());
      all_well(in_ranks(m.data, 60, [&](ProcessRanks& ranks) {
        ClassRun run(c, ranks, m.classes, m.zero);
        if (const std::string got = steps_of(run.engine, 2); got != expected)
          input_error("not as one rank:\n", got, expected);
        ranks.barrier();
      }));
    }
  }
}

// One block is the order of one rank without blocks. In f64 another order moves a sum of some hundred terms by less
// than 2^-40 of it; in f32 by what rice test 5 allows.
TEST_CASE("rice test 5: blocks, three ranks and train.grad_sum chain are other orders of the same sums") {
  for (const bool softmax : {false, true})
    for (const Dtype dtype : {Dtype::f32, Dtype::f64}) {
      const double bound = dtype == Dtype::f32 ? 1e-6 : 0x1p-40;
      ClassCase c{.softmax = softmax, .dtype = dtype, .density = 0.5, .embedding = 700, .blocks = 1};
      ClassRun whole(c, one_rank());
      const StepReport expected = whole.engine.step();
      const auto near = [&](const StepReport& r, const std::string& what) {
        const double loss = std::abs(r.loss - expected.loss) / expected.loss,
                     norm = std::abs(r.gradient_norm - expected.gradient_norm) / expected.gradient_norm;
        if (!(loss <= bound && norm <= bound)) input_error(what, ": loss ", loss, ", norm ", norm, " away");
        for (const char* part : {"object_accuracy", "text_recall"})
          if (r.parts.at(part).as_double() != expected.parts.at(part).as_double()) input_error(what, ": ", part);
      };
      for (const std::int64_t blocks : {2, 4, 7}) {
        c.blocks = blocks;
        ClassRun run(c, one_rank());
        near(run.engine.step(), cat(blocks, " blocks"));
      }
      for (const auto& [n, tree] : {std::pair{3, true}, {3, false}, {2, false}})
        all_well(in_ranks(n, 60, [&, n = n, tree = tree](ProcessRanks& ranks) {
          ClassCase d = c;
          d.blocks = 4, d.tree = tree;
          ClassRun run(d, ranks, n);
          near(run.engine.step(), cat(n, " ranks, tree ", tree));
          ranks.barrier();
        }));
      // The twin: a label at a border that is another class.
      c.blocks = 4, c.shift = 1;
      ClassRun other(c, one_rank());
      CHECK(thrown([&] { near(other.engine.step(), "another label"); }) != "");
    }
}

TEST_CASE("foreign: class tables in blocks have the cpu's bits on a device that the host cannot read") {
  for (const bool softmax : {false, true}) {
    const auto said = [&](Device& device) {
      ClassRun run({.softmax = softmax, .density = 0.5, .device = &device}, one_rank(), 1, 1, 0);
      std::string all;
      for (int i = 0; i < 2; ++i) {
        const StepReport r = run.engine.step();
        all += cat(std::hexfloat, r.loss, " ", r.gradient_norm, " ", r.parts.dump(), "\n");
      }
      return all;
    };
    const std::string expected = said(cpu());
    ForeignDevice device(ForeignDevice::Policy::lazy);
    CHECK(said(device) == expected);
  }
}

TEST_CASE("class tables: what ranks send in a step, and what they hold, is what parallel/classes.h says") {
  for (const int n : {2, 4})
    for (const auto& [softmax, tree, density] :
         {std::tuple{false, true, 1.0}, {true, true, 0.5}, {false, false, 0.5}}) {
      const ClassCase c{.softmax = softmax, .density = density, .leaves = 8, .tree = tree};
      all_well(in_ranks(n, 60, [&, n = n, tree = tree](ProcessRanks& ranks) {
        ClassRun run(c, ranks, n, 1, 0);
        const std::int64_t start = run.mesh.experts.sent();
        run.engine.step();
        const std::int64_t sent = total(ranks, run.mesh.experts.sent() - start);
        std::int64_t S = 0, tables = 0, own = 0;
        for (const auto& e : run.model.parameters().entries()) {
          (e.expert_holder >= 0 ? tables : S) += e.whole.numel();
          if (e.expert_holder >= 0) own += e.shape.numel();
        }
        const Spoken spoken(run.step, run.options, run.model.head());
        const std::int64_t expected =
            ClassBytes{.ranks = n,
                       .turns = c.leaves / n,
                       .regions = spoken.regions,
                       .numbers = spoken.numbers,
                       .labels = spoken.labels,
                       .tables = 2,
                       .width = run.model.head().config.embedding,
                       .rest = S,
                       .trained = S + tables,
                       .shared = WholeChunks(run.model.parameters(), run.engine.parallel()).shared(),
                       .reports = 1 + run.objective.scalars(),
                       .tree = tree}
                .total();
        if (sent != expected) input_error("classes ", n, ": ", sent, " bytes, expected ", expected);
        if (run.model.parameters().values().numel() != S + own || run.engine.gradients().numel() != S + own ||
            run.engine.optimizer().first_moment().numel() != S + own || total(ranks, own) != tables || own == tables)
          input_error("classes ", n, ": holds ", own, " of ", tables);
      }));
    }
}

TEST_CASE("class tables: a run of 4 ranks, one of them killed, resumed by 2 and by one, is one rank's files") {
  const ClassFiles world;
  const VisionPretraining one = world.run("one");
  world.train(one, one_rank());
  const std::string expected = world.files(one);
  VisionPretraining o = world.run("other");
  const auto in = [&](int n, int classes, const std::function<void(const std::vector<pid_t>&)>& started = {}) {
    o.train.classes = classes;
    return in_ranks(
        n, 60,
        [&](ProcessRanks& ranks) {
          world.train(o, ranks);
          ranks.barrier();
        },
        started);
  };
  const auto ended = in(4, 4, [&](const std::vector<pid_t>& children) {
    for (int i = 0; i < 20000 && !fs::exists(o.out + "/checkpoints/step-00000002/DONE"); ++i) ::usleep(1000);
    ::kill(children[2], SIGKILL);
  });
  int killed = 0, spoke = 0;
  for (const Ended& e : ended) killed += e.exit == -SIGKILL, spoke += !e.error.empty();
  CHECK((killed == 0 || spoke == 1));  // it may have been done; else one says so, and none waits
  for (const Ended& e : ended) CHECK((killed == 0) == (e.exit == 0));
  all_well(in(2, 2));
  CHECK(world.files(o) == expected);
  world.cut(o);
  all_well(in(4, 2));
  CHECK(world.files(o) == expected);
  world.cut(o);
  o.train.classes = 1;
  world.train(o, one_rank());
  CHECK(world.files(o) == expected);
}

TEST_CASE("class tables: a step without a region loses nothing, whatever its rows hold") {
  const Tensor weights = Tensor::of(std::vector<float>{1, 1}, {2});
  const Tensor negatives = Tensor::of(std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8}, {2, 2, 2});  // [blocks, rows, ..]
  CHECK(joined_cluster_loss(negatives, weights, 0).loss.to_vector<float>()[0] == 0);
  CHECK(joined_cluster_loss(negatives, weights, 2).loss.to_vector<float>()[0] > 0);
  const Tensor logits = Tensor::of(std::vector<float>{1, 0, 2, 1, 0, 2, 1, 0, 2, 1, 0, 2}, {2, 2, 3});
  CHECK(joined_cross_entropy(logits, {0, 1}, weights, 0).loss.to_vector<float>()[0] == 0);
  CHECK(joined_cross_entropy(logits, {0, 1}, weights, 2).loss.to_vector<float>()[0] > 0);
}

TEST_CASE("class tables: a mesh says what each rank holds, and one that does not fit is refused by name") {
  all_well(in_ranks(4, 60, [&](ProcessRanks& ranks) {
    ClassRun run({}, ranks, 2);
    const std::string mesh = run.engine.parallel().describe(6);
    for (const char* line :
         {"mesh: dp 4 (classes 2)", "rank 1: 2 of 6 micro-batches, from 1", "part 1 of 2 of the class tables"})
      if (mesh.find(line) == mesh.npos) input_error("no '", line, "' in\n", mesh);
  }));
  const auto refused = [](int n, int classes, const ClassCase& c) {
    std::string all;
    for (const Ended& e : in_ranks(n, 60, [&](ProcessRanks& ranks) { ClassRun run(c, ranks, classes); })) {
      CHECK(e.exit == 2);
      all += e.error;
    }
    return all;
  };
  CHECK(contains(refused(3, 2, {}), "parallel.classes 2: does not divide 3 ranks"));
  CHECK(contains(refused(2, 2, {.blocks = 1}),
                 "parallel.classes 2: rice.class_blocks is 1, and a rank holds whole blocks; give at least 2"));
  ClassRun run({}, one_rank());
  StepOptions two = run.options;
  two.classes = 2;
  CHECK(contains(thrown([&] { StepEngine engine(run.objective, two); }), "parallel.classes 2: pretrain --what vision"));
}
