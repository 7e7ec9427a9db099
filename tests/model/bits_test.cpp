// The same bits (README, "Same bits"): what must not change a result, and what does.
#include <doctest/doctest.h>

#include "base/parallel.h"
#include "generate/generate.h"
#include "tests/check.h"
#include "tests/model/packed_rows.h"
#include "train/objectives/language.h"

using namespace ov;
using namespace ov::test;

namespace {

// Longer than a block of 64 keys, and no multiple of anything.
MicroBatch long_sample(std::uint64_t seed, std::int64_t text = 150) {
  MicroBatch b;
  add_sample(b, seed, 4, 6, text);
  return b;
}

MicroBatch with_branches() {
  MicroBatch b = long_sample(11, 83);
  add_branch(b, 12, 0, 70);
  add_branch(b, 13, 0, 5);
  return b;
}

Tensor rows(const Tensor& t, std::int64_t begin, std::int64_t count) { return t.slice(0, begin, begin + count); }

GlobalStep eight_micro_batches() {
  std::vector<MicroBatch> micro_batches;
  for (std::uint64_t i = 0; i < 8; ++i) {
    MicroBatch b = mixed_row(10 * i);
    if (i % 3 == 1) add_sample(b, 10 * i + 7, 2, 6, 40);
    micro_batches.push_back(b);
  }
  return as_step(std::move(micro_batches));
}

TrainOptions options() {
  TrainOptions o;
  o.steps = 3;
  o.schedule = {.peak = 1e-2, .min = 1e-3, .warmup = 0, .first_step = 1};
  o.optimizer.weight_decay = 0.1;
  return o;
}

// Gradients of the first of three steps, and all parameters and checksums after the third.
struct Outcome {
  Tensor gradients, values, first_moment, masters;
  std::vector<Checksums> checksums;
};

Outcome train(const TrainOptions& options, int threads, bool recompute, Dtype dtype = Dtype::f32) {
  const int before = ov::threads();
  set_threads(threads);
  const auto model = small_model(dtype);
  model->recompute_blocks = recompute;
  FixedSteps data({eight_micro_batches(), as_step({mixed_row(1), with_branches()})});
  Training trainer(*model, data, options);
  Outcome out;
  trainer.prepare();
  out.gradients = trainer.accumulate(0, 8).contiguous_copy();
  data.restore(Json(0));
  for (int i = 0; i < 3; ++i) out.checksums.push_back(*trainer.step().checksums);
  out.values = model->parameters().values().contiguous_copy();
  out.first_moment = trainer.optimizer().first_moment().contiguous_copy();
  if (const Tensor& masters = model->parameters().masters()) out.masters = masters.contiguous_copy();
  set_threads(before);
  return out;
}

void check_same(const Outcome& a, const Outcome& b) {
  CHECK(same_bits(a.gradients, b.gradients));
  CHECK(same_bits(a.values, b.values));
  CHECK(same_bits(a.first_moment, b.first_moment));
  if (a.masters) CHECK(same_bits(a.masters, b.masters));
  for (std::size_t i = 0; i < a.checksums.size(); ++i) {
    CHECK(a.checksums[i].loss == b.checksums[i].loss);
    CHECK(a.checksums[i].gradients == b.checksums[i].gradients);
    CHECK(a.checksums[i].parameters == b.checksums[i].parameters);
  }
}

}  // namespace

TEST_CASE("a sub-sample's logits have the same bits alone and packed, at any place in the row (M-25)") {
  const auto model = small_model();
  const MicroBatch sample = long_sample(1), branches = with_branches(), text = [] {
    MicroBatch b;
    add_sample(b, 3, 0, 0, 37);
    return b;
  }();
  const Tensor alone = logits_of(*model, sample), branches_alone = logits_of(*model, branches);
  const Tensor packed = logits_of(*model, joined({text, sample, branches, text, sample}));
  std::int64_t at = text.tokens();
  CHECK(same_bits(rows(packed, at, sample.tokens()), alone));
  CHECK(same_bits(rows(packed, at += sample.tokens(), branches.tokens()), branches_alone));
  at += branches.tokens() + text.tokens();
  CHECK(same_bits(rows(packed, at, sample.tokens()), alone));
  CHECK_FALSE(same_bits(rows(packed, at - 1, sample.tokens()), alone));
}

TEST_CASE("cached decoding gives the bits of the whole row, whatever part of it was the prompt") {
  const auto model = small_model();
  const MicroBatch sample = long_sample(2);
  const Tensor whole = logits_of(*model, sample);
  const std::vector<Grid> grids = {{1, 4, 6}};
  for (const std::int64_t prompt : {std::int64_t{9}, std::int64_t{63}, std::int64_t{64}, sample.tokens() - 1}) {
    CAPTURE(prompt);
    const std::vector<std::int64_t> ids(sample.input_ids.begin(), sample.input_ids.begin() + prompt);
    Generation generation(*model, ids, sample.pixel_values, grids, sample.tokens() - prompt);
    CHECK(same_bits(generation.logits(), rows(whole, prompt - 1, 1)));
    std::int64_t differ = 0;
    for (std::int64_t t = prompt; t < sample.tokens(); ++t) {
      generation.append(sample.input_ids[static_cast<std::size_t>(t)]);
      differ += !same_bits(generation.logits(), rows(whole, t, 1));
    }
    CHECK(differ == 0);
    CHECK_FALSE(same_bits(generation.logits(), rows(whole, 0, 1)));
  }
}

