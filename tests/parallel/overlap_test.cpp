// Sums over ranks beside the backward pass: when they begin, what they leave, and how they end.
#include "parallel/overlap.h"

#include <doctest/doctest.h>
#include <signal.h>

#include <chrono>
#include <filesystem>

#include "autograd/ops.h"
#include "autograd/ops/on_gradient.h"
#include "base/clock.h"
#include "base/parallel.h"
#include "comm/group.h"
#include "kernels/adamw.h"
#include "nn/init.h"
#include "tests/check.h"
#include "tests/comm/forked_ranks.h"
#include "tests/parallel/mesh_world.h"
#include "tests/train/training_run.h"

using namespace ov;
using namespace ov::test;

namespace {

std::ptrdiff_t threads_here() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/task"), std::filesystem::directory_iterator());
}

// A thread that was joined may stand among the tasks for a moment.
bool threads_become(std::ptrdiff_t expected) {
  const double until = monotonic_seconds() + 10;
  while (threads_here() != expected && monotonic_seconds() < until)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return threads_here() == expected;
}

// All ranks of a communicator. Of the calls beside it notes which they were, alike on all ranks.
class Noted : public Group {
 public:
  explicit Noted(Communicator& world) : Group(world, all_of(world)), lane_(*world.beside()) {}
  Beside* beside() override { return &lane_; }
  int begun() const { return lane_.calls.begun.load(); }
  std::string calls() const { return lane_.calls.said; }

 private:
  static std::vector<int> all_of(const Communicator& world) {
    std::vector<int> all;
    for (int r = 0; r < world.ranks(); ++r) all.push_back(r);
    return all;
  }
  struct Calls : Group {
    using Group::Group;
    void exchange(Call call, const Parts& to, const Parts& from) override {
      begun += call == Call::reduce_scatter;
      said += cat(name_of(call), "\n");
      Group::exchange(call, to, from);
    }
    std::atomic<int> begun = 0;
    std::string said;
  };
  struct Lane : Beside {
    explicit Lane(Beside& world) : calls(world.communicator(), all_of(world.communicator())), world_(world) {}
    Communicator& communicator() override { return calls; }
    bool threaded() const override { return world_.threaded(); }
    void run(const std::function<void()>& f) override { world_.run(f); }
    void join() override { world_.join(); }
    void give_up() override { world_.give_up(); }
    Calls calls;
    Beside& world_;
  };
  Lane lane_;
};

// y = (x A) B, of which A and B are a bucket each; `between` is called when B has gone backward and A has not.
class TwoTables : public Objective {
 public:
  explicit TwoTables(std::function<void()> between = [] {}) : between_(std::move(between)) {
    a_ = set_.declare("a", {64, 64}, Role::matrix), b_ = set_.declare("b", {64, 64}, Role::matrix);
    set_.allocate(Dtype::f32, cpu());
    initialize(set_, {.matrix = "uniform_fan_in"}, 1);
    set_.train([](const Parameter&) { return true; });
  }
  Parameters& parameters() const override { return set_; }
  Loaded prepare(std::int64_t) override { return {.leaves = 4, .denominators = {1}}; }
  void normalise(const std::vector<std::int64_t>&) override {}
  std::int64_t scalars() const override { return 1; }
  void run(std::int64_t leaf, Tape& tape, const Tensor&) override {
    const Tensor x({4, 64}, Dtype::f32, cpu());
    for (std::int64_t i = 0; i < x.numel(); ++i)
      x.data<float>()[i] = 0.01f * static_cast<float>((i * 37 + leaf * 11) % 19 - 9);
    const Var h = on_gradient(linear(tape.input(x), tape.parameter(*a_)), between_);
    const Var y = linear(h, tape.parameter(*b_));
    tape.backward(y, y.value.contiguous_copy());
  }
  Losses losses(std::span<const double>) override { return {}; }
  std::uint64_t batch_checksum() const override { return 0; }
  Json state() const override { return {}; }
  void restore(const Json&) override {}

