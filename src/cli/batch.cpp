#include "serve/batch.h"

#include "base/progress.h"
#include "cli/service.h"

namespace ov::cli {

Exit batch(const Config& config) {
  use_threads(config);
  const std::string& in = config.required("in");
  const std::string& out = output(config, "");
  const ServedModel served(config);
  Engine engine(*served.model, engine_options(config));
  std::optional<Progress> bar;
  serve::BatchOptions options{.in = in, .out = out, .fail_fast = config.flag("batch.fail_fast")};
  options.progress = [&](std::int64_t done, std::int64_t total) {
    if (!bar) bar.emplace("batch", total, "line", done);
    bar->update(done);
  };
  const serve::BatchCounts counts = run_batch(served.service, engine, options);
  if (bar) bar->finish();
  print(cat(counts.answered, " answered, ", counts.failed, " with errors",
            counts.before ? cat(", ", counts.before, " were there") : "",
            counts.failed_before ? cat(", ", counts.failed_before, " of them with an error") : "", "\n"));
  return counts.failed + counts.failed_before ? Exit::answer_is_no : Exit::done;
}

}  // namespace ov::cli
