// What run.jsonl says of a step's loss (T-15; codes as in whole_model_test.cpp): the loss that is optimised, and beside
// it the mean over the step's labelled tokens, which the original logs as if it were the former.
#include <doctest/doctest.h>

#include <cmath>

#include "tests/base/scratch.h"
#include "tests/model/packed_rows.h"
#include "train/run_log.h"

using namespace ov;
using namespace ov::test;

namespace {

// Micro-batches of 4, 15 and 0 labelled tokens; the second has two samples.
GlobalStep uneven_step() {
  std::vector<MicroBatch> rows(3);
  add_sample(rows[0], 1, 2, 4, 9);
  add_sample(rows[1], 2, 0, 0, 21);
  add_sample(rows[1], 3, 4, 4, 11);
  add_sample(rows[2], 4, 0, 0, 6);
  rows[2].labels.assign(rows[2].labels.size(), ignored_label);
  return as_step(rows);
}

// -log softmax(logits)[label], one for each labelled token of each sample of each row.
using TokenLosses = std::vector<std::vector<std::vector<double>>>;

TokenLosses token_losses(const Onevision& model, const GlobalStep& step) {
  TokenLosses out;
  for (const MicroBatch& b : step.micro_batches) {
    out.emplace_back(static_cast<std::size_t>(b.samples));
    const Tensor logits = logits_of(model, b);
    const std::vector<double> all = logits.to_vector<double>();
    const auto V = static_cast<std::size_t>(logits.dim(1));
    for (std::size_t i = 0; i < b.segments.size(); ++i)
      for (std::int64_t t = b.segments[i].begin + 1; t < b.segments[i].begin + b.segments[i].length; ++t) {
        const std::int64_t label = b.labels[static_cast<std::size_t>(t)];
        if (label == ignored_label) continue;
        const double* row = &all[static_cast<std::size_t>(t - 1) * V];
        double total = 0;
        for (std::size_t v = 0; v < V; ++v) total += std::exp(row[v]);
        out.back()[static_cast<std::size_t>(b.sample_of_segment[i])].push_back(std::log(total) - row[label]);
      }
  }
  return out;
}

double total(const std::vector<double>& v) {
  double s = 0;
  for (const double x : v) s += x;
  return s;
}

// By the definitions, term by term.
double optimised(const TokenLosses& losses, NormaliseBy by) {
  double sum = 0, n = 0;
  for (const auto& row : losses) {
    double row_sum = 0, row_n = 0;
    for (const auto& sample : row) {
      row_sum += total(sample);
      row_n += static_cast<double>(sample.size());
      if (by == NormaliseBy::sample_mean && !sample.empty())
        sum += total(sample) / static_cast<double>(sample.size()), n += 1;
    }
    if (by == NormaliseBy::micro_batch_mean) sum += row_n > 0 ? row_sum / row_n : 0, n += 1;
    if (by == NormaliseBy::global_token_mean) sum += row_sum, n += row_n;
  }
  return sum / n;
}

// One step in fp64, as its line of run.jsonl.
Json logged_step(Onevision& model, const GlobalStep& step, NormaliseBy by) {
  FixedSteps data({step});
  TrainOptions options;
  options.schedule = {.peak = 0, .min = 0, .warmup = 0, .decay = "constant", .first_step = 1};
  options.normalise_by = by;
  Training trainer(model, data, options);
  const ScratchDirectory dir;
  RunLog(dir / "run.jsonl", 0).step(trainer.step(), 1e9);
  JsonlReader reader(dir / "run.jsonl");
  Json line;
  REQUIRE(reader.next(&line));
  CHECK(line.at("type").as_string() == "step");
  return line;
}

}  // namespace