 private:
  mutable Parameters set_;
  Parameter *a_, *b_;
  std::function<void()> between_;
};

StepOptions two_steps(int zero, bool overlap = true) {
  StepOptions o;
  o.steps = 2, o.zero = zero, o.overlap = overlap, o.bucket = kernels::norm_chunk;
  o.schedule = {.peak = 1e-2, .min = 1e-3, .warmup = 0.1, .first_step = 1};
  return o;
}

void wait_for(const Noted& ranks, int begun) {
  for (const double until = monotonic_seconds() + 20; ranks.begun() < begun && monotonic_seconds() < until;)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

// A model of language with pictures, as mesh_world.h has it, on steps of uneven rows.
struct Language {
  Mesh mesh;
  Onevision model;
  FixedSteps data;
  LanguageObjective objective;
  StepEngine engine;
  struct Case {
    int zero = 0, tensor = 1;
    std::int64_t leaves = 8;
    bool overlap = true, tree = true, recompute = false, tied = true, experts = false;
    Dtype dtype = Dtype::f32;
    std::vector<std::string> modules = {"language_model", "vision_model", "adapter"};
  };
  Language(const Case& c, Communicator& ranks)
      : mesh(ranks, c.tensor),
        model(six_layers(c.tied, c.experts), mesh.tensor, mesh.pipe),
        data({uneven_step(c.leaves)}),
        objective(allocated(c), data, options(c)),
        engine(objective, options(c), mesh.data) {}
  Onevision& allocated(const Case& c) {
    model.parameters().allocate(c.dtype, cpu());
    initialize(model.parameters(), {.matrix = "uniform_fan_in"}, 1);
    model.recompute_blocks = c.recompute;
    return model;
  }
  static TrainOptions options(const Case& c) {
    TrainOptions o = short_run(3);
    o.modules = c.modules, o.tree = c.tree, o.zero = c.zero, o.tensor = c.tensor;
    o.overlap = c.overlap, o.bucket = 2 * kernels::norm_chunk;
    return o;
  }
};

}  // namespace

TEST_CASE("overlap: a stretch is reported when its last use has gone backward, and at the start when it has none") {
  Parameters set;
  Parameter* const twice = set.declare("twice", {64, 64}, Role::matrix);
  Parameter* const once = set.declare("once", {64, 64}, Role::matrix);
  set.declare("never", {64, 64}, Role::matrix);
  Parameter* const again = set.declare("again", {64, 64}, Role::matrix);
  set.allocate(Dtype::f32, cpu());
  initialize(set, {.matrix = "uniform_fan_in"}, 1);
  set.train([](const Parameter&) { return true; });
  const Tensor gradients = set.gradient_buffer();
  gradients.zero();
  std::string events;
  const auto at = [&](const char* name) { return [&events, name] { events += cat(name, " "); }; };
  Tape tape(gradients);
  tape.report(kernels::norm_chunk, [&](std::int64_t k) { events += cat(k, " "); });
  const Tensor x = Tensor::zeros({4, 64}, Dtype::f32, cpu());
  const auto through = [](Parameter* p) {
    return [p](std::span<const Var> in) { return std::vector<Var>{linear(in[0], in[0].tape->parameter(*p))}; };
  };
  const Var h1 = on_gradient(linear(tape.input(x), tape.parameter(*twice)), at("after-once"));
  const Var h2 = on_gradient(linear(h1, tape.parameter(*once)), at("after-again"));
  const Var h3 = on_gradient(recompute(through(again), {h2}, true)[0], at("after-twice"));
  const Var y = linear(h3, tape.parameter(*twice));
  tape.backward(y, y.value.contiguous_copy());
  CHECK(events == "2 after-twice 3 after-again 1 after-once 0 ");
}

