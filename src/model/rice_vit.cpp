#include "model/rice_vit.h"

#include <cmath>

#include "kernels/rope.h"
#include "parallel/tensor.h"
#include "parallel/zero3.h"

namespace ov {

VisionBlock::VisionBlock(Parameters& set, const std::string& name, const VisionConfig& c)
    : set(&set),
      name(name),
      block(set.begin_block()),
      heads(heads_of_rank(set, c.heads, "vision.heads")),
      head_dim(c.head_dim()),
      norm1(set, name + ".norm1", c.hidden, c.block_norm_eps),
      norm2(set, name + ".norm2", c.hidden, c.block_norm_eps),
      qkv(set, name + ".attn.qkv", 3 * c.hidden, c.hidden, true, Role::matrix, Cut::thirds),
      proj(set, name + ".attn.proj", c.hidden, c.hidden, true, Role::projection_out, Cut::columns),
      fc1(set, name + ".mlp.fc1", c.intermediate, c.hidden, true, Role::matrix, Cut::rows),
      fc2(set, name + ".mlp.fc2", c.hidden, c.intermediate, true, Role::projection_out, Cut::columns) {
  set.end_block();
}

Var VisionBlock::attention(const Var& u_NC, const RopeTable& table, const VisionLayout& layout) const {
  const Shape per_head{heads, head_dim};
  const auto qkv_NHD = split(qkv(u_NC), {per_head, per_head, per_head});  // rows of the weight: all q, all k, all v
  const Var q = rope(qkv_NHD[0], table), k = rope(qkv_NHD[1], table);
  const Var o_NHD = ov::attention(q, k, qkv_NHD[2], {layout.segments, 1 / std::sqrt(static_cast<double>(head_dim))});
  const Var out = named(name + ".attn.proj", proj(view(o_NHD, {u_NC.dim(0), heads * head_dim})));
  return named(name + ".attn", out);
}

Var VisionBlock::mlp(const Var& u_NC) const { return named(name + ".mlp", fc2(gelu(fc1(u_NC)))); }

Var VisionBlock::forward(const Var& h_NC, const RopeTable& table, const VisionLayout& layout) const {
  set->need(block);
  const auto whole = [&](const char* norm, const Var& x) {
    return all_rows(*set, named(name + norm, x), table.cos.dim(0));
  };
  // Attention is full, within each image.
  const Var h = h_NC + own_rows_of_sum(*set, attention(whole(".norm1", norm1(h_NC)), table, layout));
  const Var out = named(name, h + own_rows_of_sum(*set, mlp(whole(".norm2", norm2(h)))));
  return values_come_back(*set, block, out);
}

Merger::Merger(Parameters& set, const std::string& name, const VisionConfig& c, std::int64_t text_hidden)
    : name(name),
      group(c.merge * c.merge),
      ln_q(set, name + ".ln_q", c.hidden, c.merger_norm_eps),
      fc1(set, name + ".mlp.0", group * c.hidden, group * c.hidden, true, Role::matrix, Cut::rows),
      fc2(set, name + ".mlp.2", text_hidden, group * c.hidden, true, Role::matrix, Cut::columns) {}

Var Merger::forward(const Var& h_PC) const {
  const Var u_PC = named(name + ".ln_q", ln_q(h_PC));  // every patch by itself, before they are joined
  const Var y = fc2(gelu(fc1(view(u_PC, {h_PC.dim(0) / group, group * h_PC.dim(1)}))));
  return named(name, named(name + ".mlp", y));
}

Var pixels_on(Tape* tape, const Tensor& pixels, const Parameters& parameters) {
  const Dtype dtype = parameters.dtype();
  const Tensor here = (pixels.dtype() == dtype ? pixels : pixels.to(dtype, Segment::data)).to(parameters.device());
  return tape ? tape->input(here) : Var{here};
}

RiceVit::RiceVit(Parameters& set, const VisionConfig& c)
    : set(&set),
      config(c),
      class_embedding(set.declare("model.visual.class_embedding", {c.hidden}, Role::class_vector)),
      class_pos_emb(set.declare("model.visual.class_pos_emb", {1, c.head_dim() / 2}, Role::class_angles)),
      patch_embed(set.declare("model.visual.patch_embed.proj.weight", {c.hidden, c.channels, c.patch, c.patch},
                              Role::patch_embedding)),
      pre_layernorm(set, "model.visual.pre_layernorm", c.hidden, c.pre_norm_eps),
      inv_freq(set.constant(kernels::inverse_frequencies(c.head_dim() / 2, c.rope_theta))) {
  for (std::int64_t i = 0; i < c.depth; ++i) blocks.emplace_back(set, "model.visual.blocks." + std::to_string(i), c);
}

Var RiceVit::rows(const Var& pixels, const VisionLayout& layout, std::int64_t recomputed) const {
  const Var kernel = on_tape_of(pixels, patch_embed);
  const Var h_PC =
      linear(pixels, view(kernel, {config.hidden, config.patch_values()}));  // a convolution whose stride is its width
  named("model.visual.patch_embed", named("model.visual.patch_embed.proj", h_PC));
  Var h_NC = insert_class_tokens(h_PC, on_tape_of(h_PC, class_embedding), layout.class_rows);
  const RopeTable table = rope_table_2d(layout.positions, *inv_freq, on_tape_of(h_PC, class_pos_emb));

  const bool adapted = set->adapts(Module::vision_model);
  h_NC = named("model.visual.pre_layernorm", pre_layernorm(own_rows(*set, h_NC)));
  for (std::int64_t i = 0; const VisionBlock& b : blocks) {
    if (i++ >= recomputed) {
      // Views, so that every block's q and k are added before the blocks are, as recompute() does: the same bits.
      const RopeTable own{view(table.cos, table.cos.shape()), view(table.sin, table.sin.shape())};
      h_NC = b.forward(h_NC, own, layout);
      continue;
    }
    h_NC = recompute(
        [&b, layout](std::span<const Var> x) {  // a copy: backward comes when the caller's is gone
          return std::vector<Var>{b.forward(x[0], {x[1], x[2]}, layout)};
        },
        {h_NC, table.cos, table.sin}, b.qkv.w->trainable || adapted)[0];
  }
  return h_NC;
}

Var RiceVit::forward(const Var& pixels, const VisionLayout& layout, std::int64_t recomputed) const {
  return take_rows(all_rows(*set, rows(pixels, layout, recomputed), layout.positions.dim(0)), layout.patch_rows);
}

}  // namespace ov
