// One training step of a language model, from token ids to updated weights, on one page: a decoder of two layers
// (Qwen3) written with kernels/*.h alone. Each part is its forward pass, what it keeps, and its backward pass. The
// equations stand in the kernels' headers. At the end the step is compared, bit for bit, with the tape's.
//
// Shapes: T tokens, C hidden width, H query heads, K key heads, D head width, F MLP width, V vocabulary.
// A `d` in front is the gradient. Backward writes dx fresh and adds to dw.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>

#include "kernels/adamw.h"
#include "kernels/attention.h"
#include "kernels/cross_entropy.h"
#include "kernels/gemm.h"
#include "kernels/rmsnorm.h"
#include "kernels/rope.h"
#include "kernels/rows.h"
#include "kernels/swiglu.h"
#include "model/decoder.h"
#include "nn/init.h"
#include "train/optimizer.h"

using namespace ov;
using namespace ov::kernels;

namespace {

const TextConfig config{
    .vocabulary = 50, .hidden = 24, .intermediate = 40, .layers = 2, .heads = 4, .kv_heads = 2, .head_dim = 8};
const std::int64_t C = config.hidden, H = config.heads, K = config.kv_heads, D = config.head_dim,
                   F = config.intermediate, V = config.vocabulary;
const double eps = config.norm_eps, scale = 1 / std::sqrt(static_cast<double>(D));

Tensor array(const Shape& shape) { return Tensor(shape, Dtype::f32, cpu()); }

// A weight and its gradient: slices of the two flat buffers, in the order of the checkpoint.
struct Weight {
  Tensor w, dw;
};
struct Buffers {
  Tensor values, gradients;
  std::int64_t next = 0;
  Weight take(const Shape& shape) {
    const std::int64_t begin = next, end = next += shape.numel();
    return {values.slice(0, begin, end).view(shape), gradients.slice(0, begin, end).view(shape)};
  }
};

// y = x wᵀ
struct Product {
  Weight w;
  Tensor x = {};
  Tensor forward(const Tensor& in) {
    x = in;
    const Tensor y = array({x.dim(0), w.w.dim(0)});
    gemm({.c = y, .a = x, .b = w.w, .trans_b = true});
    return y;
  }
  Tensor backward(const Tensor& dy) const {
    const Tensor dx = array(x.shape());
    gemm({.c = dx, .a = dy, .b = w.w});
    gemm({.c = w.dw, .a = dy, .b = x, .trans_a = true, .accumulate = true});
    return dx;
  }
};

// y = w x / rms(x), over the last axis: of a token, or of each of its heads.
struct Norm {
  Weight w;
  Tensor x = {}, rstd = {};
  Tensor forward(const Tensor& in) {
    x = in, rstd = array({x.numel() / x.dim(-1)});
    const Tensor y = array(x.shape());
    rmsnorm_forward({.y = y, .rstd = rstd, .x = x, .w = w.w, .eps = eps});
    return y;
  }
  void backward(const Tensor& dx, const Tensor& dy) const {
    rmsnorm_backward({.dx = dx, .dw = w.dw, .dy = dy, .x = x, .w = w.w, .rstd = rstd});
  }
};

// Where every token stands, and whom it sees.
struct Sequence {
  Tensor cos, sin, segments;
};

// q, k, v = u W; o = softmax(q̂ k̂ᵀ / √D) v, causal, with q̂ and k̂ normalised per head and rotated; y = o W_o
struct Attention {
  Product qkv;
  Norm q_norm, k_norm;
  Product out;
  Tensor q = {}, k = {}, v = {}, o = {}, lse = {};

