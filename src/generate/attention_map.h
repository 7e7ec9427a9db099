// What an answer's token looked at: how the attention of the row that wrote it is spread over the tokens of the
// request's pictures (merged patches).
//
//   a_j = 1/(L H) Σ_l Σ_h p^lh_ij,   p^lh_ij = exp(s_j) / Σ_{j' <= i} exp(s_j'),   s_j = scale q^lh_i · k^lg_j
//
// i is the token before, from whose logits this one was drawn; head h of layer l reads key head g = h / (H/K). The mean
// over all layers and heads, in f64 from q and k as the layers have them. Σ_j a_j is at most 1: the rest is on text.
//
// It is made beside the model's own attention and nothing of the model reads it: an answer's bits are the same with it
// and without, and its own depend, as they do, on the request alone.
#pragma once
#include <vector>

#include "model/decoder.h"

namespace ov {

class AttentionMap : public KvStore {
 public:
  // Row `query` of a pass sees keys [first, first + keys) of it, of which `places` are wanted.
  struct Watch {
    std::int64_t query, first, keys;
    std::vector<std::int64_t> places;  // counted from `first`
    std::vector<double> mass = {};     // a_j of each
  };
  AttentionMap(KvStore& store, std::int64_t layers, std::vector<Watch> watches)
      : store_(store), layers_(layers), watches_(std::move(watches)) {}
  const std::vector<Watch>& watches() const { return watches_; }

  Tensor append_keys(std::int64_t layer, const Tensor& k_TKD) override { return store_.append_keys(layer, k_TKD); }
  Tensor append_values(std::int64_t layer, const Tensor& v_TKD) override { return store_.append_values(layer, v_TKD); }
  void advance(std::int64_t tokens) override { store_.advance(tokens); }
  void attends(std::int64_t layer, const Tensor& q_THD, const Tensor& k_SKD, double scale) override;

 private:
  KvStore& store_;
  std::int64_t layers_;
  std::vector<Watch> watches_;
};

}  // namespace ov
