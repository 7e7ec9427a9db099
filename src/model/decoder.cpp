#include "model/decoder.h"

#include <cmath>

#include "kernels/rope.h"
#include "parallel/expert.h"
#include "parallel/tensor.h"
#include "parallel/zero3.h"

namespace ov {

KvCache::KvCache(const TextConfig& c, std::int64_t capacity, Dtype dtype, Device& device) : capacity_(capacity) {
  for (std::int64_t i = 0; i < c.layers; ++i) {
    keys_.emplace_back(Shape{capacity, c.kv_heads, c.head_dim}, dtype, device);
    values_.emplace_back(Shape{capacity, c.kv_heads, c.head_dim}, dtype, device);
  }
}

Tensor KvCache::append(const std::vector<Tensor>& rows, std::int64_t layer, const Tensor& fresh) const {
  const Tensor& all = rows[static_cast<std::size_t>(layer)];
  const std::int64_t end = length_ + fresh.dim(0);
  if (end > capacity_) input_error("KV cache: ", end, " tokens where ", capacity_, " were reserved");
  all.slice(0, length_, end).copy_from(fresh);
  return all.slice(0, 0, end);
}

DecoderLayer::DecoderLayer(Parameters& set, const std::string& name, std::int64_t index, const TextConfig& c)
    : set(&set),
      name(name),
      block(set.begin_block()),
      index(index),
      heads(heads_of_rank(set, c.heads, "text.heads")),
      kv_heads(heads_of_rank(set, c.kv_heads, "text.kv_heads")),
      head_dim(c.head_dim) {
  const std::int64_t q_width = c.heads * head_dim, kv_width = c.kv_heads * head_dim;
  input_layernorm = RmsNorm(set, name + ".input_layernorm", c.hidden, c.norm_eps);
  qkv_w = set.fuse({set.declare(name + ".self_attn.q_proj.weight", {q_width, c.hidden}, Role::matrix, Cut::rows),
                    set.declare(name + ".self_attn.k_proj.weight", {kv_width, c.hidden}, Role::matrix, Cut::rows),
                    set.declare(name + ".self_attn.v_proj.weight", {kv_width, c.hidden}, Role::matrix, Cut::rows)});
  if (c.qkv_bias)
    qkv_b = set.fuse({set.declare(name + ".self_attn.q_proj.bias", {q_width}, Role::bias, Cut::rows),
                      set.declare(name + ".self_attn.k_proj.bias", {kv_width}, Role::bias, Cut::rows),
                      set.declare(name + ".self_attn.v_proj.bias", {kv_width}, Role::bias, Cut::rows)});
  if (c.qk_norm) {
    q_norm = RmsNorm(set, name + ".self_attn.q_norm", head_dim, c.norm_eps);
    k_norm = RmsNorm(set, name + ".self_attn.k_norm", head_dim, c.norm_eps);
  }
  o_proj = Linear(set, name + ".self_attn.o_proj", c.hidden, q_width, c.o_bias(), Role::projection_out, Cut::columns);
  post_attention_layernorm = RmsNorm(set, name + ".post_attention_layernorm", c.hidden, c.norm_eps);
  const MoeShape shape{c.hidden, c.experts, c.experts_per_token, c.expert_intermediate, c.norm_topk_prob};
  if (c.is_moe(index) && set.experts().ranks() > 1)
    mlp = std::make_unique<ExpertParallelMoe>(set, name + ".mlp", shape);
  else if (c.is_moe(index)) mlp = std::make_unique<Moe>(set, name + ".mlp", shape);
  else mlp = std::make_unique<DenseMlp>(set, name + ".mlp", c.hidden, c.intermediate);
  set.end_block();
}

Var DecoderLayer::attention(const Var& u_TC, const DecoderStep& step) const {
  const std::string at = name + ".self_attn";
  const auto qkv_THD = split(linear(u_TC, on_tape_of(u_TC, qkv_w), on_tape_of(u_TC, qkv_b)),
                             {{heads, head_dim}, {kv_heads, head_dim}, {kv_heads, head_dim}});
  const auto part = [&](std::size_t i) { return adapted(qkv_THD[i], u_TC, qkv_w, i); };
  Var q = named(at + ".q_proj", part(0)), k = named(at + ".k_proj", part(1)), v = named(at + ".v_proj", part(2));
  if (q_norm && !fuses(q))
    q = named(at + ".q_norm", (*q_norm)(q)), k = named(at + ".k_norm", (*k_norm)(k));  // per head, before the rotation
  const auto turned = [&](const Var& x, const std::optional<RmsNorm>& norm) {
    if (!norm || !fuses(x)) return rope(x, step.rope);
    return norm_rope(x, on_tape_of(x, norm->w), norm->eps, step.rope);
  };
  q = turned(q, q_norm), k = turned(k, k_norm);
  if (step.cache)
    k.value = step.cache->append_keys(index, k.value), v.value = step.cache->append_values(index, v.value);
  const double scale = 1 / std::sqrt(static_cast<double>(head_dim));
  if (step.context && step.context->keys) {
    // Wanted alike on all ranks (ContextPlan::moves_features).
    const bool wanted = q.tape && (q.tape->wants(k) || q.tape->wants(v));
    const auto seen = exchange_rows({k, v}, *step.context->keys, *step.context->ranks, wanted);
    k = seen[0], v = seen[1];
  }
  if (step.cache) step.cache->attends(index, q.value, k.value, scale);
  const Var o_THD = ov::attention(q, k, v, {step.segments, scale});
  return named(at, named(at + ".o_proj", o_proj(view(o_THD, {u_TC.dim(0), heads * head_dim}))));
}

MlpOutput DecoderLayer::forward(Residual& stream_TC, const DecoderStep& step) const {
  const std::int64_t T = step.rope.cos.dim(0);
  set->need(block);
  const auto whole = [&](const char* norm, const Var& x) { return all_rows(*set, named(name + norm, x), T); };
  const AddRmsNorm in = stream_TC.normed(input_layernorm);
  const Residual attended{in.h, own_rows_of_sum(*set, attention(whole(".input_layernorm", in.y), step))};
  const AddRmsNorm mid = attended.normed(post_attention_layernorm);
  MlpOutput out = (*mlp)(whole(".post_attention_layernorm", mid.y),
                         step.forced.empty() ? Tensor() : step.forced[static_cast<std::size_t>(index)]);
  stream_TC = {mid.h, values_come_back(*set, block, own_rows_of_sum(*set, out.y)), name};
  return out;
}

Var DecoderLayer::serve(const Var& nothing, bool leaf) const {
  set->need(block);
  return values_come_back(*set, block, mlp->serve(nothing, leaf));
}

Decoder::Decoder(Parameters& set, const TextConfig& c, const Chunks& chunks)
    : set(&set),
      config(c),
      embed_tokens(set.at(c.tied ? chunks.last() : 0)
                       .declare("model.language_model.embed_tokens.weight", {c.vocabulary, c.hidden}, Role::embedding,
                                Cut::rows)),
      inv_freq(set.constant(kernels::inverse_frequencies(c.head_dim, c.rope_theta))) {
  bool any_experts = false;
  for (std::int64_t i = 0; i < c.layers; ++i) any_experts = any_experts || c.is_moe(i);
  if (!any_experts && set.experts().ranks() > 1)
    input_error("parallel.experts ", set.experts().ranks(), ": the model has no experts");
  for (std::int64_t i = 0; i < c.layers; ++i)
    layers.emplace_back(set.at(chunks.of(i)), "model.language_model.layers." + std::to_string(i), i, c);
  norm = RmsNorm(set.at(chunks.last()), "model.language_model.norm", c.hidden, c.norm_eps);
}

DecoderStep Decoder::step(const Tensor& positions, std::shared_ptr<const kernels::Segments> segments, Dtype dtype,
                          std::shared_ptr<const ContextPart> context) const {
  DecoderStep all{std::move(segments), rope_table_1d(positions, *inv_freq, dtype)};
  all.context = std::move(context);
  return all;
}

Residual Decoder::run(const Var& x, Range which, const DecoderStep& step, std::int64_t recomputed,
                      Routers* routers) const {
  const bool adapted = set->adapts(Module::language_model) || set->adapts(Module::experts);
  Residual stream{x};
  const auto tell = [&](const Var& probabilities, const Tensor& offsets) {
    if (routers && offsets) routers->probabilities.push_back(probabilities), routers->offsets.push_back(offsets);
  };
  for (std::int64_t i = which.begin; i < which.end; ++i) {
    const DecoderLayer& layer = layers[static_cast<std::size_t>(i)];
    if (i >= recomputed || step.cache) {
      const MlpOutput out = layer.forward(stream, step);
      tell(out.probabilities, out.offsets);
      continue;
    }
    // What is kept between two blocks is one tensor, so that a block ends with its sum.
    const auto run = [&layer, step](std::span<const Var> in) {
      Residual inner{in[0]};
      const MlpOutput out = layer.forward(inner, step);
      const Var h = inner.sum();
      return out.offsets ? std::vector<Var>{h, out.probabilities, {out.offsets}} : std::vector<Var>{h};
    };
    // Ranks that share experts run backward alike, whoever of them wants a gradient.
    const bool trains = layer.qkv_w->trainable || adapted || set->experts().ranks() > 1;
    const std::vector<Var> out = recompute(run, {stream.sum()}, trains);
    stream = {out[0]};
    if (out.size() > 1) tell(out[1], out[2].value);
  }
  return stream;
}

Var Decoder::serve(Tape& tape, bool leaf, std::int64_t recomputed) const {
  Var nothing = tape.input(Tensor({0, config.hidden}, embed_tokens->value.dtype(), embed_tokens->value.device()));
  for (const DecoderLayer& layer : layers) {
    const auto run = [&layer, leaf](std::span<const Var> in) { return std::vector<Var>{layer.serve(in[0], leaf)}; };
    nothing = layer.index < recomputed ? recompute(run, {nothing}, true)[0] : run(std::array{nothing})[0];
  }
  return nothing;
}

Var Decoder::finish(const Residual& stream, std::int64_t tokens) const {
  return all_rows(*set, named("model.language_model.norm", stream.normed(norm).y), tokens);
}

Var Decoder::forward(const Var& x, const Tensor& positions, std::shared_ptr<const kernels::Segments> segments,
                     KvStore* cache, std::int64_t recomputed, Routers* routers, std::span<const Tensor> forced,
                     std::shared_ptr<const ContextPart> context) const {
  DecoderStep all = step(positions, std::move(segments), x.value.dtype(), std::move(context));
  all.cache = cache, all.forced = forced;
  const Residual stream = run(x, {0, config.layers}, all, recomputed, routers);
  if (cache) cache->advance(x.dim(0));
  return finish(stream, positions.numel());
}

}  // namespace ov
