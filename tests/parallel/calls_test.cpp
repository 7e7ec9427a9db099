// What ranks call, whatever their micro-batches hold and whatever is frozen: the same, in one order. Each of those
// calls as the one in which a rank dies; and a rank that takes ten times as long from call to call.
#include <doctest/doctest.h>

#include <csignal>
#include <ctime>
#include <numeric>
#include <thread>

#include "base/clock.h"
#include "tests/parallel/class_world.h"
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
  Recorder tensor{mesh.tensor}, context{mesh.context}, pipe{mesh.pipe}, experts{mesh.experts}, data{mesh.data};
  Onevision model;
  FixedSteps steps;
  LanguageObjective objective;
  StepEngine engine;

  Run(const Case& c, Communicator& world)
      : mesh(world, c.ways.tensor, c.ways.pipeline, c.ways.context, c.ways.experts),
        model(config(c.ways), tensor, pipe, c.ways.chunks, experts),
        steps({as_step(c.rows)}),
        objective(allocated(), steps, options(c), context),
        engine(objective, options(c), data) {}
  static ModelConfig config(const Ways& ways) {
    ModelConfig m = small_config();
    m.vision.heads = 4, m.text.vocabulary = 100;
    m.text.layers = ways.pipeline == 1 ? 2 : 2 * ways.chunks;
    if (ways.experts > 1) m.text.experts = 4, m.text.experts_per_token = 2, m.text.expert_intermediate = 24;
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
  // On each axis those of its first rank. A stage hands on what it made when it has made something: there, as wherever
  // it differs how much is said, what one says to another is what that one hears, in order.
  void require_alike(const std::string& what) const {
    const std::pair<Communicator*, const Recorder*> axes[] = {{&mesh.tensor, &tensor},
                                                              {&mesh.context, &context},
                                                              {&mesh.pipe, &pipe},
                                                              {&mesh.experts, &experts},
                                                              {&mesh.data, &data}};
    std::int64_t all = 0;
    for (const auto& [ranks, recorded] : axes) {
      const bool stages = ranks == &mesh.pipe;
      std::string calls;
      for (const std::string_view line : lines(recorded->calls))
        if (!stages || !line.starts_with(name_of(Call::all_to_all))) calls += cat(line, "\n");
      const std::string first = broadcast_text(*ranks, calls, 0);
      require(calls == first, cat(what, ":\n", calls, "here, there\n", first));
      all += ranks->ranks() > 1 ? std::count(calls.begin(), calls.end(), '\n') : 0;
      for (int from = 0; from < ranks->ranks(); ++from)
        for (int to = 0; to < ranks->ranks(); ++to) {
          const std::string said = broadcast_text(*ranks, of(recorded->said_to, to), from);
          if (ranks->rank() != to || from == to) continue;
          const std::string heard = of(recorded->heard_from, from);
          require(heard == said, cat(what, ": ", from, " says\n", said, to, " hears\n", heard));
          require(!stages || std::abs(from - to) != 1 || !said.empty(), "stages hand on what they made");
        }
    }
    require(all >= 4, "calls were recorded");
  }
  static std::string of(const std::map<int, std::string>& by_peer, int peer) {
    const auto found = by_peer.find(peer);
    return found == by_peer.end() ? "" : found->second;
  }
  static std::vector<std::string_view> lines(std::string_view text) {
    std::vector<std::string_view> all;
    for (std::size_t end; (end = text.find('\n')) != text.npos; text.remove_prefix(end + 1))
      all.push_back(text.substr(0, end));
    return all;
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

std::vector<int> all_of(const Communicator& world) {
  std::vector<int> all(static_cast<std::size_t>(world.ranks()));
  std::iota(all.begin(), all.end(), 0);
  return all;
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
  int left_;  // calls until it dies
};

// All ranks of a job, of which this one takes `times` as long as it works from the end of a call to the next: it sleeps
// for the rest, which is a multiple of processor time, so that other processes do not slow it further.
class Slow : public Group {
 public:
  Slow(Communicator& world, int times) : Group(world, all_of(world)), times_(times) {}
  double slept = 0;    // s
  double longest = 0;  // of it, before one call

 protected:
  void exchange(Call call, const Parts& to, const Parts& from) override {
    const double more = (times_ - 1) * (worked() - since_);
    std::this_thread::sleep_for(std::chrono::duration<double>(more));
    slept += more, longest = std::max(longest, more);
    Group::exchange(call, to, from);
    since_ = worked();
  }

 private:
  static double worked() {  // s, of this thread
    timespec t;
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
  }
  const int times_;
  double since_ = worked();
};

// The calls of all axes of a mesh in which copies share class tables.
class Noted : public Group {
 public:
  Noted(Communicator& world, int sharing) : Group(world, all_of(world)), axes_{.experts = sharing} {}
  std::map<std::string, std::string> calls;  // by axis

 protected:
  void exchange(Call call, const Parts& to, const Parts& from) override {
    for (int r = 0; r < ranks(); ++r)
      if (r != rank() && (to[static_cast<std::size_t>(r)] || from[static_cast<std::size_t>(r)])) {
        calls[axis_between(rank(), r, axes_)] += cat(name_of(call), "\n");
        break;
      }
    Group::exchange(call, to, from);
  }

 private:
  const Axes axes_;
};

// `run` makes the steps of a rank, in two of them, one of which dies: at its first call, at its second, until it lives.
void dies_at_any_call(const std::string& what, const std::function<void(Communicator&)>& run) {
  int at = 0;
  for (bool killed = true; killed; ++at) {
    const int victim = at % 2, other = 1 - victim;
    INFO(what, ": rank ", victim, " at its call ", at);
    const double start = monotonic_seconds();
    const auto ended = in_ranks(2, 60, [&](ProcessRanks& ranks) {
      Mortal world(ranks, ranks.rank() == victim ? at : -1);
      run(world);
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

}  // namespace

TEST_CASE("calls: text alone, no label, no token, no picture, frozen modules: all ranks make the same (R-31)") {
  for (const Ways& ways :
       {Ways{.data = 2, .zero = 0}, Ways{.data = 4, .zero = 1}, Ways{.data = 4, .zero = 2}, Ways{.data = 2, .zero = 3},
        Ways{.tensor = 2}, Ways{.data = 2, .tensor = 2, .zero = 3}, Ways{.data = 4, .experts = 2},
        Ways{.data = 4, .zero = 3, .experts = 2}, Ways{.data = 2, .pipeline = 2, .chunks = 2},
        Ways{.pipeline = 2, .tensor = 2}, Ways{.data = 2, .context = 2}, Ways{.tensor = 2, .context = 2}})
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

TEST_CASE("calls: class tables that ranks share: no string, no region, no leaf: all ranks make the same") {
  for (const auto& [n, sharing] : {std::pair{2, 2}, {4, 2}, {4, 4}})
    for (const ClassCase& c : {ClassCase{}, {.characters = 0}, {.leaves = 1}, {.softmax = true, .density = 0.1}})
      for (const Ended& e : in_ranks(n, 60, [&, n = n, sharing = sharing](ProcessRanks& ranks) {
             Noted noted(ranks, sharing);
             ClassRun run(c, noted, sharing);
             for (int i = 0; i < 2; ++i) run.engine.step();
             // A copy that has no turn makes none of a turn's calls, and nor do those that share with it.
             std::int64_t all = 0;
             Mesh mesh(ranks, 1, 1, 1, 1, sharing);
             for (const auto& [axis, group] : {std::pair{"experts", &mesh.experts}, {"data", &mesh.data}}) {
               const std::string first = broadcast_text(*group, noted.calls[axis], 0);
               require(noted.calls[axis] == first, cat(axis, ":\n", noted.calls[axis], "here, there\n", first));
               all += std::count(first.begin(), first.end(), '\n');
             }
             require(all > 20, "calls were recorded");
           }))
        CHECK_MESSAGE(e.exit == 0, n, " ranks, ", sharing, " share: ", e.error);
}

TEST_CASE("calls: a rank that is killed at any of its calls, one after another, is known to the others at once") {
  for (const Ways& ways : {Ways{.data = 2, .zero = 3}, Ways{.tensor = 2}, Ways{.pipeline = 2, .chunks = 2},
                           Ways{.context = 2}, Ways{.data = 2, .experts = 2}})
    dies_at_any_call(ways.said(), [&](Communicator& world) {
      const Case c{.ways = ways, .rows = uneven_step(4).micro_batches};
      Run run(c, world);
      run.engine.step();
    });
  dies_at_any_call("class tables", [](Communicator& world) {
    ClassRun run({.leaves = 4}, world, 2);
    run.engine.step();
  });
}

// Its sleep, all of it, is longer than comm.timeout, and before one call shorter.
TEST_CASE("calls: a rank that takes ten times as long only slows: the others wait for it, and the bits are the same") {
  constexpr double timeout = 4;
  for (const Ways& ways : {Ways{.data = 2, .zero = 2}, Ways{.pipeline = 2}})
    for (const Ended& e : in_ranks(2, timeout, [&](ProcessRanks& ranks) {
           const Case c{.ways = ways, .rows = uneven_step(4).micro_batches};
           Slow world(ranks, ranks.rank() == 1 ? 10 : 1);
           Run run(c, world);
           std::string said;
           int n = 0;
           for (const Tensor enough = Tensor::of(std::vector<std::int64_t>{0}, {1});
                enough.data<std::int64_t>()[0] == 0; ranks.broadcast(enough, 1), ++n) {
             said += steps_of(run.engine, 1);
             if (world.slept > 1.1 * timeout) enough.data<std::int64_t>()[0] = 1;
           }
           require(world.longest < timeout, cat("it slept ", world.longest, " s before one call"));
           ranks.barrier();
           Run one({.ways = {}, .rows = c.rows}, one_rank());
           require(steps_of(one.engine, n) == said, cat("not one rank's bits in ", n, " steps"));
         }))
      CHECK_MESSAGE(e.exit == 0, ways.said(), ": ", e.error);
}