TEST_CASE("a prefix that branches share gives the bits of the prefix repeated before each of them") {
  const auto model = small_model();
  const MicroBatch shared = with_branches();
  const Tensor logits = logits_of(*model, shared);
  const TokenSegment prefix = shared.segments[0];
  for (const std::size_t branch : {std::size_t{1}, std::size_t{2}}) {
    const TokenSegment s = shared.segments[branch];
    MicroBatch repeated;
    add_sample(repeated, 11, 4, 6, 83);
    for (std::int64_t t = s.begin; t < s.begin + s.length; ++t) {
      repeated.input_ids.push_back(shared.input_ids[static_cast<std::size_t>(t)]);
      repeated.labels.push_back(shared.labels[static_cast<std::size_t>(t)]);
      repeated.positions.push_back(shared.positions[static_cast<std::size_t>(t)]);
    }
    repeated.segments[0].length += s.length;
    const Tensor whole = logits_of(*model, repeated);
    CHECK(same_bits(rows(whole, 0, prefix.length), rows(logits, 0, prefix.length)));
    CHECK(same_bits(rows(whole, prefix.length, s.length), rows(logits, s.begin, s.length)));
    repeated.positions.back() += 1;  // the twin: another position is another result
    const Tensor moved = logits_of(*model, repeated);
    CHECK_FALSE(same_bits(rows(moved, prefix.length, s.length), rows(logits, s.begin, s.length)));
  }
}

TEST_CASE(
    "gradients and three full steps have the same bits for 1, 2 and 3 threads, recomputed or not, side by side or "
    "not, with grad_sum tree and chain") {
  TrainOptions tree = options(), chain = options();
  chain.tree = false;
  const Outcome one = train(tree, 1, false);
  check_same(one, train(tree, 2, false));
  check_same(one, train(tree, 3, true));
  check_same(one, train(tree, 1, true));
  TrainOptions in_turn = tree;
  in_turn.side_by_side = false;
  check_same(one, train(in_turn, 2, false));
  check_same(one, train(in_turn, 3, true));

  TrainOptions stage1 = tree;  // blocks that are frozen, and through which gradients pass all the same
  stage1.modules = {"adapter"};
  check_same(train(stage1, 1, false), train(stage1, 2, true));

  const Outcome one_chain = train(chain, 1, false);
  check_same(one_chain, train(chain, 3, true));
  CHECK_FALSE(same_bits(one.gradients, one_chain.gradients));  // another order of the same sum
}

TEST_CASE("in bf16, too, three steps have the same bits for 1, 2 and 4 threads, recomputed or not; masters are f32") {
  const Outcome one = train(options(), 1, false, Dtype::bf16);
  CHECK(one.values.dtype() == Dtype::bf16);
  for (const Tensor& t : {one.gradients, one.first_moment, one.masters}) CHECK(t.dtype() == Dtype::f32);
  CHECK(same_bits(one.values, one.masters.to(Dtype::bf16)));
  CHECK_FALSE(same_bits(one.values.to(Dtype::f32), one.masters));
  check_same(one, train(options(), 2, true, Dtype::bf16));
  check_same(one, train(options(), 4, false, Dtype::bf16));
  CHECK_FALSE(one.checksums[0].loss == train(options(), 1, false).checksums[0].loss);
}

TEST_CASE(
    "grad_sum tree: 1, 2 and 4 owners of aligned ranges of the micro-batches get the same bits; unaligned ranges and "
    "grad_sum chain do not (R-32)") {
  const GlobalStep step = eight_micro_batches();
  FixedSteps data({step});
  std::unique_ptr<Onevision> model;
  // What owners of the ranges [cut, next cut) add up to, each range `leaves` micro-batches.
  const auto total = [&](const TrainOptions& o, const std::vector<std::int64_t>& cuts) {
    Training trainer(*model, data, o);
    trainer.prepare();
    TreeSum sum([&] { return model->parameters().gradient_buffer(); });
    for (std::size_t i = 0; i + 1 < cuts.size(); ++i)
      sum.add(trainer.accumulate(cuts[i], cuts[i + 1]).contiguous_copy(), cuts[i + 1] - cuts[i]);
    return sum.finish();
  };
  TrainOptions chain = options();
  chain.tree = false;
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
    model = small_model(dtype);
    const Tensor one = total(options(), {0, 8});
    CHECK(one.dtype() == Dtype::f32);
    CHECK(same_bits(one, total(options(), {0, 4, 8})));
    CHECK(same_bits(one, total(options(), {0, 2, 4, 6, 8})));
    CHECK(same_bits(one, total(options(), {0, 4, 6, 8})));
    CHECK_FALSE(same_bits(one, total(options(), {0, 3, 8})));
    CHECK_FALSE(same_bits(total(chain, {0, 8}), total(chain, {0, 4, 8})));
  }
}
