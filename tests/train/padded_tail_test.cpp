// Tokens behind the last sample of a row (R-07, T-17; codes as in whole_model_test.cpp): what pads a row is a segment
// of its own without labels and changes nothing, and a segment table that leaves tokens out is refused.
#include <doctest/doctest.h>

#include "tests/check.h"
#include "tests/model/packed_rows.h"
#include "train/objectives/language.h"

using namespace ov;
using namespace ov::test;

namespace {

enum class Tail { own_segment, in_no_segment };

// `n` more tokens, none of them labelled.
MicroBatch with_tail(MicroBatch b, std::int64_t n, std::uint64_t seed, Tail tail = Tail::own_segment) {
  const Philox random(seed, "test tail");
  if (tail == Tail::own_segment) {
    b.segments.push_back({b.tokens(), n, -1});
    b.sample_of_segment.push_back(b.samples++);
  }
  for (std::int64_t i = 0; i < n; ++i) {
    b.input_ids.push_back(static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(i), 96)));
    b.labels.push_back(ignored_label);
    b.positions.push_back(i);
  }
  return b;
}

bool same_logits(const Onevision& model, const MicroBatch& row, const MicroBatch& longer) {
  const Tensor logits = logits_of(model, longer);
  return same_bits(logits_of(model, row), logits.slice(0, 0, row.tokens()));
}

std::string refusal(const MicroBatch& row) {
  const auto model = small_model();
  FixedSteps data({as_step({row})});
  TrainOptions options;
  options.schedule.warmup = 0;
  const std::vector<float> before = model->parameters().values().to_vector<float>();
  Training trainer(*model, data, options);
  try {
    trainer.step();
  } catch (const Error& e) {
    CHECK(e.exit() == Exit::wrong_input);
    CHECK(model->parameters().values().to_vector<float>() == before);
    return e.what();
  }
  return "";
}

}  // namespace

TEST_CASE("a tail that is a segment of its own changes no logit, no loss and no gradient, whatever it holds (R-07)") {
  const auto model = small_model();
  model->parameters().train([](const Parameter&) { return true; });
  const MicroBatch row = mixed_row(1), other = mixed_row(2);
  for (const std::int64_t n : {1, 5, 64, 130})  // 64: a block of keys
    for (const std::uint64_t seed : {1, 2}) {
      CAPTURE(n);
      const MicroBatch padded = with_tail(row, n, seed);
      CHECK(same_logits(*model, row, padded));
      for (const NormaliseBy by :
           {NormaliseBy::micro_batch_mean, NormaliseBy::global_token_mean, NormaliseBy::sample_mean}) {
        CAPTURE(name_of(by));
        const LossAndGradients want = loss_and_gradients(*model, as_step({row, other}), by),
                               got = loss_and_gradients(*model, as_step({padded, other}), by);
        CHECK(got.loss == want.loss);
        CHECK(got.gradients.to_vector<float>() == want.gradients.to_vector<float>());
      }
    }
  // The twins: a tail that is learnt from, and one that stands before the others in their own segment.
  MicroBatch labelled = with_tail(row, 5, 1);
  labelled.labels.back() = labelled.input_ids.back();
  const NormaliseBy by = NormaliseBy::global_token_mean;
  CHECK(loss_and_gradients(*model, as_step({labelled}), by).loss !=
        loss_and_gradients(*model, as_step({row}), by).loss);
  MicroBatch in_front;
  add_sample(in_front, 9, 0, 0, 12);
  const MicroBatch text = in_front;
  in_front.segments[0].length += 3;
  for (std::vector<std::int64_t>* v : {&in_front.input_ids, &in_front.positions}) v->insert(v->begin(), {5, 6, 7});
  for (std::size_t i = 0; i < in_front.positions.size(); ++i) in_front.positions[i] = static_cast<std::int64_t>(i);
  CHECK(!same_bits(logits_of(*model, text), logits_of(*model, in_front).slice(0, 3, 15)));
}

TEST_CASE("a tail in no segment: the row's table is refused before a step is made, one that covers it is not (T-17)") {
  const MicroBatch row = mixed_row(1);
  const std::int64_t T = row.tokens();
  CHECK(refusal(row) == "");
  CHECK(refusal(with_tail(row, 5, 1)) == "");
  CHECK(refusal(with_tail(row, 5, 1, Tail::in_no_segment)) ==
        cat("micro-batch 0: segments cover ", T, " of ", T + 5, " tokens"));

  MicroBatch beyond = row;  // a length beyond the row's end
  beyond.segments.back().length += 3;
  CHECK(refusal(beyond) == cat("micro-batch 0: segments cover ", T + 3, " of ", T, " tokens"));
  MicroBatch hole = with_tail(row, 5, 1);
  hole.segments.back() = {T + 1, 4, -1};
  CHECK(refusal(hole).find(cat("covers [", T + 1, ", ", T + 5, "), expected it to begin at ", T)) != std::string::npos);
  MicroBatch twice = with_tail(row, 5, 1);
  twice.segments.back() = {T - 1, 6, -1};
  CHECK(refusal(twice).find(cat("expected it to begin at ", T)) != std::string::npos);
}

TEST_CASE(
    "tokens of no segment attend to nothing and are attended by none: the model's other rows keep their bits (T-17)") {
  const auto model = small_model();
  const MicroBatch row = mixed_row(1);
  const MicroBatch one = with_tail(row, 7, 1, Tail::in_no_segment), two = with_tail(row, 7, 2, Tail::in_no_segment);
  CHECK(same_logits(*model, row, one));
  CHECK(same_logits(*model, row, two));
  // Their attention is 0: they come out as of a model whose attention adds nothing.
  const auto silent = small_model();
  int silenced = 0;
  for (const auto& e : silent->parameters().entries())
    if (e.parameter.name.find("self_attn.o_proj") != std::string::npos) e.parameter.value.zero(), ++silenced;
  CHECK(silenced == 2);
  const std::int64_t T = row.tokens();
  const Tensor want = logits_of(*silent, one).slice(0, T, T + 7);
  CHECK(same_bits(logits_of(*model, one).slice(0, T, T + 7), want));
  CHECK(!same_bits(logits_of(*model, with_tail(row, 7, 1)).slice(0, T, T + 7), want));
  // A table that names tokens which are not there is refused by the attention itself.
  MicroBatch beyond = row;
  beyond.segments.back().length += 3;
  CHECK_THROWS_WITH_AS(logits_of(*model, beyond), doctest::Contains("outside of"), Error);
}
