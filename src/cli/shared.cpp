#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "base/io/durable_directory.h"
#include "base/parallel.h"
#include "cli/verbs.h"
#include "comm/rank_in_job.h"
#include "generate/engine.h"
#include "kernels/gpu/cuda_device.h"

namespace ov::cli {

std::string shipped(const Config& config, std::string_view key) {
  namespace fs = std::filesystem;
  const std::string& path = config.text(key);
  std::error_code none;
  if (path_exists(path)) return path;
  const fs::path beside = fs::read_symlink("/proc/self/exe", none).parent_path().parent_path() / path;
  return path_exists(beside) ? beside.string() : path;
}

void use_threads(const Config& config) {
  if (const std::int64_t n = config.integer("threads")) set_threads(static_cast<int>(n));
}

Sampling sampling_options(const Config& config) {
  return {.temperature = config.number("generate.temperature"),
          .top_k = config.integer("generate.top_k"),
          .top_p = config.number("generate.top_p"),
          .min_p = config.number("generate.min_p"),
          .repetition_penalty = config.number("generate.repetition_penalty"),
          .presence_penalty = config.number("generate.presence_penalty"),
          .frequency_penalty = config.number("generate.frequency_penalty"),
          .seed = static_cast<std::uint64_t>(config.integer("generate.seed"))};
}

EngineOptions engine_options(const Config& config) {
  return {.chunk = config.integer("engine.chunk"),
          .max_running = config.integer("engine.max_running"),
          .max_waiting = config.integer("engine.max_waiting"),
          .cache_bytes = static_cast<std::int64_t>(1e9 * config.number("engine.cache_gb")),
          .fitted = false,
          .share = config.flag("engine.share")};
}

PixelLimits pixel_limits(const Config& config) {
  PixelLimits limits;
  if (const std::int64_t n = config.integer("data.min_pixels")) limits.min_pixels = n;
  if (const std::int64_t n = config.integer("data.max_pixels")) limits.max_pixels = n;
  return limits;
}

PixelLimits picture_options(const Config& config) {
  PixelLimits limits = pixel_limits(config);
  limits.fast = config.text("numerics.processor") == "fast";
  return limits;
}

ProcessorConfig processor_limits(const Config& config) {
  ProcessorConfig images;
  const PixelLimits limits = picture_options(config);
  if (limits.fast) images.order = PassOrder::torch;
  images.min_pixels = limits.min_pixels.value_or(images.min_pixels);
  images.max_pixels = limits.max_pixels.value_or(images.max_pixels);
  return images;
}

Device& device_option(const Config& config) { return gpu::device_named(config.text("device")); }

LoadOptions load_options(const Config& config) {
  return {.dtype = dtype_option(config),
          .reference = config.text("numerics.reference"),
          .hf_shift_bug = config.flag("numerics.hf_shift_bug"),
          .pre_norm_eps = config.number("numerics.pre_norm_eps"),
          .merger_norm_eps = config.number("numerics.merger_norm_eps"),
          .segments = config.text("numerics.segments"),
          .device = &device_option(config),
          .adapter = config.text("model.adapter"),
          .in_place = true};  // no command that takes these trains
}

InitOptions init_options(const Config& config) {
  return {.matrix = config.text("init.matrix"),
          .matrix_std = config.number("init.matrix_std"),
          .projection_out_std = config.number("init.projection_out_std"),
          .embedding_std = config.number("init.embedding_std"),
          .patch_embedding_std = config.number("init.patch_embedding_std"),
          .class_vector_std = config.number("init.class_vector_std"),
          .class_angles_std = config.number("init.class_angles_std")};
}

Dtype dtype_option(const Config& config, std::string_view key) {
  const std::string& name = config.text(key);
  return name == "f64" ? Dtype::f64 : name == "bf16" ? Dtype::bf16 : Dtype::f32;
}

bool class_params_option(const Config& config) {
  const std::string &said = config.text("train.train_class_params"), &reference = config.text("numerics.reference");
  return said == "reference" ? reference == "hf" : said == "true";
}

RunOptions run_options(const Config& config) {
  return {.out = config.required("train.out"),
          .save_every = config.integer("train.save_every"),
          .keep = config.integer("train.keep"),
          .log_every = config.integer("log.every"),
          .export_dtype = dtype_option(config, "export.dtype"),
          .license = config.text("export.license"),
          .resume = config.flag("train.resume"),
          .config = config.dump(),
          .may_change = config.free_keys(),
          .defaults = config.defaults(),
          .device = &gpu::device_named(config.text("device"), rank_here(config).rank_here())};
}

LoraOptions lora_options(const Config& config) {
  for (const char* key : {"alpha", "rslora", "targets", "dropout", "seed", "start", "merged_model"})
    if (config.integer("lora.rank") == 0 && config.given(cat("lora.", key)))
      input_error("lora.", key, " has no effect without lora.rank");
  return {.rank = config.integer("lora.rank"),
          .alpha = config.number("lora.alpha"),
          .rslora = config.flag("lora.rslora"),
          .targets = config.list("lora.targets"),
          .dropout = config.number("lora.dropout"),
          .seed = static_cast<std::uint64_t>(config.integer("lora.seed")),
          .start = config.text("lora.start")};
}

void sum_options(const Config& config, StepOptions& step) {
  step.tree = config.text("train.grad_sum") == "tree";
  step.memory_budget = static_cast<std::int64_t>(1e9 * config.number("train.memory_budget"));
  if (config.flag("train.offload_optimizer")) step.optimizer.state_on = &cpu();
  const std::string& moments = config.text("optimizer.moments");
  step.optimizer.moments = moments == "f32"    ? Moments::full
                           : moments == "bf16" ? Moments::bf16
                                               : Moments::bf16_stochastic;
}

Recompute recompute_option(const Config& config) {
  const std::string& word = config.text("train.recompute");
  const std::int64_t blocks = config.integer("train.recompute_blocks");
  if (blocks > 0 && word != "true")
    input_error("train.recompute_blocks ", blocks, " has no effect with train.recompute ", word);
  return {word == "true", word == "auto", blocks > 0 ? blocks : every_block};
}

Recompute stated_recompute(const Config& config, const char* why_not) {
  const Recompute stated = recompute_option(config);
  if (stated.choose) input_error("train.recompute auto: ", why_not);
  return stated;
}

void step_options(const Config& config, StepOptions& step) {
  step.steps = config.integer("train.steps");
  const double peak = config.number("optimizer.lr"), min = config.number("optimizer.min_lr");
  const std::string& decay = config.text("schedule.decay");
  if (decay == "cosine" && min > peak)
    input_error("optimizer.min_lr is ", min, ", more than the peak, optimizer.lr ", peak,
                "; the rate would rise where it should decay");
  step.schedule = {.peak = peak,
                   .min = min,
                   .warmup = config.number("schedule.warmup"),
                   .decay = decay,
                   .first_step = config.integer("schedule.first_step")};
  step.optimizer = {.beta1 = config.number("optimizer.beta1"),
                    .beta2 = config.number("optimizer.beta2"),
                    .eps = config.number("optimizer.eps"),
                    .weight_decay = config.number("optimizer.weight_decay"),
                    .clip_grad = config.number("optimizer.clip_grad"),
                    .seed = static_cast<std::uint64_t>(config.integer("optimizer.seed")),
                    .no_decay = config.list("optimizer.no_decay")};
  step.checksum_every = config.integer("log.checksum_every");
  step.floor = config.flag("log.floor");
  step.zero = static_cast<int>(config.integer("parallel.zero"));
  overlap_option(config, step);
  sum_options(config, step);
  // The step of bf16 is at most 2^-7 of a number, and half of that is lost to the nearest.
  for (const char* beta : {"optimizer.beta1", "optimizer.beta2"})
    if (const double b = config.number(beta); step.optimizer.moments == Moments::bf16 && 1 - b <= 0x1p-8)
      input_error("optimizer.moments is bf16, and ", beta, " ", b, ": a step changes a moment by ", 1 - b,
                  " of it, which rounding to the nearest may lose for ever; choose bf16_stochastic");
}

void overlap_option(const Config& config, StepOptions& step) {
  if (const std::string& overlap = config.text("comm.overlap"); overlap != "auto") step.overlap = overlap == "true";
}

// What is drawn for an element counts its place in its rank's buffer, which pipelines, experts and classes divide.
void check_moments(const StepOptions& step) {
  if (step.optimizer.moments != Moments::bf16_stochastic) return;
  const std::pair<const char*, int> divided[] = {
      {"pipeline", step.pipeline}, {"experts", step.experts}, {"classes", step.classes}};
  for (const auto& [key, n] : divided)
    if (n > 1)
      input_error("optimizer.moments bf16_stochastic with parallel.", key, " ", n,
                  ": not built; its rounding would be another than one rank's. Choose bf16 or f32");
}

void mesh_options(const Config& config, StepOptions& step) {
  step.tensor = static_cast<int>(config.integer("parallel.tensor"));
  step.pipeline = static_cast<int>(config.integer("parallel.pipeline"));
  step.chunks = static_cast<int>(config.integer("parallel.chunks"));
  step.context = static_cast<int>(config.integer("parallel.context"));
  step.experts = static_cast<int>(config.integer("parallel.experts"));
  if (step.chunks > 1 && step.pipeline == 1)
    input_error("parallel.chunks ", step.chunks, " has no effect without parallel.pipeline");
  check_moments(step);
}

TrainOptions train_options(const Config& config) {
  TrainOptions train;
  step_options(config, train);
  mesh_options(config, train);
  train.normalise_by = normalise_by(config.text("loss.normalise_by"));
  train.aux_global = config.text("train.aux_scope") == "global";
  train.loss_rows = config.integer("train.loss_rows");
  return train;
}

LoaderOptions loader_options(const Config& config, std::string_view seed) {
  LoaderOptions data;
  data.samples_per_micro_batch = config.integer("train.micro_batch_samples");
  data.micro_batches_per_step = config.integer("train.micro_batches");
  data.seed = config.integer(seed);
  data.max_rejects = config.integer("data.max_rejects");
  return data;
}

namespace {

// Whether `out` is a file of a directory that a command wrote whole, such as a model's weights.
bool is_part(const std::string& out, const std::string& directory) {
  if (!DurableDirectory::complete(directory)) return false;
  std::error_code missing;
  const auto inner = std::filesystem::canonical(out, missing), outer = std::filesystem::canonical(directory, missing);
  return std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end()).first == outer.end();
}

// input_error when `path`, of what the command writes, is one of the files that it reads.
void refuse_read(const Config& config, const std::string& path) {
  std::error_code missing;
  if (!std::filesystem::is_regular_file(path, missing) && !std::filesystem::is_directory(path, missing)) return;
  for (const std::string& text : config.texts("out")) {
    for (const auto equals = text.find('='); const std::string& read : {text, text.substr(equals + 1)})
      if (std::filesystem::equivalent(path, read, missing) || is_part(path, read))
        input_error("out: ", path, " is also read (", text, ") and would be replaced; name another");
  }
}

void check_file(const Config& config, const std::string& path, std::string_view sign) {
  if (path.back() == '/') input_error("out: ", path, " ends in a slash, and this command writes a file; leave it out");
  refuse_read(config, path);
  std::error_code missing;
  if (std::filesystem::is_directory(path, missing))
    input_error("out: ", path, " is a directory, and this command writes a file; name another");
  if (!std::filesystem::is_regular_file(path, missing) || sign.empty()) return;
  const auto file = MappedFile::open(path);
  const std::string_view text = file->text();  // its beginning, and a whole line, however long
  const std::string_view start = text.substr(0, std::max<std::size_t>(65536, std::min(text.find('\n'), text.size())));
  if (!start.empty() && start.find(sign) == start.npos)
    input_error("out: ", path, " holds something else than this command writes, so it is not replaced; remove it, or ",
                "name another file");
}

}  // namespace

const std::string& output(const Config& config, std::string_view sign, const std::vector<Beside>& beside) {
  const std::string& out = config.required("out");
  check_file(config, out, sign);
  for (const Beside& b : beside) check_file(config, out + b.ending, b.sign);
  return out;
}

const std::string& output_directory(const Config& config, const std::string& command) {
  const std::string& out = config.required("out");
  refuse_read(config, out);
  DurableDirectory::recover(out);
  DurableDirectory::check(out, command);
  return out;
}

void print(const std::string& text) {
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  if (!written || std::fflush(stdout) != 0) machine_error("stdout: cannot write");
}

}  // namespace ov::cli
