// One function a command. Each fills the library's options from the configuration, calls the library, and prints the
// answer; stdout carries nothing else. They throw; main.cpp turns that into exit codes.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/config.h"
#include "base/error.h"
#include "data/load/loader.h"
#include "model/clip_config.h"
#include "model/files/hf_directory.h"
#include "nn/init.h"
#include "train/objectives/language.h"
#include "train/run_loop.h"

namespace ov {
struct ClusterOptions;
struct PlanOptions;
struct RegionHeadConfig;
struct EngineOptions;
struct Sampling;
struct RankInJob;
}  // namespace ov

namespace ov::cli {

// A round is done and another follows: the same shards, then the same merge again. Beside those of base/error.h.
inline constexpr Exit another_round = static_cast<Exit>(4);

Exit synth(const Config&);
Exit tokenizer(const Config&);
Exit pretrain(const Config&);
Exit merge(const Config&);
Exit embed(const Config&);
Exit concepts(const Config&);
Exit dedup(const Config&);
Exit balance(const Config&);
Exit cluster(const Config&);
Exit curate(const Config&);
Exit index(const Config&);
Exit pack(const Config&);
Exit train(const Config&);
Exit rl_train(const Config&);
Exit rl_select(const Config&);
Exit rl_table(const Config&);
Exit launch(const Config&);
Exit generate(const Config&);
Exit recall(const Config&);
Exit eval(const Config&);
Exit chat(const Config&);
Exit batch(const Config&);
Exit serve(const Config&);
Exit report(const Config&);
Exit inspect(const Config&);
Exit trace(const Config&);
Exit diff(const Config&);
Exit checkpoint(const Config&);
Exit plan(const Config&);
Exit bench(const Config&);
Exit help(const Config&);

RankInJob rank_here(const Config&);  // which of how many this process is (comm/rank_in_job.h): comm.address
// `work` as one of the ranks that this process is one of, or alone (comm/rank_in_job.h): comm.timeout, threads.
void in_ranks(const Config&, const std::function<void(Communicator&)>& work);
void set_ranks(const Config&, Communicator& ranks, RunOptions& run);  // and how many cores they have
// The ranks of a run, and log.trace: what to keep while it goes on.
std::unique_ptr<StepTrace> share(const Config&, Communicator& ranks, RunOptions& run);
bool first_rank();  // or the only one: who shows what it was told

// Keys that several commands share.
// A table that comes with the program (plan.devices, plan.links, synth.data_dir): as the key says; where nothing is
// there, beside the directory that the program lies in, so that it works in any directory.
std::string shipped(const Config&, std::string_view key);
void use_threads(const Config&);                  // threads
Sampling sampling_options(const Config&);         // generate.temperature to generate.seed
EngineOptions engine_options(const Config&);      // engine.*
PixelLimits pixel_limits(const Config&);          // data.min_pixels, data.max_pixels
PixelLimits picture_options(const Config&);       // and numerics.processor
ProcessorConfig processor_limits(const Config&);  // the same over the released processor's
Device& device_option(const Config&);             // device; machine_error when it is a GPU that is not there
LoadOptions load_options(const Config&);          // dtype, device, numerics.*, model.adapter
VisionConfig described_vision(const Config&);     // vision.*
TextConfig described_text(const Config&);         // text.*
ClipConfig described_clip(const Config&);         // vision.*, text.*, clip.*
// input_error where a file's keys describe another model than the one in `directory`, beside which they have no effect.
void refuse_otherwise(const Config&, const VisionConfig& own, const std::string& directory);
void refuse_otherwise(const Config&, const TextConfig& own, const std::string& directory);
void refuse_otherwise(const Config&, const ClipConfig& own, const std::string& directory);
void refuse_otherwise(const Config&, const ModelConfig& own, const std::string& directory);
RegionHeadConfig region_head(const Config&);                              // rice.*, but for the tables' sizes
ClusterOptions cluster_options(const Config&, const std::string& table);  // rice.objects or rice.characters
InitOptions init_options(const Config&);                                  // init.*
Dtype dtype_option(const Config&, std::string_view key = "dtype");
bool class_params_option(const Config&);        // train.train_class_params, numerics.reference
RunOptions run_options(const Config&);          // train.out, save_every, keep, resume, log.every, and all of them
LoraOptions lora_options(const Config&);        // lora.*
void sum_options(const Config&, StepOptions&);  // train.grad_sum, memory_budget, offload_optimizer, optimizer.moments
struct Recompute {
  bool on, choose;  // choose: how many is plan's to find
  std::int64_t first;
};
Recompute recompute_option(const Config&);  // train.recompute, recompute_blocks
// The same of a command that cannot choose: input_error with the reason where it should.
Recompute stated_recompute(const Config&, const char* why_not);
// train.recompute auto: so many blocks that a step like `first` fits what this rank has; like: options.dtype, train and
// lora are the run's.
std::int64_t fitting_blocks(const Config&, const RunOptions&, PlanOptions like, const ModelConfig&,
                            const GlobalStep& first);
// The same, train.steps, parallel.zero, schedule, optimizer without lr_scale, log.
void step_options(const Config&, StepOptions&);
void overlap_option(const Config&, StepOptions&);              // comm.overlap
void check_moments(const StepOptions&);                        // input_error: bf16_stochastic on divided parameters
void mesh_options(const Config&, StepOptions&);                // parallel.tensor, pipeline, chunks
TrainOptions train_options(const Config&);                     // the same, loss
Exit plan_rl(const Config&, const ModelConfig&);               // plan.rl
Exit plan_balancing(const Config&, const ClipConfig&);         // plan.pictures
PlanOptions plan_options(const Config&, const VisionConfig&);  // plan.*, and what of the above changes memory
// train.micro_batches, micro_batch_samples, data.max_rejects; seed: the key that has it.
LoaderOptions loader_options(const Config&, std::string_view seed);
// A file that a command writes beside OUT: how its name goes on, and what stands near the start of one of its own.
struct Beside {
  const char* ending;
  std::string_view sign;
};
// `out`, which must be given. input_error when it, or one of what is written beside it, is one of the files that the
// command reads, a directory, or a file without its sign: a slip of the hand replaces nobody's data.
const std::string& output(const Config&, std::string_view sign, const std::vector<Beside>& beside = {});
// The same for a directory that the command writes whole: it must be one that `command` may replace.
const std::string& output_directory(const Config&, const std::string& command);

// To stdout, to the last byte: machine_error when it cannot be written.
void print(const std::string& text);

}  // namespace ov::cli
