#include "generate/generate.h"

#include "base/utf8.h"
#include "cli/verbs.h"
#include "generate/text_stream.h"
#include "train/stages/model_directory.h"

namespace ov::cli {

Exit generate(const Config& config) {
  use_threads(config);
  const std::string& directory = config.required("model.dir");
  const std::string& text = config.required("generate.prompt");
  require_utf8(text, "generate.prompt");
  const ModelFiles files = open_model_files(directory, load_options(config));
  const Processor& processor = files.processor;
  const auto stop = read_stop_ids(directory, processor.stop_ids(), files.config.text.vocabulary);
  const Prompt prompt = processor.prompt(config.list("generate.images"), text, picture_options(config));
  const auto model = load_model(files.config, directory, load_options(config));
  std::vector<Grid> grids;
  for (const auto& g : prompt.grids) grids.push_back({g[0], g[1], g[2]});

  const Sampling sampling = sampling_options(config);
  const Strings& stops = config.list("generate.stop");
  for (const std::string& text : stops)
    if (text.empty()) input_error("generate.stop: an empty text would end every answer at once");
  TextStream written(processor.tokenizer(), stops);
  std::string answer;
  const std::vector<std::int64_t> ids =
      ov::generate(*model, prompt.input_ids, prompt.pixel_values, grids,
                   {.max_new_tokens = config.integer("generate.max_new_tokens"), .stop = stop, .sampling = sampling},
                   [&](std::int64_t id) {
                     answer += written.add(id);
                     return !written.stopped();
                   });
  print((config.flag("generate.ids") ? Json(ids).dump() : answer + written.finish()) + "\n");
  return Exit::done;
}

}  // namespace ov::cli
