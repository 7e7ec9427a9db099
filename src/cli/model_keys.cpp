// The keys of a model's description and of its random initial values.
#include "cli/keys.h"

namespace ov::cli {

std::vector<Key> model_rows() {
  return {
      // --- a model's description (configs/model/*.json); the defaults are the 4B model's
      {"vision.depth", "", whole(24), at_least(1), "merge plan pretrain", "blocks of the vision tower"},
      {"vision.hidden", "", whole(1024), at_least(4), "merge plan pretrain", "its width"},
      {"vision.heads", "", whole(16), at_least(1), "merge plan pretrain", "its attention heads"},
      {"vision.intermediate", "", whole(4096), at_least(1), "merge plan pretrain", "width of its MLP"},
      {"vision.patch", "", whole(14), at_least(1), "merge plan pretrain", "pixels on a side of a patch"},
      {"vision.merge", "", whole(2), at_least(1), "merge plan pretrain", "patches on a side of a token"},
      {"text.vocabulary", "", whole(151936), at_least(0), "merge plan pretrain",
       "rows of the embedding; 0: as many as the tokenizer has"},
      {"text.hidden", "", whole(2560), at_least(1), "merge plan pretrain", "width of the decoder"},
      {"text.intermediate", "", whole(9728), at_least(1), "merge plan pretrain", "width of its MLP"},
      {"text.layers", "", whole(36), at_least(1), "merge plan pretrain", "layers of the decoder"},
      {"text.heads", "", whole(32), at_least(1), "merge plan pretrain", "query heads"},
      {"text.kv_heads", "", whole(8), at_least(1), "merge plan pretrain", "key and value heads"},
      {"text.head_dim", "", whole(128), at_least(2), "merge plan pretrain", "width of a head"},
      {"text.max_positions", "", whole(262144), at_least(1), "merge plan pretrain",
       "longest row that config.json promises"},
      {"text.rope_theta", "", 5e6, at_least(1), "merge plan pretrain", "base of the rotary frequencies"},
      {"text.norm_eps", "", 1e-6, Allowed(0, 1), "merge plan pretrain", "of the decoder's norms"},
      {"text.qkv_bias", "", false, any, "merge plan pretrain",
       "biases on q, k, v and, with text.qk_norm, the output, as Qwen3 has them"},
      {"text.qk_norm", "", true, any, "merge plan pretrain", "each head of q and k is normalised"},
      {"text.tied", "", false, any, "merge plan pretrain", "the head is the embedding"},
      {"text.experts", "", whole(0), at_least(0), "merge plan pretrain",
       "experts of a layer, a mixture in place of its MLP; 0: the decoder is dense"},
      {"text.experts_per_token", "", whole(8), at_least(1), "merge plan pretrain", "that a token goes through"},
      {"text.expert_intermediate", "", whole(768), at_least(1), "merge plan pretrain", "width of an expert"},
      {"text.sparse_step", "", whole(1), at_least(1), "merge plan pretrain",
       "every how many layers there is a mixture; the others are dense"},
      {"text.mlp_only_layers", "", Strings{}, any, "merge plan pretrain",
       "layers, from 0, that are dense all the same"},
      {"text.norm_topk_prob", "", true, any, "merge plan pretrain",
       "weights of the chosen experts are divided by their sum"},
      {"text.router_aux_loss_coef", "", 0.001, at_least(0), "merge plan pretrain",
       "of the loss that balances the experts, as config.json states it; 0: there is none"},

      // --- random initial values (nn/init.h)
      {"init.method", "init", "random", "random", "merge", "where the weights come from"},
      {"init.seed", "seed", whole(1), at_least(0), "merge", "of the random values"},
      {"init.matrix", "", "normal", "normal uniform_fan_in", "merge pretrain",
       "normal with matrix_std, or uniform within 1/sqrt(inputs)"},
      {"init.matrix_std", "", 0.02, Allowed(0, 10), "merge pretrain", "standard deviation of matrices"},
      {"init.projection_out_std", "", 0.02, Allowed(0, 10), "merge pretrain",
       "of output and down projections; 0: as other matrices"},
      {"init.embedding_std", "", 0.02, Allowed(0, 10), "merge pretrain", "of the token embedding"},
      {"init.patch_embedding_std", "", 0.02, Allowed(0, 10), "merge pretrain", "of the patch embedding"},
      {"init.class_vector_std", "", 0.0, Allowed(0, 10), "merge pretrain", "of the class token; 0: 1/sqrt(width)"},
      {"init.class_angles_std", "", 1.0, Allowed(0, 10), "merge pretrain", "of the class token's rotary angles"},
  };
}

}  // namespace ov::cli
