// What ranks call, whatever their micro-batches hold and whatever is frozen: the same, in one order. And each of those
// calls as the one in which a rank dies.
#include <doctest/doctest.h>

#include <csignal>
#include <numeric>

#include "base/clock.h"
#include "tests/parallel/context_world.h"

using namespace ov;
using namespace ov::test;

namespace {

struct Case {
  Ways ways;
  std::vector<std::string> modules = {"language_model", "adapter", "vision_model"};
  std::vector<MicroBatch> rows;
};

// One engine, all of whose calls on every axis are recorded.
struct Run {
  mutable Mesh mesh;
  Recorder tensor{mesh.tensor}, experts{mesh.experts}, data{mesh.data};
  Onevision model;
  FixedSteps steps;
  LanguageObjective objective;
  StepEngine engine;

  Run(const Case& c, Communicator& world)
      : mesh(world, c.ways.tensor, 1, 1, c.ways.experts),
        model(config(c.ways.experts > 1), tensor, one_rank(), 1, experts),
        steps({as_step(c.rows)}),
        objective(allocated(), steps, options(c)),
        engine(objective, options(c), data) {}
  static ModelConfig config(bool mixture) {
    ModelConfig m = small_config();
    m.vision.heads = 4, m.text.vocabulary = 100;
    if (mixture) m.text.experts = 4, m.text.experts_per_token = 2, m.text.expert_intermediate = 24;
    return m;
  }
  Onevision& allocated() {
    model.parameters().allocate(Dtype::f32, cpu());
    initialize(model.parameters(), {.matrix = "uniform_fan_in"}, 1);
    return model;
  }
  static TrainOptions options(const Case& c) {
    TrainOptions o = short_run(2);
    o.modules = c.modules;
    c.ways.set(o);
    return o;
  }
  // On each axis those of its first rank.
  void require_alike(const std::string& what) const {
    std::int64_t all = 0;
    const std::pair<Communicator*, const Recorder*> axes[] = {
        {&mesh.tensor, &tensor}, {&mesh.experts, &experts}, {&mesh.data, &data}};
    for (const auto& [ranks, recorded] : axes) {
      const std::string& calls = recorded->calls;
      const std::string first = broadcast_text(*ranks, calls, 0);
      require(calls == first, cat(what, ":\n", calls, "here, there\n", first));
      all += ranks->ranks() > 1 ? std::count(calls.begin(), calls.end(), '\n') : 0;
    }
    require(all >= 4, "calls were recorded");
  }
};

// Text alone; no label anywhere; and a leaf without a token, one without a label, every other one without a picture.
std::vector<std::vector<MicroBatch>> kinds_of_rows() {
  std::vector<MicroBatch> texts, unlabelled;
  for (std::uint64_t i = 0; i < 5; ++i) {
    texts.push_back(text_row(i + 1));
    unlabelled.push_back(without_labels(i % 2 ? text_row(i + 1) : even_row(i + 1)));
  }
  return {texts, unlabelled, uneven_step(5).micro_batches};
}

// All ranks of a job, of which this one dies at its call number `dies_at`, counted from 0.
class Mortal : public Group {
 public:
  Mortal(Communicator& world, int dies_at) : Group(world, all_of(world)), left_(dies_at) {}

 protected:
  void exchange(Call call, const Parts& to, const Parts& from) override {
    if (left_-- == 0) ::raise(SIGKILL);
    Group::exchange(call, to, from);
  }

 private:
  static std::vector<int> all_of(const Communicator& world) {
    std::vector<int> all(static_cast<std::size_t>(world.ranks()));
    std::iota(all.begin(), all.end(), 0);
    return all;
  }
  int left_;  // calls until it dies
};

}  // namespace

TEST_CASE("calls: text alone, no label, no token, no picture, frozen modules: all ranks make the same (R-31)") {
  for (const Ways& ways : {Ways{.data = 2, .zero = 0}, Ways{.data = 4, .zero = 1}, Ways{.data = 4, .zero = 2},
                           Ways{.data = 2, .zero = 3}, Ways{.tensor = 2}, Ways{.data = 2, .tensor = 2, .zero = 3},
                           Ways{.data = 4, .experts = 2}, Ways{.data = 4, .zero = 3, .experts = 2}})
    for (const Ended& e : in_ranks(ways.ranks(), 60, [&](ProcessRanks& ranks) {
           Case c{.ways = ways, .rows = {}};
           for (const auto& rows : kinds_of_rows())
             for (const char* trained : {"", "adapter", "vision_model", "language_model"}) {
               c.rows = rows, c.modules = *trained ? std::vector<std::string>{trained} : Case().modules;
               Run run(c, ranks);
               for (int i = 0; i < 2; ++i) run.engine.step();
               run.require_alike(*trained ? trained : "everything is trained");
             }
         }))
      CHECK_MESSAGE(e.exit == 0, ways.said(), ": ", e.error);
}

TEST_CASE("calls: a rank that is killed at any of its calls, one after another, is known to the others at once") {
  for (const Ways& ways : {Ways{.data = 2, .zero = 3}, Ways{.tensor = 2}}) {
    const Case c{.ways = ways, .rows = uneven_step(4).micro_batches};
    int at = 0;
    for (bool killed = true; killed; ++at) {
      const int victim = at % 2, other = 1 - victim;
      INFO(ways.said(), ": rank ", victim, " at its call ", at);
      const double start = monotonic_seconds();
      const auto ended = in_ranks(2, 60, [&](ProcessRanks& ranks) {
        Mortal world(ranks, ranks.rank() == victim ? at : -1);
        Run run(c, world);
        run.engine.step();
        ranks.barrier();
      });
      killed = ended[static_cast<std::size_t>(victim)].exit == -SIGKILL;
      const Ended& left = ended[static_cast<std::size_t>(other)];
      CHECK(left.exit == (killed ? 3 : 0));
      CHECK(monotonic_seconds() - start < 20);  // comm.timeout is 60
      CHECK_MESSAGE(contains(left.error, cat("rank ", victim, " ended without a word in step ")) == killed, left.error);
    }
    CHECK(at > 20);
  }
}
