#include "audit/trace.h"

#include "cli/verbs.h"

namespace ov::cli {

Exit trace(const Config& config) {
  use_threads(config);
  const std::string &input = config.required("trace.input"), &out = output(config);
  const LoadOptions options = load_options(config);
  const auto model = load_model(config.required("model.dir"), options);
  write_trace(out, trace_model(*model, read_trace_case(input, options.dtype)));
  return Exit::done;
}

}  // namespace ov::cli
