#include <doctest/doctest.h>

#include "data/normalise.h"
#include "tests/data/loader_fixture.h"

namespace ov::loader_test {
namespace {

using Ids = std::vector<std::int64_t>;

// A row of ids 100, 101, ... with the given segments; a label at each position of `labelled`.
MicroBatch row(const std::vector<TokenSegment>& segments, const Ids& samples, const Ids& labelled) {
  MicroBatch b;
  b.segments = segments;
  b.sample_of_segment = samples;
  b.samples = samples.back() + 1;
  for (std::int64_t t = 0; t < segments.back().begin + segments.back().length; ++t) b.input_ids.push_back(100 + t);
  b.labels.assign(b.input_ids.size(), ignored_label);
  for (const std::int64_t t : labelled) b.labels[static_cast<std::size_t>(t)] = 100 + t;
  return b;
}

// Three micro-batches: two samples of 3 and 1 labels; a record with a prefix and two branches, 2 labels; no label.
GlobalStep step() {
  GlobalStep s;
  s.micro_batches.push_back(row({{0, 5, -1}, {5, 3, -1}}, {0, 1}, {2, 3, 4, 7}));
  s.micro_batches.push_back(row({{0, 2, -1}, {2, 2, 0}, {4, 3, 0}}, {0, 0, 0}, {3, 6}));
  s.micro_batches.push_back(row({{0, 4, -1}}, {0}, {}));
  return s;
}

std::vector<double> weights(const StepTargets& t, std::size_t micro_batch) {
  return t.micro_batches[micro_batch].weights;
}

}  // namespace

TEST_CASE("targets: row t predicts token t + 1 of its own segment, and no row predicts across a border (R-02)") {
  const StepTargets t = loss_targets(step(), NormaliseBy::global_token_mean);
  CHECK(t.micro_batches[0].targets == Ids{-100, 102, 103, 104, -100, -100, 107, -100});
  CHECK(t.micro_batches[0].rows == Ids{1, 2, 3, 6});
  CHECK(t.micro_batches[1].targets == Ids{-100, -100, 103, -100, -100, 106, -100});
  CHECK(t.micro_batches[1].rows == Ids{2, 5});
  CHECK(t.micro_batches[2].rows.empty());
}

TEST_CASE(
    "normalisations: weights and denominators of a small step by hand; rows without labels weigh nothing (M-44, "
    "R-04)") {
  const double third = 1.0 / 3;
  const StepTargets token = loss_targets(step(), NormaliseBy::global_token_mean);
  CHECK(token.denominator == 6);
  CHECK(weights(token, 0) == std::vector<double>{0, 1, 1, 1, 0, 0, 1, 0});
  CHECK(weights(token, 1) == std::vector<double>{0, 0, 1, 0, 0, 1, 0});

  const StepTargets micro = loss_targets(step(), NormaliseBy::micro_batch_mean);
  CHECK(micro.denominator == 3);
  CHECK(weights(micro, 0) == std::vector<double>{0, 0.25, 0.25, 0.25, 0, 0, 0.25, 0});
  CHECK(weights(micro, 1) == std::vector<double>{0, 0, 0.5, 0, 0, 0.5, 0});

  const StepTargets sample = loss_targets(step(), NormaliseBy::sample_mean);
  CHECK(sample.denominator == 3);  // the sample without labels does not count
  CHECK(weights(sample, 0) == std::vector<double>{0, third, third, third, 0, 0, 1, 0});
  CHECK(weights(sample, 1) == std::vector<double>{0, 0, 0.5, 0, 0, 0.5, 0});

  for (const StepTargets& t : {token, micro, sample}) CHECK(weights(t, 2) == std::vector<double>{0, 0, 0, 0});
}

TEST_CASE("normalisations: under token and sample mean it does not matter how samples are put into micro-batches") {
  GlobalStep together, apart;
  together.micro_batches.push_back(row({{0, 5, -1}, {5, 5, -1}}, {0, 1}, {2, 3, 4, 9}));
  apart.micro_batches.push_back(row({{0, 5, -1}}, {0}, {2, 3, 4}));
  apart.micro_batches.push_back(row({{0, 5, -1}}, {0}, {4}));
  const auto shares = [](const GlobalStep& s, NormaliseBy by) {  // w / D of every row, one after the other
    const StepTargets t = loss_targets(s, by);
    std::vector<double> out;
    for (const LossTargets& l : t.micro_batches)
      for (const double w : l.weights) out.push_back(w / t.denominator);
    return out;
  };
  for (const NormaliseBy by : {NormaliseBy::global_token_mean, NormaliseBy::sample_mean})
    CHECK(shares(together, by) == shares(apart, by));
  CHECK(shares(together, NormaliseBy::micro_batch_mean) != shares(apart, NormaliseBy::micro_batch_mean));  // the twin
}

TEST_CASE("normalisations: a step without any label has no weight and no division by zero (T-16)") {
  GlobalStep s;
  s.micro_batches.push_back(row({{0, 4, -1}}, {0}, {}));
  for (const NormaliseBy by :
       {NormaliseBy::micro_batch_mean, NormaliseBy::global_token_mean, NormaliseBy::sample_mean}) {
    const StepTargets t = loss_targets(s, by);
    CHECK(t.denominator == (by == NormaliseBy::micro_batch_mean ? 1 : 0));
    CHECK(t.micro_batches[0].rows.empty());
    CHECK(weights(t, 0) == std::vector<double>(4, 0.0));
  }
}

TEST_CASE("targets: labels at a border, labels beside their ids and segment tables with holes are refused") {
  const auto complaint = [](MicroBatch b) {
    GlobalStep s;
    s.micro_batches.push_back(std::move(b));
    return message_of([&] { loss_targets(s, NormaliseBy::global_token_mean); });
  };
  const std::vector<TokenSegment> two = {{0, 3, -1}, {3, 3, -1}};
  CHECK(complaint(row(two, {0, 1}, {1, 5})) == "");  // the twin of all below
  CHECK(contains(complaint(row(two, {0, 1}, {3})), "micro-batch 0: segment 1: its first token (3) has a label"));
  CHECK(contains(complaint(row(two, {0, 1}, {0})), "segment 0: its first token (0) has a label"));
  CHECK(contains(complaint(row({{0, 3, -1}, {3, 3, 0}}, {0, 0}, {3})), "its first token (3) has a label"));

  MicroBatch shifted = row(two, {0, 1}, {4});
  shifted.labels[4] = 105;
  CHECK(contains(complaint(shifted), "token 4 has label 105, expected its own id 104"));
  CHECK(contains(complaint(row({{0, 3, -1}, {4, 2, -1}}, {0, 1}, {})),
                 "segment 1 covers [4, 6), expected it to begin at 3"));
  MicroBatch longer = row(two, {0, 1}, {});
  longer.input_ids.push_back(9);
  CHECK(contains(complaint(longer), "6 labels for 7 tokens"));
  longer.labels.push_back(9);
  CHECK(contains(complaint(longer), "segments cover 6 of 7 tokens"));
  MicroBatch nobody = row(two, {0, 1}, {});
  nobody.samples = 1;
  CHECK(contains(complaint(nobody), "segment 1 belongs to sample 1 of 1"));
}

TEST_CASE("normalisations: names go both ways, and a misspelt one is answered with the nearest") {
  for (const NormaliseBy by : {NormaliseBy::micro_batch_mean, NormaliseBy::global_token_mean, NormaliseBy::sample_mean})
    CHECK(normalise_by(name_of(by)) == by);
  CHECK(contains(message_of([] { normalise_by("token_mean"); }), "expected micro_batch_mean, global_token_mean or"));
  CHECK(contains(message_of([] { normalise_by("sample_meen"); }), "did you mean 'sample_mean'?"));
}

}  // namespace ov::loader_test