TEST_CASE("overlap: a sum over ranks begins before the last operation goes backward, and leaves the bits of one rank") {
  for (const int zero : {0, 1, 2}) {
    TwoTables alone;
    StepEngine one(alone, two_steps(zero));
    const std::string expected = steps_of(one, 2);
    all_well(in_ranks(2, 60, [&](ProcessRanks& ranks) {
      Noted noted(ranks);
      int leaves = 0, summed = 0, beside = 0;
      // The last leaf of a round waits until the sum of B has begun: that of A cannot.
      TwoTables objective([&] {
        if (zero < 2 && ++leaves % 2 == 1) return;
        const int begins = 2 * summed++ + 1;
        wait_for(noted, begins), beside += noted.begun() == begins;
      });
      const std::ptrdiff_t threads = threads_here();
      StepEngine engine(objective, two_steps(zero), noted);
      require(steps_of(engine, 2) == expected, "one rank's steps");
      require(beside == (zero == 2 ? 4 : 2), cat("began beside backward: ", beside));
      require(threads_become(threads), "its thread has ended");
    }));
  }
}

TEST_CASE("overlap: calls are the same on all ranks, whatever their rows hold and whatever is frozen (R-31)") {
  for (const Language::Case& c : {Language::Case{.zero = 0},
                                  {.zero = 1, .leaves = 5},
                                  {.zero = 2, .modules = {"vision_model"}},
                                  {.zero = 3, .leaves = 6, .recompute = true},
                                  {.zero = 1, .modules = {"adapter"}}})
    all_well(in_ranks(4, 60, [&](ProcessRanks& ranks) {
      Noted noted(ranks);
      Language run(c, noted);
      for (int i = 0; i < 2; ++i) run.engine.step();
      require(noted.calls().size() > 100, "calls");
      require(noted.calls() == broadcast_text(ranks, noted.calls(), 0), "rank 0's calls");
    }));
}

TEST_CASE("overlap: a tied head and another, experts, recomputation, threads, a chain: bits of sums that come after") {
  using Case = Language::Case;
  for (Case c : {Case{.zero = 1, .tied = false},
                 {.zero = 0, .recompute = true},
                 {.zero = 1, .tree = false},
                 {.zero = 2, .tree = false, .recompute = true},
                 {.zero = 1, .experts = true, .dtype = Dtype::bf16},
                 {.zero = 1, .tensor = 2}})
    for (const int threads : {1, 2})
      all_well(in_ranks(2 * c.tensor, 60, [&, c](ProcessRanks& ranks) mutable {
        const Threads some(threads);
        const auto said = [&](bool overlap) {
          c.overlap = overlap;
          Language run(c, ranks);
          const std::string all = steps_of(run.engine, 3);
          ranks.barrier();
          return all;
        };
        const std::string after = said(false);
        require(said(true) == after, cat("zero ", c.zero, ", threads ", threads));
      }));
}

// Of the rank whose share of a bucket is the largest.
TEST_CASE("overlap: what it says that sums take of the memory is what they take, on the rank that takes most") {
  for (const int zero : {0, 1})
    for (const int n : {2, 3})
      for (const std::int64_t bucket : {4 * kernels::norm_chunk, 100 * kernels::norm_chunk})
        all_well(in_ranks(n, 60, [=](ProcessRanks& ranks) {
          HostDevice device(Device::Kind::cpu, "test", cpu().table);
          Parameters set;
          set.declare("a", {25, kernels::norm_chunk / 2}, Role::matrix);
          set.allocate(Dtype::f32, device);
          set.train([](const Parameter&) { return true; });
          const Tensor gradients = set.gradient_buffer();
          gradients.zero();
          const auto parallel = data_parallel(zero, ranks, set);
          Device::Share share(device);
          const Range first{0, std::min(bucket, gradients.numel())};
          parallel->sum_bucket(gradients, first, n, ranks.beside()->communicator());
          std::vector<std::int64_t> taken(static_cast<std::size_t>(n));
          taken[static_cast<std::size_t>(ranks.rank())] = share.close().total_peak;
          const Tensor all = Tensor::of(taken, {n});
          ranks.all_reduce(all);
          taken = all.to_vector<std::int64_t>();
          Overlap overlap(*parallel, bucket, {.gradients = gradients, .adding = n});
          overlap.finish();
          const MemoryUse said = overlap.memory();
          const std::int64_t most = *std::max_element(taken.begin(), taken.end());
          require(said.total_peak == most, cat("zero ", zero, ", ", n, " ranks: ", said.total_peak, ", took ", most));
          require(said.peak[static_cast<std::size_t>(Segment::workspace)] == most, "all of it for a while");
        }));
}

