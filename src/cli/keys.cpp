#include "cli/keys.h"

namespace ov::cli {
namespace {

const Allowed any;

Value whole(std::int64_t v) { return v; }

std::vector<Command> commands() {
  return {
      {"synth", "", "draws pictures with conversations, the data of the demonstration"},
      {"merge", "", "makes a model directory from a model description and a tokenizer"},
      {"train", "", "trains a model directory on conversations and pictures"},
      {"generate", "", "answers a question about pictures; the answer goes to stdout"},
      {"recall", "", "asks a model the questions of a conversation file; exit 1 unless every answer is the taught one"},
      {"inspect", "tokens|image|checkpoint [FILE]",
       "shows what the program makes of texts, a picture, or a model directory"},
      {"trace", "", "writes every activation and gradient of one pass"},
      {"diff", "A B", "says where two traces or two run.jsonl first differ; B is the reference"},
      {"plan", "", "parameters, bytes by segment and FLOPs of a pass, before anything is allocated"},
      {"bench", "", "rates of our kernels against the peak that this machine's cores reach"},
      {"help", "[COMMAND]", "lists the commands, or the keys of one"},
  };
}

// A row: name, short name, default, what is allowed, the commands that use it, what it does.
std::vector<Key> rows() {
  return {
      // --- where things are
      {"model.dir", "model", "", any, "train generate recall trace plan", "Hugging Face model directory"},
      {"tokenizer", "", "", any, "merge inspect", "directory with tokenizer.json, or vocab.json and merges.txt"},
      {"in", "", "", any, "inspect", "JSON lines to read"},
      {"out", "", "", any, "synth merge trace inspect", "file or directory to write"},

      // --- data
      {"data.json", "data", "", any, "train recall", "conversations in LLaVA's format (README, \"Your own data\")"},
      {"data.image_dir", "", "", any, "train recall", "where its pictures are; empty: beside the file"},
      {"data.turns", "", "conversation", "conversation shared_prefix", "train",
       "several turns: one causal conversation, or one question each on a shared picture"},
      {"data.max_rejects", "", whole(0), at_least(0), "train",
       "samples that may be skipped for faults before the run ends"},
      {"data.seed", "seed", whole(1234), at_least(0), "train", "order of the samples"},
      {"data.min_pixels", "min_pixels", whole(0), at_least(0), "train generate recall inspect",
       "smallest picture area; 0: as the model's processor"},
      {"data.max_pixels", "max_pixels", whole(0), at_least(0), "train generate recall inspect",
       "largest picture area; 0: as the model's processor"},

      // --- the run
      {"train.out", "out", "", any, "train", "directory of the run: checkpoints, run.jsonl and the trained model"},
      {"train.steps", "steps", whole(100), at_least(1), "train", "optimiser steps"},
      {"train.micro_batches", "", whole(1), at_least(1), "train", "micro-batches a step"},
      {"train.micro_batch_samples", "", whole(1), at_least(1), "train", "samples packed into one micro-batch"},
      {"train.max_tokens", "", whole(32768), at_least(1), "train", "longest row of tokens"},
      {"train.grad_sum", "", "tree", "tree chain", "train",
       "how the gradients of micro-batches are added: a tree (same bits for aligned ranges, more buffers), or one "
       "after another"},
      {"train.recompute", "", false, any, "train plan",
       "keep no activations within blocks; run them again in backward"},
      {"train.modules", "", Strings{"language_model", "adapter", "vision_model"}, "language_model adapter vision_model",
       "train plan", "what is trained; the rest is frozen"},
      {"train.train_class_params", "", true, any, "train plan",
       "train class_embedding and class_pos_emb with the tower (Megatron: never)"},
      {"train.save_every", "", whole(0), at_least(0), "train", "steps between checkpoints; 0: only at the end"},
      {"train.keep", "", whole(2), at_least(1), "train", "newest checkpoints that are kept"},
      {"train.resume", "", true, any, "train", "go on from the newest complete checkpoint in train.out"},
      {"threads", "", whole(0), Allowed(0, 256), "train generate recall trace bench",
       "threads; 0: all cores. Any number gives the same bits"},

      // --- optimiser: AdamW (spec: the original's Megatron settings)
      {"optimizer.lr", "lr", 1e-5, Allowed(0, 1), "train", "peak learning rate, reached after the warm-up"},
      {"optimizer.min_lr", "", 1e-6, Allowed(0, 1), "train", "learning rate at the end of the decay"},
      {"optimizer.lr_scale.visual", "", 1.0, Allowed(0, 1e3), "train", "factor on the vision tower's learning rate"},
      {"optimizer.weight_decay", "", 0.0, Allowed(0, 1), "train", "decoupled weight decay; never on biases and norms"},
      {"optimizer.beta1", "", 0.9, Allowed(0, 1), "train", "decay of the first moment"},
      {"optimizer.beta2", "", 0.99, Allowed(0, 1), "train", "decay of the second moment"},
      {"optimizer.eps", "", 1e-5, Allowed(0, 1), "train", "added to the root of the second moment"},
      {"optimizer.clip_grad", "", 1.0, Allowed(0, 1e6), "train", "global gradient norm limit; 0 turns it off"},
      {"optimizer.no_decay", "", Strings{}, any, "train", "parts of parameter names that take no weight decay either"},

      {"schedule.warmup", "", 0.002, Allowed(0, 1), "train",
       "share of the steps in which the learning rate rises from 0"},
      {"schedule.decay", "", "cosine", "cosine constant", "train", "what follows the warm-up"},
      {"schedule.first_step", "", whole(0), Allowed(0, 1), "train",
       "number of the first step in the schedule (the original: 0)"},
      {"loss.normalise_by", "", "global_token_mean", "micro_batch_mean global_token_mean sample_mean", "train",
       "what the summed token losses are divided by"},

      // --- numbers
      {"dtype", "", "f32", "f32 f64", "train trace plan", "type of weights and activations"},
      {"numerics.reference", "numerics", "hf", "hf megatron", "train generate recall trace",
       "whose constants where the two reference implementations disagree"},
      {"numerics.hf_shift_bug", "hf_shift_bug", false, any, "train generate recall trace",
       "reproduce the released code's shift of every image after the first"},
      {"numerics.pre_norm_eps", "", 0.0, Allowed(0, 1), "generate recall trace",
       "of the norm before the tower's blocks; 0: as the reference"},
      {"numerics.merger_norm_eps", "", 0.0, Allowed(0, 1), "generate recall trace",
       "of the merger's norm; 0: as the reference"},

      {"log.every", "", whole(1), at_least(1), "train", "steps between lines of run.jsonl"},
      {"log.checksum_every", "", whole(1), at_least(0), "train",
       "steps between checksums of batch, loss, gradients, parameters; 0: none"},

      // --- a model's description (configs/model/*.json); the defaults are the 4B model's
      {"vision.depth", "", whole(24), at_least(1), "merge plan", "blocks of the vision tower"},
      {"vision.hidden", "", whole(1024), at_least(4), "merge plan", "its width"},
      {"vision.heads", "", whole(16), at_least(1), "merge plan", "its attention heads"},
      {"vision.intermediate", "", whole(4096), at_least(1), "merge plan", "width of its MLP"},
      {"vision.patch", "", whole(14), at_least(1), "merge plan", "pixels on a side of a patch"},
      {"vision.merge", "", whole(2), at_least(1), "merge plan", "patches on a side of a token"},
      {"text.vocabulary", "", whole(151936), at_least(0), "merge plan",
       "rows of the embedding; 0: as many as the tokenizer has"},
      {"text.hidden", "", whole(2560), at_least(1), "merge plan", "width of the decoder"},
      {"text.intermediate", "", whole(9728), at_least(1), "merge plan", "width of its MLP"},
      {"text.layers", "", whole(36), at_least(1), "merge plan", "layers of the decoder"},
      {"text.heads", "", whole(32), at_least(1), "merge plan", "query heads"},
      {"text.kv_heads", "", whole(8), at_least(1), "merge plan", "key and value heads"},
      {"text.head_dim", "", whole(128), at_least(2), "merge plan", "width of a head"},
      {"text.max_positions", "", whole(262144), at_least(1), "merge plan", "longest row that config.json promises"},
      {"text.rope_theta", "", 5e6, at_least(1), "merge plan", "base of the rotary frequencies"},
      {"text.norm_eps", "", 1e-6, Allowed(0, 1), "merge plan", "of the decoder's norms"},
      {"text.qkv_bias", "", false, any, "merge plan", "biases on q, k, v"},
      {"text.tied", "", false, any, "merge plan", "the head is the embedding"},

      // --- random initial values (nn/init.h)
      {"init.method", "init", "random", "random", "merge", "where the weights come from"},
      {"init.seed", "seed", whole(1), at_least(0), "merge", "of the random values"},
      {"init.matrix", "", "normal", "normal uniform_fan_in", "merge",
       "normal with matrix_std, or uniform within 1/sqrt(inputs)"},
      {"init.matrix_std", "", 0.02, Allowed(0, 10), "merge plan", "standard deviation of matrices"},
      {"init.projection_out_std", "", 0.02, Allowed(0, 10), "merge",
       "of output and down projections; 0: as other matrices"},
      {"init.embedding_std", "", 0.02, Allowed(0, 10), "merge", "of the token embedding"},
      {"init.patch_embedding_std", "", 0.02, Allowed(0, 10), "merge", "of the patch embedding"},
      {"init.class_vector_std", "", 0.0, Allowed(0, 10), "merge", "of the class token; 0: 1/sqrt(width)"},
      {"init.class_angles_std", "", 1.0, Allowed(0, 10), "merge", "of the class token's rotary angles"},

      // --- the other commands
      {"synth.seed", "seed", whole(1), at_least(0), "synth", "of the pictures"},
      {"synth.count", "count", whole(10), at_least(1), "synth", "pictures"},
      {"synth.data_dir", "", "data/toy_world", any, "synth", "words and glyphs"},
      {"generate.images", "image", Strings{}, any, "generate", "pictures, shown before the prompt"},
      {"generate.prompt", "prompt", "", any, "generate", "the question"},
      {"generate.max_new_tokens", "max_new_tokens", whole(128), at_least(0), "generate recall", "longest answer"},
      {"generate.ids", "ids", false, any, "generate", "print the ids as JSON instead of the text"},
      {"trace.input", "input", "", any, "trace",
       "safetensors with input_ids, and if wanted labels, pixel_values, image_grid_thw"},
      {"diff.rtol", "rtol", 1e-5, at_least(0), "diff", "allowed difference, as a share of a tensor's largest element"},
      {"plan.height", "", whole(560), at_least(1), "plan", "height of each picture in pixels"},
      {"plan.width", "", whole(560), at_least(1), "plan", "width of each picture in pixels"},
      {"plan.images", "", whole(1), at_least(0), "plan", "pictures in the row"},
      {"plan.text_tokens", "", whole(112), at_least(1), "plan", "other tokens in the row"},
      {"plan.labelled", "", whole(0), at_least(0), "plan", "tokens that pass through the head; 0: all"},
      {"bench.repeats", "", whole(11), at_least(1), "bench", "timings of each product, of which the median counts"},
      {"help.markdown", "markdown", false, any, "help", "all keys as one markdown table"},
  };
}

}  // namespace

const KeyTable& keys() {
  static const KeyTable table(commands(), rows());
  return table;
}

}  // namespace ov::cli
