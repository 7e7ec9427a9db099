#include "cli/keys.h"

#include "cli/verbs.h"

namespace ov::cli {
namespace {

// The verbs: name, operands, what it does, the function, and whether it shows what it was told before it works.
std::vector<Command> commands() {
  return {
      {"synth", "", "draws pictures with conversations, the data of the demonstration", synth},
      {"tokenizer", "", "learns a byte-level BPE tokenizer from files", tokenizer, true},
      {"pretrain", "", "trains a part by itself: the vision tower on regions, the decoder on text; or CLIP on captions",
       pretrain, true},
      {"merge", "",
       "makes a model directory from a tokenizer and two trained parts, or from a description of what has no source",
       merge, true},
      {"embed", "", "pictures, or a vocabulary of concepts, as directions in a CLIP model's space", embed, true},
      {"concepts", "", "a vocabulary of concepts from captions, or a given one counted in them", concepts, true},
      {"dedup", "", "leaves out records whose pictures are the same, nearly, or an evaluation's", dedup, true},
      {"balance", "", "draws pictures by the inverse frequency of their concepts: a manifest", balance, true},
      {"cluster", "", "embedded pictures or regions in clusters (k-means): a manifest, RICE's classes", cluster, true},
      {"curate", "", "instruction data of many sets as one: standardised, reworded, made safe, filtered, balanced",
       curate, true},
      {"index", "", "writes beside a data set where its records begin, so that opening it takes no time and no memory",
       index},
      {"pack", "", "writes which samples share a row of tokens: an index, no copies", pack},
      {"train", "", "trains a model directory on conversations and pictures", train, true},
      {"rl-select", "",
       "draws answers to every prompt and keeps the records that reinforcement learning can learn from", rl_select},
      {"rl", "",
       "trains a model directory by reinforcement learning with verified rewards (GRPO), or on preferences (DPO)",
       rl_train, true},
      {"rl-table", "", "tells how much better one evaluation is than another, with paired standard errors", rl_table},
      {"launch", "-- COMMAND...", "runs train, pretrain or rl in several ranks, processes of this machine", launch},
      {"generate", "", "answers a question about pictures; the answer goes to stdout", generate},
      {"recall", "", "asks a model the questions of a conversation file; exit 1 unless every answer is the taught one",
       recall},
      {"eval", "", "scores a model's answers to held-out questions, beside two baselines that see nothing", eval},
      {"chat", "", "talks: questions are typed, answers are streamed; /help lists what else can be typed", chat},
      {"batch", "", "answers the lines of a file, in order; a run that was cut off goes on where it was", batch},
      {"serve", "", "answers over HTTP in the OpenAI API's form, until SIGTERM", serve},
      {"report", "", "writes one page about a run: curves, accuracy, packing, time, pictures, configuration, hashes",
       report},
      {"inspect", "tokens|image|parquet|webdataset|checkpoint|eval|reward [FILE]",
       "shows what the program makes of texts, a picture or data, what a model directory or an evaluation holds, or "
       "rewards",
       inspect},
      {"trace", "",
       "writes every activation and gradient of one pass; of a CLIP model also embeddings, logits and loss", trace},
      {"diff", "A B", "says where two traces or two runs (directories, run.jsonl) first differ; B is the reference",
       diff},
      {"checkpoint", "check|convert|diff DIR [OTHER]",
       "says what is wrong with a model directory, writes it in another type or with other shards, or compares two",
       checkpoint},
      {"plan", "", "parameters, bytes, FLOPs and time of a step, before anything is allocated", plan},
      {"bench", "", "rates of our kernels against the peak that this machine's cores reach", bench},
      {"help", "[COMMAND]", "lists the commands, or the keys of one", help},
  };
}

// A row: name, short name, default, what is allowed, the commands that use it, what it does, and whether a resumed run
// may change it.
std::vector<Key> rows() {
  return {
      // --- where things are
      {"model.dir", "model", "", any,
       "train pack generate recall trace plan pretrain eval chat batch serve embed rl rl-select",
       "Hugging Face model directory", Resume::free},
      {"model.adapter", "adapter", "", any, "generate recall trace eval checkpoint chat batch serve rl-select",
       "directory of a LoRA adapter (PEFT) that is added to the model's weights"},
      {"tokenizer", "", "", any, "merge inspect pretrain plan",
       "directory with tokenizer.json, or vocab.json and merges.txt", Resume::free},
      {"in", "", "", any, "inspect batch", "JSON lines to read"},
      {"out", "", "", any,
       "synth pack merge trace inspect tokenizer eval report checkpoint batch embed concepts dedup balance "
       "cluster curate rl-select",
       "file or directory to write"},

      // --- data
      {"data.json", "data", "", any, "train recall", "conversations: LLaVA's format, Parquet or webdataset (README)",
       Resume::free},
      {"data.packs", "packs", "", any, "train", "index that pack wrote, in place of data.json", Resume::free},
      {"index.data", "data", Strings{}, any, "index", "data sets: JSON, Parquet, webdatasets, mixtures"},
      {"pack.sources", "sources", Strings{}, any, "pack", "conversation files and webdataset directories"},
      {"pack.capacity", "capacity", whole(8192), at_least(1), "pack", "tokens of a pack"},
      {"pack.max_patches", "", whole(0), at_least(0), "pack", "patches of a pack; 0: no limit"},
      {"pack.balance", "", "shuffle", "shuffle patches", "pack",
       "samples of one length may change places between packs: shuffle leaves them as drawn, patches gives every pack "
       "about as many patches of pictures"},
      {"pack.lengths", "lengths", "", any, "pack",
       "instead of data: lengths, one a line of a file, or the release's, \"released\" or \"captions\"; writes "
       "nothing"},
      {"pack.samples", "", whole(1000000), Allowed(1, 200000000), "pack",
       "how many lengths are drawn of the release's"},
      {"pack.seed", "seed", whole(1234), at_least(0), "pack", "of the packs' composition and order"},
      {"data.image_dir", "", "", any, "train recall pack pretrain embed dedup rl rl-select",
       "where its pictures are; empty: beside the file"},
      {"data.turns", "", "conversation", "conversation shared_prefix", "train pack",
       "several turns: one causal conversation, or one question each on a shared picture"},
      {"data.max_rejects", "", whole(0), at_least(0), "train pack pretrain eval embed concepts dedup",
       "samples that may be skipped for faults before the run ends", Resume::free},
      {"data.seed", "seed", whole(1234), at_least(0), "train", "order of the samples"},
      {"data.min_pixels", "min_pixels", whole(0), at_least(0),
       "train pack generate recall inspect pretrain eval merge chat batch serve rl rl-select",
       "smallest picture area; 0: as the model's processor"},
      {"data.max_pixels", "max_pixels", whole(0), at_least(0),
       "train pack generate recall inspect pretrain eval merge chat batch serve rl rl-select",
       "largest picture area; 0: as the model's processor"},

      {"data.text", "text", Strings{}, any, "tokenizer pretrain",
       "text to learn from: JSON lines of text, or of prefix and turns; a tokenizer also reads plain text and "
       "conversations",
       Resume::free},
      {"data.layout", "", "chat", "chat plain", "pretrain",
       "records with turns: questions in the chat format on a shared description, or documents"},
      {"data.learn_prefix", "", "all", "all but_first none", "pretrain",
       "which tokens of a shared description are learnt"},
      {"data.regions", "regions", "", any, "pretrain", "pictures with annotated regions, JSON lines", Resume::free},
      {"data.captions", "captions", "", any, "pretrain",
       "pictures with captions: conversations or webdataset shards, of which the first answers count", Resume::free},
      {"data.regions_per_picture", "", whole(10), Allowed(0, 65536), "pretrain plan",
       "regions of a picture in a step; 0: all of them"},
      {"data.labels_per_text", "", whole(10), at_least(0), "pretrain plan", "characters of a string in a step; 0: all"},

      // --- the run
      {"pretrain.what", "what", "", "vision text clip", "pretrain plan",
       "which part is trained, or a CLIP model; plan without it: a whole model"},
      {"pretrain.from", "from", "", any, "pretrain",
       "with --what vision: out of an earlier such run, with whose weights, the head's too, a new one begins"},
      {"pretrain.seed", "seed", whole(1), at_least(0), "pretrain", "of initial values, order and draws"},
      {"train.out", "out", "", any, "train pretrain rl",
       "directory of the run: checkpoints, run.jsonl and the trained model", Resume::free},
      {"train.steps", "steps", whole(100), at_least(1), "train pretrain rl plan", "optimiser steps", Resume::free},
      {"train.micro_batches", "", whole(1), Allowed(1, 1 << 20), "train pretrain plan", "micro-batches a step"},
      {"train.micro_batch_samples", "", whole(1), at_least(1), "train pretrain", "samples packed into one micro-batch"},
      {"train.max_tokens", "", whole(32768), at_least(1), "train pretrain rl",
       "longest row of tokens; rl without --objective dpo fills such rows with prompts and their answers: a step's "
       "micro-batches, which ranks divide"},
      {"train.grad_sum", "", "tree", "tree chain", "train pretrain plan rl",
       "how the gradients of micro-batches are added: a tree (same bits for aligned ranges, more buffers), or one "
       "after another (not in a pipeline that trains tied embeddings)"},
      {"train.memory_budget", "", 0.0, Allowed(0, 1e6), "train pretrain plan rl",
       "gigabytes that micro-batches may take that run side by side: it bounds how many do, at least one; and what "
       "train.recompute=auto fits a step into; 0: any",
       Resume::free},
      {"train.recompute", "", "false", "false true auto", "train pretrain plan rl",
       "keep no activations within blocks; run them again in backward; auto, of plan, train and pretrain --what text: "
       "the fewest blocks that fit plan.device, or train.memory_budget, or what the device has",
       Resume::free},
      {"train.recompute_blocks", "", whole(0), at_least(0), "train pretrain plan rl",
       "of train.recompute the first so many blocks alone, the tower's, then the decoder's layers; 0: all",
       Resume::free},
      {"train.loss_rows", "", whole(0), at_least(0), "train pretrain plan",
       "labelled rows that pass through the head at a time, a multiple of 384: logits never exist whole, for one more "
       "product in backward; 0: all at once"},
      {"train.offload_optimizer", "", false, any, "train pretrain plan rl",
       "moments and masters lie in the host's memory and are brought to the device range by range; same bits",
       Resume::free},
      {"train.modules", "", Strings{"language_model", "adapter", "vision_model"}, "language_model adapter vision_model",
       "train plan rl", "what is trained; the rest is frozen"},
      {"train.train_class_params", "", "reference", "reference true false", "train plan rl",
       "train class_embedding and class_pos_emb with the tower; reference: hf does, megatron never"},
      {"train.aux_scope", "", "micro_batch", "micro_batch global", "train pretrain plan",
       "what the loss that balances experts is of: each micro-batch, and their mean; or the whole step, for one more "
       "forward pass"},
      {"train.save_every", "", whole(0), at_least(0), "train pretrain rl",
       "steps between checkpoints; 0: only at the end", Resume::free},
      {"train.keep", "", whole(2), at_least(1), "train pretrain rl", "newest checkpoints that are kept", Resume::free},
      {"train.resume", "", true, any, "train pretrain rl", "go on from the newest complete checkpoint in train.out",
       Resume::free},
      {"device", "", "cpu", "cpu cuda auto",
       "train pretrain trace generate recall eval merge batch chat serve embed rl rl-select",
       "where the model works: cpu; cuda, a GPU; auto, a GPU where there is one, else the cpu. Each repeats its own "
       "bits"},
      {"threads", "", whole(0), Allowed(0, 256),
       "train pack index generate recall trace bench pretrain eval plan chat batch serve embed concepts dedup balance "
       "cluster curate rl rl-select",
       "threads; 0: all cores. Any number gives the same bits", Resume::free},

      {"convert.dtype", "", "stored", "stored f32 bf16", "checkpoint", "type of the weights that are written"},
      {"convert.shard_gb", "", 5.0, Allowed(1e-6, 1e6), "checkpoint", "largest file of weights, in 10^9 bytes"},
      {"export.untied_head", "", false, any, "train merge checkpoint",
       "write a tied model with a copy of the embedding for a head, as NeMo AutoModel needs it"},
      {"export.dtype", "", "f32", "f32 bf16", "train merge pretrain rl",
       "type of the weights that are written: f32, with all digits of the masters (f64 of an f64 run), or bf16",
       Resume::free},
      {"export.license", "", "", any, "train merge pretrain rl",
       "licence on the model card, as Hugging Face names it (apache-2.0); empty: that of the model it starts from",
       Resume::free},

      // --- optimiser: AdamW (defaults: the original's Megatron scripts)
      {"optimizer.lr", "lr", 1e-5, Allowed(0, 1), "train pretrain rl", "peak learning rate, reached after the warm-up"},
      {"optimizer.min_lr", "", 1e-6, Allowed(0, 1), "train pretrain rl", "learning rate at the end of the decay"},
      {"optimizer.lr_scale.visual", "", 1.0, Allowed(0, 1e3), "train rl", "factor on the vision tower's learning rate"},
      {"optimizer.weight_decay", "", 0.0, Allowed(0, 1), "train pretrain rl",
       "decoupled weight decay; never on biases and norms"},
      {"optimizer.beta1", "", 0.9, Allowed(0, 0.999999), "train pretrain rl", "decay of the first moment"},
      {"optimizer.beta2", "", 0.99, Allowed(0, 0.999999), "train pretrain rl", "decay of the second moment"},
      {"optimizer.moments", "", "f32", "f32 bf16 bf16_stochastic", "train pretrain plan rl",
       "what the moments are kept in: f32 (f64 of an f64 run), or bf16, 4 bytes a parameter less: rounded to the "
       "nearest, for betas below 0.996, or by chance, which is right on average "
       "(not with parallel.pipeline, experts or classes)"},
      {"optimizer.seed", "", whole(1), at_least(0), "train pretrain rl", "of moments that are rounded by chance"},
      {"optimizer.eps", "", 1e-5, Allowed(1e-20, 1), "train pretrain rl", "added to the root of the second moment"},
      {"optimizer.clip_grad", "", 1.0, Allowed(0, 1e6), "train pretrain rl",
       "global gradient norm limit; 0 turns it off"},
      {"optimizer.no_decay", "", Strings{}, any, "train pretrain rl",
       "parts of parameter names that take no weight decay either"},

      {"schedule.warmup", "", 0.002, Allowed(0, 1), "train pretrain rl",
       "share of the steps in which the learning rate rises from 0"},
      {"schedule.decay", "", "cosine", "cosine constant", "train pretrain rl", "what follows the warm-up"},
      {"schedule.first_step", "", whole(0), Allowed(0, 1), "train pretrain rl",
       "number of the first step in the schedule (the original: 0)"},
      {"loss.normalise_by", "", "global_token_mean", "micro_batch_mean global_token_mean sample_mean", "train pretrain",
       "what the summed token losses are divided by"},

      // --- LoRA (nn/lora.h): low-rank matrices are learnt beside those of train.modules, which stay as they are
      {"lora.rank", "", whole(0), Allowed(0, 1 << 16), "train plan",
       "rank of what is learnt beside a matrix; 0: no LoRA. Not with parallel.tensor, pipeline, experts or zero 3"},
      {"lora.alpha", "", 32.0, Allowed(1e-6, 1e6), "train", "its factor is alpha / rank"},
      {"lora.rslora", "", false, any, "train", "its factor is alpha / sqrt(rank)"},
      {"lora.targets", "", Strings{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}, any,
       "train plan", "the matrices: names or their ends behind a dot, all-linear, * for any letters"},
      {"lora.dropout", "", 0.0, Allowed(0, 0.999999), "train plan",
       "share of the input that an adapter does not see in a step"},
      {"lora.seed", "", whole(1), at_least(0), "train", "of its initial values and of what is dropped"},
      {"lora.start", "", "", any, "train", "directory of an adapter (PEFT) to go on from; empty: a new one",
       Resume::free},
      {"lora.merged_model", "", true, any, "train",
       "write train.out/model, the model with the adapter in its weights, beside train.out/adapter", Resume::free},

      // --- numbers
      {"dtype", "", "f32", "f32 f64 bf16",
       "train trace plan pretrain generate recall eval chat batch serve embed rl rl-select",
       "type of weights and activations; bf16 keeps f32 master weights, moments and sums of gradients, and a trace "
       "stores bf16 numbers as f32"},
      {"numerics.reference", "numerics", "hf", "hf megatron",
       "train generate recall trace eval plan chat batch serve rl rl-select",
       "whose constants where the two reference implementations disagree"},
      {"numerics.hf_shift_bug", "hf_shift_bug", false, any,
       "train generate recall trace eval chat batch serve rl rl-select",
       "reproduce the released code's shift of every image after the first"},
      {"numerics.pre_norm_eps", "", 0.0, Allowed(0, 1),
       "train generate recall trace eval chat batch serve rl rl-select",
       "of the norm before the tower's blocks; 0: as the reference"},
      {"numerics.merger_norm_eps", "", 0.0, Allowed(0, 1),
       "train generate recall trace eval chat batch serve rl rl-select", "of the merger's norm; 0: as the reference"},
      {"numerics.segments", "", "reference", "reference per_frame per_grid_row",
       "generate recall trace eval chat batch serve rl-select",
       "what attends to itself, with a class token, in the tower: each frame of a video (hf) or the whole (megatron)"},
      {"numerics.processor", "", "slow", "slow fast",
       "train generate recall eval inspect pretrain batch chat serve rl rl-select",
       "whose arithmetic turns pictures into patches: Transformers' slow processor, or the fast one, which resizes "
       "as torchvision does and rounds otherwise"},

      {"log.every", "", whole(1), at_least(1), "train pretrain rl", "steps between lines of run.jsonl", Resume::free},
      {"log.floor", "", false, any, "train pretrain rl",
       "measure the least time that every step could take on this machine", Resume::free},
      {"log.checksum_every", "", whole(1), at_least(0), "train pretrain rl",
       "steps between checksums of batch, loss, gradients, parameters; 0: none", Resume::free},

      {"log.trace", "", "", any, "train pretrain",
       "file for one step of all ranks in Chrome's trace format: operations, calls, who waited for whom; empty: none",
       Resume::free},
      {"log.trace_step", "", whole(2), at_least(1), "train pretrain", "which step, from 1", Resume::free},

      // --- a tokenizer
      {"bpe.vocabulary", "", whole(768), at_least(256), "tokenizer",
       "tokens that are learnt, the 256 bytes among them; Qwen2's 22 added ones come on top"},
      {"bpe.min_count", "", whole(2), at_least(1), "tokenizer", "pairs that occur less often are not merged"},
      {"bpe.added", "", Strings{}, any, "tokenizer", "more added tokens, after Qwen2's"},

      // --- the merge
      {"merge.tower", "tower", "", any, "merge",
       "directory of the vision tower, whose description comes with it; empty: vision.* and init.*"},
      {"merge.language", "language", "", any, "merge",
       "directory of the language model, whose description comes with it; empty: text.* and init.*"},
      {"merge.tied", "", false, any, "merge",
       "the head of a language model without one stays its embedding; else it becomes a copy that is trained by "
       "itself"},

      // --- region cluster discrimination (model/region_head.h, train/objectives/cluster_discrimination.h)
      {"rice.layers", "", whole(2), Allowed(1, 256), "pretrain plan", "region layers behind the tower"},
      {"rice.embedding", "", whole(0), Allowed(0, 1 << 20), "pretrain plan",
       "width of a region's embedding; 0: the tower's"},
      {"rice.query", "", "class_token", "class_token learned", "pretrain plan", "what a region's query starts from"},
      {"rice.mlp", "", true, any, "pretrain plan", "region layers have an MLP"},
      {"rice.rope", "", true, any, "pretrain plan", "their keys are rotated by position"},
      {"rice.class_token_key", "", false, any, "pretrain plan", "regions see their picture's class token"},
      {"rice.min_overlap", "", 0.5, Allowed(0, 1), "pretrain plan",
       "share of a patch that a box must cover for its region to see it; 0: any touch"},
      {"rice.class_blocks", "", whole(1), Allowed(1, 4096), "pretrain plan",
       "blocks of classes over which sums are made: what parallel.classes divides. Another number is another order of "
       "the same sums"},
      {"rice.margin", "", "cosface", "cosface arcface arcface_straight_through", "pretrain plan",
       "how the margin enters a positive's logit"},
      {"rice.filter_above", "", 0.0, Allowed(0, 1), "pretrain plan",
       "negatives with a cosine above it do not count; 0: all count"},
      {"rice.objects.loss", "", "decoupled", "decoupled softmax", "pretrain plan",
       "the paper's loss (variant A), or the public code's softmax (variant B), objects"},
      {"rice.objects.scale", "", 64.0, at_least(0), "pretrain plan", "factor on cosines, objects"},
      {"rice.objects.m", "", 0.3, Allowed(0, 1), "pretrain plan", "margin, objects"},
      {"rice.objects.density", "", 0.1, Allowed(0, 1), "pretrain plan",
       "share of the classes drawn in a step, objects"},
      {"rice.objects.weight", "", 1.0, at_least(0), "pretrain plan", "of the objects' loss"},
      {"rice.characters.loss", "", "decoupled", "decoupled softmax", "pretrain plan",
       "the paper's loss (variant A), or the public code's softmax (variant B), characters"},
      {"rice.characters.scale", "", 64.0, at_least(0), "pretrain plan", "factor on cosines, characters"},
      {"rice.characters.m", "", 0.3, Allowed(0, 1), "pretrain plan", "margin, characters"},
      {"rice.characters.density", "", 0.1, Allowed(0, 1), "pretrain plan", "share of the classes drawn, characters"},
      {"rice.characters.weight", "", 1.0, at_least(0), "pretrain plan", "of the characters' loss"},

      // --- CLIP (model/clip_config.h); its towers are vision.* and text.*
      {"clip.image", "", whole(224), at_least(1), "pretrain plan", "pixels on a side of a picture"},
      {"clip.projection", "", whole(512), at_least(1), "pretrain plan",
       "width of the space that pictures and texts share"},
      {"clip.act", "", "quick_gelu", "quick_gelu gelu", "pretrain plan", "activation of the MLPs"},
      {"clip.max_scale", "", 100.0, at_least(1), "pretrain", "factor on cosines at most (CLIP: 100)"},

      // --- the other commands
      {"synth.seed", "seed", whole(1), at_least(0), "synth", "of the pictures"},
      {"synth.count", "count", whole(10), Allowed(1, 1 << 20), "synth", "pictures"},
      {"synth.what", "what", "lessons", "lessons world zipf", "synth",
       "ten pictures, the whole toy world, or a pool of pictures whose kinds follow Zipf's law"},
      {"synth.mixture", "", "default", any, "synth",
       "world: of mixtures.json, which pictures how often, and what is asked"},
      {"synth.instruct", "", whole(10000), at_least(0), "synth", "world: pictures with conversations"},
      {"synth.captions", "", whole(10000), at_least(0), "synth", "world: pictures with captions"},
      {"synth.regions", "", whole(10000), at_least(0), "synth", "world: pictures with annotated regions"},
      {"synth.text", "", whole(20000), at_least(0), "synth", "world: documents of text"},
      {"synth.test", "", whole(300), at_least(0), "synth", "world: held-out questions per category"},
      {"synth.pool", "", whole(10000), at_least(1), "synth", "zipf: pictures of the pool"},
      {"synth.test_per_kind", "", whole(10), at_least(1), "synth", "zipf: held-out questions of every kind"},
      {"synth.exponent", "", 1.1, Allowed(0, 4), "synth", "zipf: of the law; 0 draws all kinds alike"},
      {"synth.data_dir", "", "data/toy_world", any, "synth", "words and glyphs"},
      {"generate.images", "image", Strings{}, any, "generate", "pictures, shown before the prompt"},
      {"generate.prompt", "prompt", "", any, "generate", "the question"},
      {"generate.max_new_tokens", "max_new_tokens", whole(128), at_least(0), "generate recall eval", "longest answer"},
      {"generate.ids", "ids", false, any, "generate", "print the ids as JSON instead of the text"},
      {"eval.data", "data", "", any, "eval",
       "held-out questions: a directory of *.jsonl and pictures; of a public task its Parquet, JSON lines or folder"},
      {"eval.tasks", "tasks", "", any, "eval",
       "file of categories and scorers, or of tasks on own data; or names of public tasks, as mmmu_val,ocrbench: "
       "a name that is none lists all"},
      {"eval.score", "score", "", any, "eval", "stored answers to a public task, one case a line; no model is run"},
      {"eval.compat", "compat", "lmms-0.7.3", "lmms-0.7.3 fixed", "eval",
       "public tasks as lmms-eval scores them, or with its plain faults mended"},
      {"eval.compare", "compare", "", any, "eval", "scored lines of another run over the same questions"},
      {"eval.limit", "limit", whole(0), at_least(0), "eval", "questions of each category; 0: all"},
      {"eval.expected", "expected", "", any, "eval",
       "file with the SHA-256 of the weights to expect; empty: nothing is compared"},
      {"report.title", "title", "onevision", any, "report", "heading of the page"},
      {"report.stages", "stages", Strings{}, any, "report", "runs in order: NAME=directory, or NAME=run.jsonl"},
      {"report.eval", "eval", "", any, "report", "what eval wrote: its directory; empty: no accuracy, no pictures"},
      {"report.packs", "packs", Strings{}, any, "report", "packings: NAME=index that pack wrote, or its .report.json"},
      {"report.strip", "strip", "", any, "report",
       "directory for four answered pictures and a loss curve, as the README shows them; empty: none"},
      {"report.pictures", "pictures", whole(16), at_least(0), "report", "pictures with question and answer"},
      {"trace.input", "input", "", any, "trace",
       "safetensors with input_ids, and if wanted labels, pixel_values, image_grid_thw. --model may also be a bare "
       "Qwen3 or Qwen3-MoE: names are then model.*, gradients of loss + router_aux_loss_coef aux_loss; or a CLIP "
       "model, "
       "with input_ids [B,T] and pixel_values [B,3,H,W]"},
      {"trace.experts", "experts", "", any, "trace",
       "a trace whose routers' choice of experts is kept (its act.<layer>.mlp.gate), to compare a mixture in two "
       "types"},
      {"diff.rtol", "rtol", 1e-5, at_least(0), "diff",
       "of traces: allowed difference, as a share of a tensor's largest element; runs have none"},
      {"bench.repeats", "", whole(11), Allowed(1, 1 << 20), "bench",
       "timings of each product, of which the median counts"},
      {"help.markdown", "markdown", false, any, "help", "all keys as one markdown table"},
  };
}

}  // namespace

const KeyTable& keys() {
  static const KeyTable table = [] {
    std::vector<Key> all = rows();
    for (const auto& more :
         {model_rows(), answer_rows(), curate_rows(), instruct_rows(), plan_rows(), rl_rows(), rank_rows()})
      all.insert(all.end(), more.begin(), more.end());
    return KeyTable(commands(), std::move(all));
  }();
  return table;
}

}  // namespace ov::cli
