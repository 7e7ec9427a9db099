#include "rl/branches.h"

#include <cmath>

#include "generate/sampling.h"
#include "train/objectives/language.h"

namespace ov::rl {
namespace {

// -Σ p log p of one row.
double entropy_of(const std::vector<double>& logits) {
  double sum = 0;
  for (const double p : probabilities(logits))
    if (p > 0) sum -= p * std::log(p);
  return sum;
}

}  // namespace

Branches::Branches(const Prompt& prompt) {
  const std::int64_t shared = std::ssize(prompt.input_ids) - 1;
  batch.input_ids.assign(prompt.input_ids.begin(), prompt.input_ids.end() - 1);
  for (std::int64_t t = 0; t < shared; ++t) batch.positions.push_back(t);
  if (shared) batch.segments.push_back({0, shared, -1}), batch.sample_of_segment.push_back(0);
  batch.pixel_values = prompt.pixel_values, batch.grids = prompt.grids;
  batch.samples = 1;
}

void Branches::add(const Prompt& prompt, const std::vector<std::int64_t>& answer) {
  const std::int64_t shared = std::ssize(prompt.input_ids) - 1, begin = batch.tokens(), length = std::ssize(answer);
  batch.segments.push_back({begin, length, shared ? 0 : -1});
  batch.sample_of_segment.push_back(0);
  for (std::int64_t t = 0; t < length; ++t) {
    batch.input_ids.push_back(t == 0 ? prompt.input_ids.back() : answer[static_cast<std::size_t>(t - 1)]);
    batch.positions.push_back(shared + t);
    rows.push_back(begin + t), targets.push_back(answer[static_cast<std::size_t>(t)]);
  }
  starts.push_back(std::ssize(rows));
}

Var branch_logits(const Onevision& model, Tape* tape, const Branches& branches) {
  Device& device = model.parameters().device();
  const OnevisionInputs in = model_inputs(branches.batch, model.parameters().dtype(), device);
  const Var hidden = model.hidden(tape, in, model.encode_images(tape, in));
  return model.logits(take_rows(
      hidden, index_tensor("answers", branches.rows, {std::ssize(branches.rows)}, 0, branches.batch.tokens(), device)));
}

std::vector<double> branch_logprobs(const Branches& branches, const Tensor& logits, std::vector<double>* entropies) {
  std::vector<double> out;
  for (std::size_t r = 0; r < branches.rows.size(); ++r) {
    const std::vector<double> z = row_of_logits(logits, static_cast<std::int64_t>(r));
    out.push_back(told(z, branches.targets[r], 0).logprob);
    if (entropies) entropies->push_back(entropy_of(z));
  }
  return out;
}

}  // namespace ov::rl
