#include "model/files/merge.h"

#include <cstdio>
#include <tuple>

#include "cli/verbs.h"
#include "train/stages/pretrain_text.h"

namespace ov::cli {
namespace {

constexpr const char* check_text = "The quick brown fox jumps over 13 lazy dogs. 你好";

}  // namespace

Exit merge(const Config& config) {
  const std::string& out = output_directory(config, "merge");
  const std::string& directory = config.required("tokenizer");
  const Tokenizer tokenizer = Tokenizer::read(directory);
  MergeOptions options{.tower = config.text("merge.tower"),
                       .language = config.text("merge.language"),
                       .described = {},
                       .tied = false,
                       .init = init_options(config),
                       .seed = static_cast<std::uint64_t>(config.integer("init.seed")),
                       .device = &device_option(config)};
  for (const auto& [part, section, key] :
       {std::tuple{&options.tower, "vision", "merge.tower"}, {&options.language, "text", "merge.language"}})
    if (part->empty() && !config.given(section))
      input_error("merge: neither ", key, " nor the keys of section ", section,
                  " are given; --config configs/model/NAME.json describes a model");
  if (options.tower.empty()) options.described.vision = described_vision(config);
  if (options.language.empty()) options.described.text = described_text(config);
  else options.tied = config.flag("merge.tied");
  const PixelLimits limits = pixel_limits(config);
  const bool untied_head = config.flag("export.untied_head");
  const Dtype dtype = dtype_option(config, "export.dtype");
  const std::string license = config.text("export.license");
  config.text("init.method");  // "random" is all there is
  config.refuse_unread("beside the parts that are given");
  // Without a source the vocabulary may be the tokenizer's; with one it must hold it.
  if (options.language.empty()) options.described = with_tokenizer(options.described, tokenizer, directory);
  options.described = with_tokenizer(merged_config(options), tokenizer, directory);
  if (!options.tower.empty()) refuse_otherwise(config, options.described.vision, options.tower);
  if (!options.language.empty()) {
    TextConfig own = options.described.text;
    for (const Config::Filed& said : config.in_files("text.tied")) own.tied = std::get<bool>(said.value);  // merge.tied
    refuse_otherwise(config, own, options.language);
  }

  MetaDevice shapes;
  Onevision model(merged_config(options));
  model.parameters().allocate(Dtype::f32, shapes);
  const auto checked = [&](const std::string& directory) {
    const auto written = load_model(directory, {.dtype = dtype, .device = options.device, .in_place = true});
    const MergeCheck check = check_merge(*written, options, tokenizer.encode(check_text));
    if (check.tensors > 0) std::fprintf(stderr, "merge: %s\n", check.text().c_str());
    if (!check.passed()) machine_error("merge: the model is not what its sources are: ", check.text());
  };
  export_model(out, model, described_processor(model.config(), tokenizer).with_limits(limits),
               {.command = "merge",
                .code = {options.tower, options.language},
                .untied_head = untied_head,
                .dtype = dtype,
                .card = {.recipe = config.dump(), .license = license},
                .weights = MergedWeights(model.parameters(), options, dtype),
                .check = checked});
  return Exit::done;
}

}  // namespace ov::cli
