#include "data/pack/pack.h"

#include <cstdio>

#include "base/progress.h"
#include "cli/verbs.h"
#include "train/stages/model_directory.h"

namespace ov::cli {

Exit pack(const Config& config) {
  use_threads(config);
  PackOptions o;
  for (const std::string& path : config.list("pack.sources"))
    o.sources.push_back({path, config.text("data.image_dir")});
  o.out = output(config, "onevision pack index");
  o.capacity = config.integer("pack.capacity");
  o.max_patches = config.integer("pack.max_patches");
  o.seed = config.integer("pack.seed");
  o.turns = turn_layout(config.text("data.turns"));
  o.limits = pixel_limits(config);
  o.max_rejects = config.integer("data.max_rejects");
  PackReport report;
  {
    std::unique_ptr<Progress> bar;
    o.progress = [&](std::int64_t done, std::int64_t total) {
      if (!bar) bar = std::make_unique<Progress>("pack", total, "record", done);
      bar->update(done);
    };
    report = pack_data(o, open_model_files(config.required("model.dir")).processor);
  }
  char line[160];
  std::snprintf(line, sizeof line,
                "%lld samples in %lld packs of %lld tokens (at least %lld are needed), fill %.2f %%\n",
                static_cast<long long>(report.samples), static_cast<long long>(report.packs),
                static_cast<long long>(o.capacity), static_cast<long long>(report.fewest_packs), 100 * report.fill);
  print(line);
  return Exit::done;
}

}  // namespace ov::cli
