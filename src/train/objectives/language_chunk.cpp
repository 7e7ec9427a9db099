#include "train/objectives/language_chunk.h"

#include "comm/ordered_sum.h"
#include "kernels/copy.h"
#include "kernels/rows.h"
#include "parallel/tensor.h"

namespace ov {
namespace {

// Does anything that comes before a chunk learn from what flows back into it? A tower does not without pictures.
bool learns_before(const Parameters& parameters, const MicroBatch& batch, const SharedContext& context, int chunk) {
  const bool pictures = !batch.grids.empty() || (context && context->features);
  for (const auto& e : parameters.entries()) {
    const bool of_pictures = e.parameter.module == Module::vision_model || e.parameter.module == Module::adapter;
    if (e.parameter.trainable && e.chunk < chunk && !(of_pictures && !pictures)) return true;
  }
  for (const auto& l : parameters.lent())
    if (l.of->trainable) return true;
  return false;
}

std::int64_t rows_here(const Parameters& parameters, std::int64_t tokens) {
  const std::int64_t n = parameters.tensor().ranks(), r = parameters.tensor().rank();
  return tokens * (r + 1) / n - tokens * r / n;
}

// This rank's words, as rows of its part of the table.
Tensor word_rows(const Parameters& parameters, const MicroBatch& batch, std::int64_t rows) {
  const auto here =
      parameters.tensor().ranks() > 1 ? own_words(parameters, batch.input_ids, rows).here : batch.input_ids;
  return Tensor::of(here, {static_cast<std::int64_t>(here.size())}, parameters.device());
}

Tensor wide(const Tensor& t) { return t.dtype() == accum_dtype(t.dtype()) ? t : t.to(accum_dtype(t.dtype())); }

}  // namespace

LanguageChunk::LanguageChunk(const Onevision& model, int chunk, const Leaf& leaf, const Tensor& gradients,
                             Tracer* tracer)
    : model_(model), chunk_(chunk), leaf_(leaf), tape_(gradients, tracer) {}

std::vector<Tensor> LanguageChunk::message(const Onevision& model, const MicroBatch& batch,
                                           const SharedContext& context, int step) {
  const Parameters& p = model.parameters();
  const int K = model.chunks().last() + 1, to = step < K ? step : 2 * K - 1 - step;
  const std::int64_t T = batch.tokens(), C = model.config().text.hidden;
  const Dtype dtype = p.dtype();
  if (step == K || whole_tokens(batch, context) == 0) return {};
  if (step == 2 * K) {
    const auto& table = p.lent().front();
    const std::int64_t V = table.of->value.dim(0);
    return {Tensor({word_rows(p, batch, V).numel(), C}, accum_dtype(dtype), p.device())};
  }
  std::vector<Tensor> parts;
  if (step < K) parts.emplace_back(Shape{rows_here(p, T), C}, dtype, p.device());
  else if (learns_before(p, batch, context, to + 1))
    parts.emplace_back(Shape{rows_here(p, T), C}, accum_dtype(dtype), p.device());
  else parts.emplace_back();
  if (balances(model.config().text)) parts.emplace_back(Shape{model.config().text.experts}, Dtype::i64, p.device());
  return parts;
}

std::vector<Tensor> LanguageChunk::forward(const std::vector<Tensor>& from) {
  const Parameters& p = model_.parameters();
  const bool balanced = balances(model_.config().text);
  const OnevisionInputs in = model_inputs(*leaf_.batch, p.dtype(), p.device(), leaf_.context);
  Var h;
  if (chunk_ == 0) {
    const bool away = !p.lent().empty() && p.lent().front().of->trainable;
    h = model_.embed(&tape_, in, model_.encode_images(&tape_, in), away ? &words_ : nullptr);
  } else {
    h = in_ = tape_.input(from[0], learns_before(p, *leaf_.batch, leaf_.context, chunk_));
  }
  const Decoder& decoder = model_.decoder();
  const Range layers = model_.chunks().layers[static_cast<std::size_t>(chunk_)];
  const Residual stream = decoder.run(h, layers, decoder.step(in.positions, in.segments, h.value.dtype(), in.context),
                                      model_.recomputed_layers(), &routers_);
  if (balanced) {
    counts_ = chunk_ > 0 ? from[1] : Tensor::zeros({model_.config().text.experts}, Dtype::i64, p.device());
    if (!routers_.offsets.empty()) add_to(counts_, whole_counts(routers_, leaf_.context));
  }
  if (chunk_ < model_.chunks().last()) {
    out_ = stream.sum();
    return balanced ? std::vector<Tensor>{out_.value, counts_} : std::vector<Tensor>{out_.value};
  }
  const HeadLoss l = head_loss(model_, decoder.finish(stream, leaf_.batch->tokens()), *leaf_.targets, leaf_.denominator,
                               leaf_.loss_rows);
  kernels::copy({.y = leaf_.loss, .x = l.loss.value});
  kernels::copy({.y = leaf_.token_loss, .x = l.token_loss});
  out_ = l.loss;
  return {};
}

std::vector<Tensor> LanguageChunk::backward(const std::vector<Tensor>& from) {
  const TextConfig& text = model_.config().text;
  const bool last = chunk_ == model_.chunks().last(), balanced = balances(text);
  const Tensor counts = balanced ? last ? counts_ : from[1] : Tensor();
  std::vector<Var> outputs = {out_};
  std::vector<Tensor> seeds = {last ? Tensor::like(out_.value) : from[0]};
  if (last) seeds[0].fill(1);
  std::int64_t before = 0, rows = 0;  // layers with experts that earlier chunks have; rows of all of them
  for (std::int64_t i = 0; balanced && i < text.layers; ++i) {
    before += text.is_moe(i) && i < model_.chunks().layers[static_cast<std::size_t>(chunk_)].begin;
    rows += text.is_moe(i) ? whole_tokens(*leaf_.batch, leaf_.context) : 0;
  }
  // One loss a layer, which are added on the host; last in, first out: as on one rank they are the first to flow back.
  for (std::size_t i = 0; balanced && i < routers_.probabilities.size(); ++i) {
    const Var aux = balance_loss({routers_.probabilities[i]}, counts, rows, leaf_.balance);
    const auto at = before + static_cast<std::int64_t>(i);
    kernels::copy({.y = leaf_.aux.slice(0, at, at + 1), .x = aux.value});
    outputs.push_back(aux);
    seeds.push_back(Tensor::like(aux.value));
    seeds.back().fill(model_.parameters().tensor().rank() == 0 ? text.router_aux_loss_coef : 0);
  }
  tape_.backward(outputs, seeds);
  std::vector<Tensor> to;
  if (chunk_ == 0) {
    if (words_) to.push_back(wide(tape_.gradient(words_)));
    return to;
  }
  const Tensor dh = tape_.gradient(in_);
  to.push_back(dh ? wide(dh) : dh);
  if (balanced) to.push_back(counts);
  return to;
}

void LanguageChunk::add_words(const Onevision& model, const MicroBatch& batch, const Tensor& words,
                              const Tensor& table) {
  const Parameters& p = model.parameters();
  kernels::embedding_backward({.dtable = table,
                               .dy = words.dtype() == p.dtype() ? words : words.to(p.dtype()),
                               .ids = word_rows(p, batch, table.dim(0))});
}

}  // namespace ov
