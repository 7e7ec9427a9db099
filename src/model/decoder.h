// The Qwen3 decoder: RMS norms, rotary positions, grouped queries with q/k norms, SwiGLU or a mixture of experts.
#pragma once
#include <optional>

#include "model/config.h"
#include "nn/moe.h"
#include "parallel/context.h"
#include "parallel/pipeline.h"

namespace ov {

// Keys (after norm and rotation) and values of tokens that went before: a layer hands over those of its T fresh tokens
// and gets all rows that the segments of this pass speak of.
class KvStore {
 public:
  virtual ~KvStore() = default;
  virtual Tensor append_keys(std::int64_t layer, const Tensor& k_TKD) = 0;
  virtual Tensor append_values(std::int64_t layer, const Tensor& v_TKD) = 0;
  virtual void advance(std::int64_t tokens) = 0;  // after the last layer
  // For who asks what a layer looks at, after it was given its keys: q [T,H,D] of the fresh tokens after norm and
  // rotation, k [S,K,D] that append_keys returned; scores are scale q·k.
  virtual void attends(std::int64_t /*layer*/, const Tensor& /*q_THD*/, const Tensor& /*k_SKD*/, double /*scale*/) {}
};

// Of one sequence, in one piece: rows length() .. length() + T of a layer are written, all up to there come back.
class KvCache : public KvStore {
 public:
  KvCache(const TextConfig& config, std::int64_t capacity, Dtype dtype, Device& device);
  std::int64_t length() const { return length_; }
  std::int64_t capacity() const { return capacity_; }
  void advance(std::int64_t tokens) override { length_ += tokens; }
  Tensor append_keys(std::int64_t layer, const Tensor& k_TKD) override { return append(keys_, layer, k_TKD); }
  Tensor append_values(std::int64_t layer, const Tensor& v_TKD) override { return append(values_, layer, v_TKD); }

 private:
  Tensor append(const std::vector<Tensor>& rows, std::int64_t layer, const Tensor& fresh) const;
  std::vector<Tensor> keys_, values_;  // one a layer: [capacity, K, D]
  std::int64_t length_ = 0, capacity_;
};

struct DecoderStep {
  std::shared_ptr<const kernels::Segments> segments;  // causal within each row of it
  RopeTable rope;
  KvStore* cache = nullptr;
  std::span<const Tensor> forced = {};              // Decoder::forward
  std::shared_ptr<const ContextPart> context = {};  // of context-parallel ranks, whose segments those are
};

struct DecoderLayer {
  DecoderLayer(Parameters& set, const std::string& name, std::int64_t index, const TextConfig& config);
  Var attention(const Var& u_TC, const DecoderStep& step) const;
  MlpOutput forward(Residual& stream_TC, const DecoderStep& step) const;  // y is in the stream
  Var serve(const Var& nothing, bool leaf) const;                         // Decoder::serve, of this layer

  const Parameters* set;
  std::string name;
  int block;                                      // Parameters::begin_block
  std::int64_t index, heads, kv_heads, head_dim;  // heads of this rank
  RmsNorm input_layernorm;
  Parameter *qkv_w, *qkv_b = nullptr;  // q|k|v: three names, one product
  std::optional<RmsNorm> q_norm, k_norm;
  Linear o_proj;
  RmsNorm post_attention_layernorm;
  std::unique_ptr<Mlp> mlp;
};

struct Decoder {
  // `chunks`: of a pipeline, whose ranks each hold what is in theirs; the head's has a tied table.
  Decoder(Parameters& set, const TextConfig& config, const Chunks& chunks = {});
  // h [T,C], of tensor-parallel ranks own rows; positions [T] i64 -> [T,C], all rows, after the last norm. `routers`:
  // where they tell, if given. forced: by layer, the experts of every token [T,k] i64; empty: the routers choose.
  Var forward(const Var& h, const Tensor& positions, std::shared_ptr<const kernels::Segments> segments, KvStore* cache,
              std::int64_t recomputed, Routers* routers = nullptr, std::span<const Tensor> forced = {},
              std::shared_ptr<const ContextPart> context = {}) const;
  // The parts of it, as a pipeline runs them.
  DecoderStep step(const Tensor& positions, std::shared_ptr<const kernels::Segments> segments, Dtype dtype,
                   std::shared_ptr<const ContextPart> context = {}) const;
  Residual run(const Var& h, Range which, const DecoderStep& step, std::int64_t recomputed, Routers* routers) const;
  Var finish(const Residual& stream, std::int64_t tokens) const;
  // In place of forward on a rank that shares experts and has no token: what it does for the others. leaf: it has a
  // micro-batch, of no tokens. [0,C]; its backward is part of it.
  Var serve(Tape& tape, bool leaf, std::int64_t recomputed) const;

  const Parameters* set;
  TextConfig config;
  Parameter* embed_tokens;
  std::vector<DecoderLayer> layers;
  RmsNorm norm;
  const Tensor* inv_freq;  // [D/2] f32
};

}  // namespace ov