TEST_CASE(
    "run.jsonl has both: the loss that is optimised, and the mean over labelled tokens, with their counts (T-15)") {
  const auto model = small_model(Dtype::f64);
  const GlobalStep step = uneven_step();
  const TokenLosses losses = token_losses(*model, step);
  std::int64_t labels = 0;
  for (const auto& row : losses)
    for (const auto& sample : row) labels += static_cast<std::int64_t>(sample.size());
  const double of_tokens = optimised(losses, NormaliseBy::global_token_mean);
  // Both are sums of fewer than 100 terms of one sign, each right to about 1e-14: a logit is a sum of 40 products.
  constexpr double bound = 1e-12;
  for (const NormaliseBy by :
       {NormaliseBy::micro_batch_mean, NormaliseBy::global_token_mean, NormaliseBy::sample_mean}) {
    CAPTURE(name_of(by));
    const Json line = logged_step(*model, step, by);
    const double loss = line.at("loss").as_double(), token_loss = line.at("token_loss").as_double();
    CHECK(std::abs(loss - optimised(losses, by)) <= bound * loss);
    CHECK(std::abs(token_loss - of_tokens) <= bound * of_tokens);
    if (by == NormaliseBy::global_token_mean) CHECK(std::abs(loss - token_loss) <= bound * loss);
    else CHECK(std::abs(loss - token_loss) > 1e-3 * loss);
    CHECK(line.at("labelled").as_int() == labels);
    CHECK(line.at("samples").as_int() == 4);
    CHECK(line.at("tokens").as_int() == step.tokens);
  }
  // With as many labels in every micro-batch the two are one, whatever the normalisation: the twin.
  std::vector<MicroBatch> even(2);
  add_sample(even[0], 1, 0, 0, 12);
  add_sample(even[1], 2, 0, 0, 12);
  const Json line = logged_step(*model, as_step(even), NormaliseBy::micro_batch_mean);
  CHECK(std::abs(line.at("loss").as_double() - line.at("token_loss").as_double()) <=
        bound * line.at("loss").as_double());
}

TEST_CASE("run.jsonl has the mean loss of each data set's tokens, once there are two") {
  const auto model = small_model(Dtype::f64);
  GlobalStep step = uneven_step();
  CHECK(logged_step(*model, step, NormaliseBy::global_token_mean).find("token_loss_of") == nullptr);
  step.micro_batches[0].source_of_sample = {"books"};
  step.micro_batches[1].source_of_sample = {"signs", "books"};
  step.micro_batches[2].source_of_sample = {"signs"};
  const TokenLosses losses = token_losses(*model, step);
  const auto mean = [](std::vector<double> all, const std::vector<double>& more) {
    all.insert(all.end(), more.begin(), more.end());
    return total(all) / static_cast<double>(all.size());
  };
  const Json of = logged_step(*model, step, NormaliseBy::global_token_mean).at("token_loss_of");
  CHECK(of.members().size() == 2);
  CHECK(std::abs(of.at("books").as_double() - mean(losses[0][0], losses[1][1])) < 1e-11);
  CHECK(std::abs(of.at("signs").as_double() - mean(losses[1][0], {})) < 1e-11);
  for (MicroBatch& b : step.micro_batches) b.source_of_sample.assign(b.source_of_sample.size(), "books");
  CHECK(logged_step(*model, step, NormaliseBy::global_token_mean).find("token_loss_of") == nullptr);
}

TEST_CASE("the gradient norm of run.jsonl belongs to its \"loss\", not to its \"token_loss\" (T-15)") {
  const auto model = small_model(Dtype::f64);
  const GlobalStep step = uneven_step();
  const NormaliseBy by = NormaliseBy::micro_batch_mean;
  const double norm = logged_step(*model, step, by).at("gradient_norm").as_double();
  const Tensor gradients = loss_and_gradients(*model, step, by).gradients;
  double* values = model->parameters().values().data<double>();
  // d/dx loss(values + x g / |g|) is |g|, by differences of order 4; their error goes with h^4.
  constexpr double h = 1e-3;
  const std::vector<double> g = gradients.to_vector<double>(), old(values, values + model->parameters().count());
  const auto slope = [&](NormaliseBy loss) {
    double d = 0;
    for (const auto& [k, factor] : {std::pair{-2, 1.0}, {-1, -8.0}, {1, 8.0}, {2, -1.0}}) {
      for (std::size_t i = 0; i < g.size(); ++i) values[i] = old[i] + k * h * g[i] / norm;
      d += factor * optimised(token_losses(*model, step), loss) / (12 * h);
    }
    std::copy(old.begin(), old.end(), values);
    return d;
  };
  REQUIRE(g.size() == old.size());
  CHECK(std::abs(slope(by) - norm) <= 1e-6 * norm);
  CHECK(std::abs(slope(NormaliseBy::global_token_mean) - norm) > 1e-2 * norm);
}
