#include "audit/trace_clip.h"

#include "cli/verbs.h"
#include "model/files/clip_directory.h"

namespace ov::cli {

Exit trace(const Config& config) {
  use_threads(config);
  const std::string &input = config.required("trace.input"), &out = output(config, "\"act.");
  const std::string& directory = config.required("model.dir");
  if (const Dtype dtype = dtype_option(config); is_clip(directory)) {
    config.refuse_unread("on a CLIP model");
    const auto model = load_clip(directory, dtype, device_option(config));
    write_trace(out, trace_clip(*model, read_clip_case(input, model->config(), dtype)));
    return Exit::done;
  }
  const LoadOptions options = load_options(config);
  const auto model = load_model(directory, options);
  const TraceCase given = read_trace_case(input, options.dtype);
  if (const std::string& like = config.text("trace.experts"); !like.empty())
    model->forced_experts =
        experts_of(Safetensors::open(like), model->config(), static_cast<std::int64_t>(given.input_ids.size()));
  write_trace(out, trace_model(*model, given));
  return Exit::done;
}

}  // namespace ov::cli
