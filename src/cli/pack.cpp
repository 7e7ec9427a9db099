#include "data/pack/pack.h"

#include <sys/resource.h>

#include <cstdio>

#include "base/parallel.h"
#include "base/progress.h"
#include "cli/verbs.h"
#include "data/pack/explain.h"
#include "train/stages/model_directory.h"

namespace ov::cli {

namespace {

// What packing comes to for lengths alone.
Exit explain(const Config& config) {
  const Json j =
      explain_packing(example_lengths(config.text("pack.lengths"), config.integer("pack.samples"),
                                      static_cast<std::uint64_t>(config.integer("pack.seed"))),
                      config.integer("pack.capacity"), static_cast<std::uint64_t>(config.integer("pack.seed")));
  config.refuse_unread("beside pack.lengths, which packs lengths alone");
  const auto number = [&](const char* key) { return j.at(key).as_double(); };
  rusage used;
  ::getrusage(RUSAGE_SELF, &used);
  char text[900];
  std::snprintf(text, sizeof text,
                "%.0f samples, %.1f tokens on average, %.0f at most; packs of %.0f tokens\n"
                "  samples a pack   %8.4f   the limit is capacity / mean length, %.4f\n"
                "  packs            %8.0f   no packing has fewer than %.0f\n"
                "  fill             %8.4f %%\n"
                "  beside it: next fit %.2f %%, a row a sample %.2f %%\n"
                "  %.1f s on %d threads, %.0f MB at the peak\n"
                "Samples a pack say how long samples are, not how well they are packed: the release's \"up to 11x\" is "
                "8192 tokens\nover a mean of 756. What a packer can lose is the fill.\n",
                number("samples"), number("mean_length"), number("longest"), number("capacity"),
                number("samples_per_pack"), number("samples_per_pack_limit"), number("packs"), number("fewest_packs"),
                100 * number("fill"), 100 * number("fill_of_next_fit"), 100 * number("fill_of_a_row_a_sample"),
                number("seconds"), threads(), static_cast<double>(used.ru_maxrss) / 1024);
  print(text);
  return Exit::done;
}

}  // namespace

Exit pack(const Config& config) {
  use_threads(config);
  if (!config.text("pack.lengths").empty()) return explain(config);
  PackOptions o;
  for (const std::string& path : config.required_list("pack.sources"))
    o.sources.push_back(
        {.path = path, .image_dir = config.text("data.image_dir"), .manifest = config.text("data.manifest")});
  o.out = output(config, "onevision pack index",
                 {{".report.json", "\"fewest_packs\":"}, {".rejects.jsonl", "{\"record\":"}});
  o.capacity = config.integer("pack.capacity");
  o.max_patches = config.integer("pack.max_patches");
  o.even_patches = config.text("pack.balance") == "patches";
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