  static Tensor heads(const Tensor& qkv, std::int64_t first, std::int64_t count) {  // a view, no copy
    return qkv.slice(1, first * D, (first + count) * D).view({qkv.dim(0), count, D});
  }
  Tensor forward(const Tensor& u, const Sequence& s) {
    const std::int64_t T = u.dim(0);
    const Tensor all = qkv.forward(u);  // [T, (H + 2 K) D]
    q = array({T, H, D}), k = array({T, K, D}), v = heads(all, H + K, K);
    rope_forward({.y = q, .x = q_norm.forward(heads(all, 0, H)), .cos = s.cos, .sin = s.sin});
    rope_forward({.y = k, .x = k_norm.forward(heads(all, H, K)), .cos = s.cos, .sin = s.sin});
    o = array({T, H, D}), lse = array({T, H});
    attention_forward(
        {.o = o, .lse = lse, .q = q, .k = k, .v = v, .segments = s.segments, .causal = true, .scale = scale});
    return out.forward(o.view({T, H * D}));
  }
  Tensor backward(const Tensor& dy, const Sequence& s) const {
    const std::int64_t T = dy.dim(0);
    const Tensor dq = array(q.shape()), dk = array(k.shape()), dall = array({T, (H + 2 * K) * D});
    attention_backward({.dq = dq,
                        .dk = dk,
                        .dv = heads(dall, H + K, K),
                        .d_o = out.backward(dy).view({T, H, D}),
                        .q = q,
                        .k = k,
                        .v = v,
                        .o = o,
                        .lse = lse,
                        .segments = s.segments,
                        .causal = true,
                        .scale = scale});
    const Tensor dq_normed = array(q.shape()), dk_normed = array(k.shape());
    rope_backward({.dx = dq_normed, .dcos = {}, .dsin = {}, .dy = dq, .x = q, .cos = s.cos, .sin = s.sin});
    rope_backward({.dx = dk_normed, .dcos = {}, .dsin = {}, .dy = dk, .x = k, .cos = s.cos, .sin = s.sin});
    q_norm.backward(heads(dall, 0, H), dq_normed);
    k_norm.backward(heads(dall, H, K), dk_normed);
    return qkv.backward(dall);
  }
};

// y = (silu(g) ⊙ u) W_down with g | u = x W
struct Mlp {
  Product gate_up, down;
  Tensor gate = {}, up = {};
  Tensor forward(const Tensor& x) {
    const Tensor both = gate_up.forward(x), y = array({x.dim(0), F});
    gate = both.slice(1, 0, F), up = both.slice(1, F, 2 * F);
    swiglu_forward({.y = y, .gate = gate, .up = up});
    return down.forward(y);
  }
  Tensor backward(const Tensor& dy) const {
    const Tensor dboth = array({dy.dim(0), 2 * F});
    swiglu_backward({.dgate = dboth.slice(1, 0, F),
                     .dup = dboth.slice(1, F, 2 * F),
                     .dy = down.backward(dy),
                     .gate = gate,
                     .up = up});
    return gate_up.backward(dboth);
  }
};

// h ← h + attention(norm(h)),  h ← h + mlp(norm(h)): a gradient takes both ways and is added.
struct Layer {
  Norm norm1;
  Attention attention;
  Norm norm2;
  Mlp mlp;
  Tensor forward(const Tensor& h, const Sequence& s) {
    const Tensor middle = array(h.shape()), y = array(h.shape());
    add({.y = middle, .a = h, .b = attention.forward(norm1.forward(h), s)});
    add({.y = y, .a = middle, .b = mlp.forward(norm2.forward(middle))});
    return y;
  }
  Tensor backward(const Tensor& dy, const Sequence& s) const {
    const Tensor through = array(dy.shape()), dmiddle = array(dy.shape()), dh = array(dy.shape());
    norm2.backward(through, mlp.backward(dy));
    add({.y = dmiddle, .a = dy, .b = through});
    norm1.backward(through, attention.backward(dmiddle, s));
    add({.y = dh, .a = dmiddle, .b = through});
    return dh;
  }
};

struct Batch {
  Tensor ids, positions, targets, weights;  // [T]; targets are the ids one later, weights 0 where nothing is learned
  double labelled;
};
struct Step {
  double loss, norm;
};

// The whole step. `values` is updated.
Step train(const Tensor& values, const Batch& batch) {
  const std::int64_t T = batch.ids.numel();
  Buffers b{values, Tensor::zeros(values.shape(), Dtype::f32, cpu())};
  const Weight embedding = b.take({V, C});
  std::vector<Layer> layers;
  for (std::int64_t l = 0; l < config.layers; ++l)
    layers.push_back({{b.take({C})},
                      {{b.take({(H + 2 * K) * D, C})}, {b.take({D})}, {b.take({D})}, {b.take({C, H * D})}},
                      {b.take({C})},
                      {{b.take({2 * F, C})}, {b.take({C, F})}}});
  Norm norm{b.take({C})};
  Product head{b.take({V, C})};

  // Forward: ids -> h -> logits -> loss.
  Sequence s{array({T, D / 2}), array({T, D / 2}), Segments({{0, T, 0, T}}, T, T, true, cpu()).rows};
  rope_table_1d({.cos = s.cos,
                 .sin = s.sin,
                 .positions = batch.positions,
                 .inv_freq = Tensor::of(inverse_frequencies(D, config.rope_theta), {D / 2})});
  Tensor h = array({T, C});
  embedding_forward({.y = h, .ids = batch.ids, .table = embedding.w});
  for (Layer& layer : layers) h = layer.forward(h, s);
  const Tensor logits = head.forward(norm.forward(h)), loss = array({1}), token_loss = array({T}), lse = array({T, 2});
  cross_entropy_forward({.loss = loss,
                         .token_loss = token_loss,
                         .lse = lse,
                         .logits = logits,
                         .targets = batch.targets,
                         .weights = batch.weights,
                         .denominator = batch.labelled});

  // Backward: the same parts, last first.
  const Tensor dlogits = array({T, V}), dloss = Tensor::of(std::vector<float>{1}, {1});
  cross_entropy_backward({.dlogits = dlogits,
                          .dloss = dloss,
                          .logits = logits,
                          .targets = batch.targets,
                          .weights = batch.weights,
                          .lse = lse,
                          .denominator = batch.labelled});
  Tensor dh = array({T, C});
  norm.backward(dh, head.backward(dlogits));
  for (std::int64_t l = config.layers; l-- > 0;) dh = layers[static_cast<std::size_t>(l)].backward(dh, s);
  embedding_backward({.dtable = embedding.dw, .dy = dh, .ids = batch.ids});

  // The update: one clip for all gradients, then AdamW; moments start at zero.
  const Tensor partial({(values.numel() + norm_chunk - 1) / norm_chunk}, Dtype::f64, cpu()),
      length({1}, Dtype::f64, cpu()), clip = Tensor::like(length);
  squared_sums({.partial = partial, .x = b.gradients});
  clip_factor({.norm = length, .clip = clip, .partial = partial, .limit = 1});
  adamw({.param = values,
         .m = Tensor::zeros(values.shape(), Dtype::f32, cpu()),
         .v = Tensor::zeros(values.shape(), Dtype::f32, cpu()),
         .grad = b.gradients,
         .clip = clip,
         .lr = 1e-3,
         .beta1 = 0.9,
         .beta2 = 0.99,
         .eps = 1e-5,
         .weight_decay = 0,
         .step = 1});
  return {static_cast<double>(loss.data<float>()[0]), length.data<double>()[0]};
}

// The same step by the model's own classes and the tape.
struct TapeModel {
  Parameters set;
  Decoder decoder{set, config};
  Parameter* head = set.declare("lm_head.weight", {V, C}, Role::matrix);
  TapeModel() {
    set.allocate(Dtype::f32, cpu());
    initialize(set, {.matrix_std = 0.2, .projection_out_std = 0.2, .embedding_std = 0.5}, 3);
    set.train([](const auto&) { return true; });
  }
  Step train(const Batch& batch) {
    const std::int64_t T = batch.ids.numel();
    const Tensor gradients = set.gradient_buffer();
    gradients.zero();
    Tape tape(gradients);
    const Var h = embedding(batch.ids, tape.parameter(*decoder.embed_tokens));
    const auto segments = std::make_shared<Segments>(SegmentTable{{0, T, 0, T}}, T, T, true, cpu());
    const Var logits = linear(decoder.forward(h, batch.positions, segments, nullptr, false), tape.parameter(*head));
    const CrossEntropy ce = cross_entropy(logits, batch.targets, batch.weights, batch.labelled);
    tape.backward(ce.loss, Tensor::of(std::vector<float>{1}, {1}));
    const Tensor norm({1}, Dtype::f64, cpu());
    Optimizer(set, OptimizerOptions{}).step(gradients, 1e-3, norm);
    return {static_cast<double>(ce.loss.value.data<float>()[0]), norm.data<double>()[0]};
  }
};

}  // namespace