TEST_CASE("overlap: a leaf learns at its next bucket that the sums have ended, and does not go backward to its end") {
  constexpr int buckets = 200;
  const double start = monotonic_seconds();
  const auto ended = in_ranks(2, 60, [](ProcessRanks& ranks) {
    Parameters set;
    set.declare("a", {buckets, kernels::norm_chunk}, Role::matrix);
    set.allocate(Dtype::f32, cpu());
    set.train([](const Parameter&) { return true; });
    const auto parallel = data_parallel(0, ranks, set);
    if (ranks.rank() == 1) input_error("a fault of rank 1");
    Overlap overlap(*parallel, kernels::norm_chunk, {.gradients = set.gradient_buffer(), .adding = 2, .leaves = 1});
    for (int k = buckets; k-- > 0; std::this_thread::sleep_for(std::chrono::milliseconds(50))) overlap.complete(k);
    machine_error("all buckets were reported");
  });
  CHECK(ended[1].error == "a fault of rank 1");
  CHECK(ended[0].exit == ended[1].exit);
  CHECK(monotonic_seconds() - start < 8);
}

TEST_CASE("overlap: a rank that is killed, fails or stays away while sums are under way ends the others") {
  enum Fault { killed, fails, fails_alone, stays_away };  // alone: rank 0 has not come to the sum
  for (const Fault fault : {killed, fails, fails_alone, stays_away}) {
    const double start = monotonic_seconds();
    const auto ended = in_ranks(2, fault == stays_away ? 3 : 60, [&](ProcessRanks& ranks) {
      Noted noted(ranks);
      const auto stay_away = [&] {
        for (const double until = monotonic_seconds() + 20; monotonic_seconds() < until; ranks.throw_failure())
          std::this_thread::sleep_for(std::chrono::milliseconds(10));
      };
      TwoTables objective([&] {
        wait_for(noted, 1);
        if (ranks.rank() == 0) return;
        if (fault == killed) ::raise(SIGKILL);
        if (fault == fails || fault == fails_alone) input_error("a fault of rank 1");
        stay_away();
      });
      if (fault == fails_alone && ranks.rank() == 0) stay_away();
      const std::ptrdiff_t threads = threads_here();
      try {
        StepEngine engine(objective, two_steps(2), noted);
        engine.step();
      } catch (const Error&) {
        require(threads_become(threads), "its thread has ended");
        throw;
      }
    });
    CHECK(monotonic_seconds() - start < 30);
    INFO(ended[0].error, ended[1].error);
    if (fault == killed) {
      CHECK(ended[1].exit == -SIGKILL);
      CHECK(contains(ended[0].error, "rank 1 ended without a word in step "));
    } else if (fault == fails || fault == fails_alone) {
      CHECK(monotonic_seconds() - start < 15);  // it ends what it waits in, and says so
      CHECK(ended[1].error == "a fault of rank 1");
      CHECK(ended[0].exit == ended[1].exit);
      CHECK(ended[0].error.empty());
    } else {
      CHECK(contains(ended[0].error, "rank 0 waited 3 s (comm.timeout) in "));
      CHECK(contains(ended[0].error, " of step 1 for a message from rank 1, which is in no call of step 1"));
    }
  }
}
