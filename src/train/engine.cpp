#include "train/engine.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/clock.h"
#include "base/parallel.h"
#include "comm/ordered_sum.h"
#include "kernels/rehearsed.h"
#include "parallel/context.h"
#include "parallel/expert.h"
#include "parallel/tensor.h"
#include "train/checksums.h"
#include "train/leaf_order.h"

namespace ov {
namespace {

class FiniteCheck : public Tracer {
 public:
  void activation(const std::string& name, const Tensor& value) override {
    if (!first.empty()) return;
    by_dtype(value.dtype(), [&](auto v) {
      for (const auto x : value.to_vector<decltype(v)>())
        if (!std::isfinite(x)) first = name;
    });
  }
  std::string first;
};

void sum_over(Communicator& ranks, std::span<std::int64_t> values) {
  if (ranks.ranks() == 1) return;
  const Tensor t =
      Tensor::of(std::vector<std::int64_t>(values.begin(), values.end()), {static_cast<std::int64_t>(values.size())});
  ranks.all_reduce(t);
  std::copy_n(t.data<std::int64_t>(), values.size(), values.begin());
}

// The first rank where `here` is true; as many as there are: none.
int first_where(Communicator& ranks, bool here) {
  std::vector<std::int64_t> found(static_cast<std::size_t>(ranks.ranks()));
  found[static_cast<std::size_t>(ranks.rank())] = here;
  sum_over(ranks, found);
  return static_cast<int>(std::find(found.begin(), found.end(), 1) - found.begin());
}

}  // namespace

StepEngine::StepEngine(Objective& objective, const StepOptions& options, Communicator& ranks)
    : objective_(objective),
      options_(options),
      parallel_(data_parallel(options.zero, ranks, objective.parameters(), options.optimizer.state_on)),
      optimizer_(objective.parameters(), options.optimizer, parallel_->own()),
      tree_([&p = objective.parameters()] { return p.gradient_buffer(); }),
      rounds_([this] {
        return Tensor({optimizer_.own().size()}, accum_dtype(objective_.parameters().dtype()),
                      objective_.parameters().device(), Segment::gradients);
      }) {
  if (options.tensor != tensor().ranks())
    input_error("parallel.tensor ", options.tensor, ": train and pretrain --what text divide a model, others do not");
  if (options.pipeline != pipe().ranks())
    input_error("parallel.pipeline ", options.pipeline,
                ": train and pretrain --what text divide a model, others do not");
  if (options.classes > 1 && options.classes != experts().ranks())
    input_error("parallel.classes ", options.classes, ": pretrain --what vision divides class tables, others do not");
  if (options.experts * options.classes != experts().ranks())
    input_error("parallel.experts ", options.experts,
                ": train and pretrain --what text share a mixture's experts, others do not");
  if (options.zero == 3 && !objective.says_needs())
    input_error("parallel.zero 3: train and pretrain --what text gather values layer by layer, others do not");
  if (experts().ranks() > 1) whole_.emplace(objective.parameters(), *parallel_);
  if (options.context != context().ranks())
    input_error("parallel.context ", options.context,
                ": train and pretrain --what text divide rows of tokens, others do not");
  if (pipe().ranks() > 1) {
    if (options.floor) input_error("log.floor with parallel.pipeline ", options.pipeline, ": not built");
    pipeline_.emplace(objective, options.tree), whole_.emplace(objective.parameters(), *parallel_);
  }
  options_.schedule.steps = options.steps;
  const int together = ranks.ranks() * context().ranks() * tensor().ranks() * pipe().ranks() * experts().ranks();
  if (together > 1 && options.overlap.value_or(kernels::on_gpu(objective.parameters().device()))) {
    const std::string hindrance = Overlap::hindrance(*parallel_, objective.parameters(), context());
    if (options.overlap && !hindrance.empty())
      input_error("comm.overlap true with ", hindrance, ": not built; auto takes it where it is, and sums after the ",
                  "backward pass here");
    if (options.overlap && ranks.ranks() == 1)
      input_error("comm.overlap true has no effect with one copy of the model: no other's gradients are added to its");
    overlaps_ = hindrance.empty() && ranks.ranks() > 1;
  }
  if (options_.bucket == 0)
    options_.bucket =
        Overlap::usual_bucket(objective.parameters().device(), accum_dtype(objective.parameters().dtype()));
  if (options.floor) floor_ = std::make_unique<Floor>();
}

void StepEngine::prepare() {
  data_ = objective_.prepare(done_);
  leaves_.assign(static_cast<std::size_t>(turns_of(objective_.parameters(), data_.leaves) * experts().ranks()), {});
  objective_.normalise(data_.denominators);
  scalars_ = {};  // the last step's first
  scalars_ =
      Tensor::zeros({1 + objective_.scalars()}, Dtype::f64, objective_.parameters().device(), Segment::workspace);
}

Tape::Draws StepEngine::draws(std::int64_t leaf) const {
  return {.on = true, .step = static_cast<std::uint64_t>(done_), .leaf = static_cast<std::uint64_t>(leaf)};
}

void StepEngine::run_leaf(std::int64_t turn, const Tensor& gradients, Overlap* overlap) {
  const std::int64_t together = experts().ranks(), leaf = turn * together + experts().rank();
  Tape tape(gradients);
  tape.draw(draws(leaf));
  if (overlap) tape.report(overlap->bucket(), [overlap](std::int64_t k) { overlap->complete(k); });
  OpTimes times;
  const std::int64_t start = traces() ? now_ns() : 0;
  if (traces() && !objective_.parameters().device().on_host()) times.waits_for = &objective_.parameters().device();
  if (floor_ || traces()) times.done.reserve(256), tape.measure(&times), times.start();
  if (leaf < data_.leaves) objective_.run(leaf, tape, scalars_.slice(0, 1, scalars_.dim(0)));
  else objective_.serve(tape);
  if (options_.tree)
    sum_but_experts(objective_.parameters(), gradients,
                    static_cast<int>(std::min(together, data_.leaves - turn * together)));
  Leaf& done = leaves_[static_cast<std::size_t>(leaf)];
  done.products = tape.products();
  if (floor_) done.times = {times.seconds, floor_->leaf(times.done)};
  if (traces()) trace_->leaf(cat("micro-batch ", leaf), start, times);
}

// How many of the leaves that are left run at a time: at most two a thread, since they differ in length, and no more
// than the memory budget allows. One alone has all threads to itself. On a GPU, and where `plan` rehearses one, it is
// one: its kernels stand in one queue, so that leaves side by side would gain nothing, but each would hold activations
// and a buffer of gradients, as many as the host happens to have threads.
std::int64_t StepEngine::together(std::int64_t left) const {
  const std::int64_t width = std::max(1, threads());
  // What they say to each other is in order.
  if (tensor().ranks() > 1 || context().ranks() > 1 || experts().ranks() > 1) return 1;
  if (!options_.tree || !options_.side_by_side || width == 1) return 1;
  if (objective_.parameters().device().fuses()) return 1;
  std::int64_t group = left < width ? left : std::min(2 * width, left / width * width);
  if (options_.memory_budget == 0) return group;
  if (leaf_memory_ == 0) return 1;  // what a leaf takes is known when one has run
  const Parameters& parameters = objective_.parameters();
  const std::int64_t room = options_.memory_budget - parameters.device().memory().total;
  const auto buffer = static_cast<std::int64_t>(size_of(accum_dtype(parameters.dtype()))) * parameters.trained();
  const auto taken = [&] {
    return std::max<std::int64_t>(0, group - tree_.spare()) * buffer + std::min(group, width) * leaf_memory_;
  };
  while (group > 1 && taken() > room) --group;
  return group;
}

void StepEngine::run_in_pipeline(std::int64_t begin, std::int64_t end, Tracer* tracer) {
  gradients_ = pipeline_->run(
      begin, end, scalars_.slice(0, 1, scalars_.dim(0)),
      [&](std::int64_t leaf, const Tape::Products& p) {
        Tape::Products& all = leaves_[static_cast<std::size_t>(leaf)].products;
        all.forward += p.forward, all.backward += p.backward, all.recomputed += p.recomputed;
      },
      tracer);
}

// gradients_ is this rank's sum when all additions are made.
void StepEngine::sum_beside(Beside& beside, std::vector<TreeSum::Addition> additions, std::int64_t leaves) {
  const auto before = [additions = std::move(additions)](Range r) {
    for (const TreeSum::Addition& a : additions) add_to(a.to.slice(0, r.begin, r.end), a.of.slice(0, r.begin, r.end));
  };
  beside.sum = std::make_unique<Overlap>(
      *parallel_, options_.bucket,
      Overlap::Round{
          .gradients = gradients_, .adding = beside.adding, .leaves = leaves, .at_once = warm_, .before = before});
}

const Tensor& StepEngine::accumulate(std::int64_t begin, std::int64_t end, bool prefetch, Beside* beside) {
  if (pipeline_) {
    run_in_pipeline(begin, end);
    if (prefetch && done_ + 1 < options_.steps) objective_.prefetch();
    return gradients_;
  }
  Device& device = objective_.parameters().device();
  if (options_.tree) tree_.reuse(std::exchange(gradients_, {}));
  else if (!gradients_) gradients_ = objective_.parameters().gradient_buffer();
  if (!options_.tree) gradients_.zero();
  for (std::int64_t i = begin, group; i < end; i += group) {
    group = together(end - i);
    std::vector<Tensor> buffers;
    std::vector<bool> zeros;
    for (std::int64_t k = 0; k < group; ++k) {
      bool all_zeros = !options_.tree;
      buffers.push_back(options_.tree ? tree_.leaf(&all_zeros) : gradients_), zeros.push_back(all_zeros);
    }
    const bool last = i + group == end, prefetches = prefetch && last && done_ + 1 < options_.steps;
    if (beside && last) {
      TreeSum::Planned planned;
      if (options_.tree) planned = tree_.plan(buffers), gradients_ = planned.total;
      sum_beside(*beside, std::move(planned.additions), group);
    }
    Overlap* const overlap = beside ? beside->sum.get() : nullptr;
    std::vector<MemoryUse> memory(buffers.size());
    const auto order = longest_first(data_.sizes, i * experts().ranks() + experts().rank(), group, experts().ranks());
    const auto run = [&](std::int64_t at) {
      if (at == group) return objective_.prefetch();
      const std::int64_t k = order[static_cast<std::size_t>(at)];
      if (!zeros[static_cast<std::size_t>(k)]) buffers[static_cast<std::size_t>(k)].zero();
      Device::Share share(device);
      run_leaf(i + k, buffers[static_cast<std::size_t>(k)], overlap);
      memory[static_cast<std::size_t>(k)] = share.close();
    };
    if (group > 1) parallel_for(group + prefetches, run);
    else
      for (std::int64_t at = 0; at < group + prefetches; ++at) run(at);
    for (const MemoryUse& m : memory) leaf_memory_ = std::max(leaf_memory_, m.total_peak);
    if (overlap) memory.push_back(overlap->memory());
    // At most, where there are more leaves than threads.
    device.overlapped(memory, static_cast<std::size_t>(std::max(1, threads()) + (overlap ? 1 : 0)));
    if (options_.tree && !overlap) tree_.add(buffers);
  }
  if (options_.tree && !beside) gradients_ = tree_.finish();
  return gradients_;
}

// The sum of all leaves of the step, those of other ranks too.
void StepEngine::sum_gradients() {
  const auto rounds = parallel_->rounds(turns_of(objective_.parameters(), data_.leaves));
  if (rounds.size() > 1) rounds_.reuse(std::exchange(sum_, {}));
  sum_ = {};
  for (const DataParallel::Round& round : rounds) {
    parallel_->begin_round();
    Beside beside{round.adding, {}};
    if (round.own.size() > 0)
      accumulate(round.own.begin, round.own.end, &round == &rounds.back(), overlaps_ ? &beside : nullptr);
    else if (!gradients_) gradients_ = objective_.parameters().gradient_buffer();
    if (round.own.size() == 0 && overlaps_) sum_beside(beside, {}, 0);
    if (!options_.tree && round.own.size() > 0)
      sum_but_experts(objective_.parameters(), gradients_,
                      static_cast<int>(std::min<std::int64_t>(experts().ranks(),
                                                              data_.leaves - round.own.begin * experts().ranks())));
    parallel_->end_round();
    phase_done("micro-batches");
    if (beside.sum) {
      beside.sum->finish();
      sum_ = gradients_.slice(0, parallel_->own().begin, parallel_->own().end);
    } else {
      sum_ = parallel_->sum(gradients_, round.adding);
    }
    phase_done("gradients over ranks");
    if (rounds.size() == 1) return;
    const Tensor kept = rounds_.leaf();
    kept.copy_from(sum_);
    rounds_.add(kept);
  }
  sum_ = rounds_.finish();
}

Tape::Products StepEngine::products() const {
  Tape::Products sum;
  for (const Leaf& leaf : leaves_) {
    sum.forward += leaf.products.forward;
    sum.backward += leaf.products.backward;
    sum.recomputed += leaf.products.recomputed;
  }
  return sum;
}

std::uint64_t StepEngine::values_checksum(bool precise) const {
  std::int64_t sum = 0;
  for (const DataParallel::Piece& p : parallel_->pieces(precise))
    sum += static_cast<std::int64_t>(whole_checksum(objective_.parameters(), p.values, p.first, p.trained));
  for (Communicator* all : {&ranks(), &tensor(), &pipe(), &experts()}) sum_over(*all, std::span(&sum, 1));
  return static_cast<std::uint64_t>(sum);
}

StepReport StepEngine::step() {
  StepReport report;
  const double start = monotonic_seconds();
  if (trace_ && trace_->step() == done_ + 1) trace_->start();
  if (pipeline_) pipeline_->trace = traces() ? trace_ : nullptr;
  ranks().at_step(done_ + 1);
  objective_.parameters().lend();
  prepare();
  report.data_seconds = monotonic_seconds() - start;
  phase_done("data");
  sum_gradients();
  const Parameters& parameters = objective_.parameters();
  sum_addends(parameters, sum_, optimizer_.own());
  sum_over_context(context(), sum_);

  const bool checksums = options_.checksum_every > 0 && (done_ + 1) % options_.checksum_every == 0;
  // Of a flat buffer from `begin` on, this rank's shard: those of all ranks add up.
  const auto shard_checksum = [&](const Tensor& t, std::int64_t begin, std::int64_t all, bool trained) {
    const Range shard = shard_of(all, ranks().rank(), ranks().ranks());
    return whole_checksum(parameters, t.slice(0, shard.begin - begin, shard.end - begin), shard.begin, trained);
  };
  if (checksums)
    report.checksums = Checksums{objective_.batch_checksum(), 0,
                                 shard_checksum(sum_, optimizer_.own().begin, parameters.trained(), true), 0};
  const double before_update = monotonic_seconds();
  report.lr = options_.schedule.rate(done_);
  const auto complete = [&](const Tensor& squares) {
    if (!whole_) parallel_->complete_squares(squares);
    tensor().all_reduce(squares);
  };
  optimizer_.step(sum_, report.lr, scalars_.slice(0, 0, 1), complete, whole_ ? &*whole_ : nullptr);
  parallel_->share_values();
  if (ranks().rank() == 0 && pipe().rank() == 0) objective_.updated(scalars_.slice(0, 1, scalars_.dim(0)));
  const double update_seconds = monotonic_seconds() - before_update;
  phase_done("update");

  std::vector<double> scalars = scalars_.has_data() ? scalars_.to_vector<double>()
                                                    : std::vector<double>(static_cast<std::size_t>(scalars_.numel()));
  // Where another rank writes, this one has 0: as integers, bits of numbers add up to themselves.
  std::vector<std::int64_t> bits = {products().forward + products().backward};
  for (std::size_t i = 1; i < scalars.size(); ++i) bits.push_back(std::bit_cast<std::int64_t>(scalars[i]));
  for (Communicator* all : {&ranks(), &pipe(), &experts(), &context()}) sum_over(*all, bits);
  sum_over(tensor(), std::span(bits).first(1));  // of the products each has made a part
  for (std::size_t i = 1; i < scalars.size(); ++i) scalars[i] = std::bit_cast<double>(bits[i]);
  report.gradient_norm = scalars[0];
  Losses losses = objective_.losses(std::span(scalars).subspan(1));
  report.loss = losses.loss;
  report.labelled = losses.labelled;
  report.parts = std::move(losses.parts);
  report.note = std::move(losses.note);
  if (!std::isfinite(report.gradient_norm)) optimizer_.set_steps(done_);
  if (!std::isfinite(report.loss) || !std::isfinite(report.gradient_norm)) report_not_finite();
  if (checksums) {
    std::vector<std::int64_t> sums = {static_cast<std::int64_t>(report.checksums->gradients)};
    sum_over(ranks(), sums), sum_over(tensor(), sums), sum_over(pipe(), sums), sum_over(experts(), sums);
    report.checksums->loss = checksum(&report.loss, 1);
    report.checksums->gradients = static_cast<std::uint64_t>(sums[0]);
    report.checksums->parameters = values_checksum(true);
  }

  report.step = ++done_;
  warm_ = true;
  report.samples = data_.samples;
  report.tokens = data_.tokens;
  report.patches = data_.patches;
  report.products = bits[0];
  report.seconds = monotonic_seconds() - start;
  phase_done("report");
  if (traces()) trace_->finish(options_);
  if (floor_) {
    std::vector<BatchTimes> times;
    for (const Leaf& leaf : leaves_) times.push_back(leaf.times);
    const StepTimes::Floors floor =
        times_.add({report.seconds, report.data_seconds, update_seconds,
                    floor_->update(parameters.trained(), data_.leaves, size_of(optimizer_.first_moment().dtype()))},
                   times);
    report.floor_seconds = floor.seconds, report.plain_floor_seconds = floor.plain;
  }
  return report;
}

void StepEngine::restore(const TrainingState& state) {
  objective_.restore(state.data);
  done_ = state.step;
}

// Runs the step again with every activation looked at, to name the first that went wrong.
void StepEngine::report_not_finite() {
  const std::string where = cat("step ", done_ + 1, ": not a finite number");
  // In a pipeline the first rank that finds one says so; the others hear it.
  for (std::int64_t i = 0; pipeline_ && i < data_.leaves; ++i) {
    FiniteCheck check;
    run_in_pipeline(i, i + 1, &check);
    const int first = first_where(pipe(), !check.first.empty());
    if (first == pipe().rank()) machine_error(where, "; first in the activation ", check.first, " of micro-batch ", i);
    if (first < pipe().ranks()) pipe().barrier();
  }
  if (pipeline_) machine_error(where, " in a gradient; no activation is");
  const Tensor gradients = objective_.parameters().gradient_buffer();
  for (std::int64_t i = 0; i < data_.leaves; ++i) {
    FiniteCheck check;
    gradients.zero();
    Tape tape(gradients, &check);
    tape.draw(draws(i));
    parallel_->begin_round();
    objective_.run(i, tape, scalars_.slice(0, 1, scalars_.dim(0)));
    parallel_->end_round();
    // Of ranks that share the micro-batch, or its experts, the first that finds one says so.
    const auto say = [&](const std::string& found) {
      const int part = first_where(context(), !found.empty()),
                holder = first_where(experts(), part < context().ranks());
      if (holder == experts().ranks()) return;
      if (holder == experts().rank() && part == context().rank())
        machine_error(where, "; first in the ", found, " of micro-batch ", i);
      context().barrier(), experts().barrier();
    };
    say(check.first.empty() ? "" : "activation " + check.first);
    std::string found;
    for (const auto& e : objective_.parameters().entries()) {
      const Tensor g = found.empty() ? gradient_of(e.parameter, gradients) : Tensor();
      if (g && g.numel() > 0 && !std::isfinite(gradient_norm(g.flat()))) found = "gradient of " + e.parameter.name;
    }
    say(found);
  }
  machine_error(where, " in the sum of the gradients, though every micro-batch alone is finite");
}

}  // namespace ov