TEST_CASE("lecture: a step written with the kernels alone has the tape's bits") {
  const std::int64_t T = 70;  // more than a block of keys
  std::vector<std::int64_t> ids, positions, targets;
  std::vector<float> weights;
  for (std::int64_t t = 0; t < T; ++t) {
    ids.push_back((t * t + 3 * t) % V), positions.push_back(t);
    targets.push_back(((t + 1) * (t + 1) + 3 * (t + 1)) % V);
    weights.push_back(t % 5 == 0 ? 0.f : 1.f);
  }
  const Batch batch{Tensor::of(ids, {T}), Tensor::of(positions, {T}), Tensor::of(targets, {T}),
                    Tensor::of(weights, {T}), 56};
  TapeModel model;
  const Tensor values = model.set.values().contiguous_copy(), before = values.contiguous_copy();
  const Step ours = train(values, batch), tapes = model.train(batch);
  CHECK(ours.loss == tapes.loss);
  CHECK(ours.norm == tapes.norm);
  CHECK(ours.norm > 1);  // so that the clip does something
  const auto same = [&](const Tensor& x) {
    return std::memcmp(x.bytes(), model.set.values().bytes(), x.nbytes()) == 0;
  };
  CHECK(same(values));
  CHECK_FALSE(same(before));
  CHECK(train(before, batch).loss == ours.loss);  // a step from the same weights is the same step
  CHECK(same(before));
}
