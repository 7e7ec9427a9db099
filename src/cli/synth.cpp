#include <memory>

#include "base/io/durable_directory.h"
#include "base/progress.h"
#include "cli/verbs.h"
#include "data/synth/lessons.h"
#include "data/synth/write.h"
#include "data/synth/zipf.h"

namespace ov::cli {

namespace {

// One bar after the other.
struct PartsBar {
  std::unique_ptr<Progress> bar;
  std::string drawn;
  void operator()(const char* part, std::int64_t done, std::int64_t total) {
    if (!bar || drawn != part) bar = std::make_unique<Progress>(cat("synth ", part), total, "item", done), drawn = part;
    bar->update(done);
  }
};

void write_world(const Config& config) {
  synth::ToyWorldOptions o;
  o.out_dir = output_directory(config, "synth");
  o.data_dir = shipped(config, "synth.data_dir");
  o.seed = static_cast<std::uint64_t>(config.integer("synth.seed"));
  o.mixture = config.text("synth.mixture");
  o.instruct = config.integer("synth.instruct");
  o.captions = config.integer("synth.captions");
  o.regions = config.integer("synth.regions");
  o.text = config.integer("synth.text");
  o.test = config.integer("synth.test");
  config.refuse_unread("with --what world");
  PartsBar bar;
  o.progress = std::ref(bar);
  synth::write_toy_world(o);
}

void write_pool(const Config& config) {
  synth::ZipfOptions o;
  o.out_dir = output_directory(config, "synth");
  o.data_dir = shipped(config, "synth.data_dir");
  o.seed = static_cast<std::uint64_t>(config.integer("synth.seed"));
  o.exponent = config.number("synth.exponent");
  o.pool = config.integer("synth.pool"), o.test = config.integer("synth.test_per_kind");
  config.refuse_unread("with --what zipf");
  PartsBar bar;
  o.progress = std::ref(bar);
  synth::write_zipf_pool(o);
}

}  // namespace

Exit synth(const Config& config) {
  const std::string& what = config.text("synth.what");
  if (what != "lessons") {
    what == "world" ? write_world(config) : write_pool(config);
    return Exit::done;
  }
  const synth::LessonOptions lessons{.out_dir = config.required("out"),
                                     .seed = static_cast<std::uint64_t>(config.integer("synth.seed")),
                                     .count = static_cast<int>(config.integer("synth.count")),
                                     .data_dir = shipped(config, "synth.data_dir")};
  config.refuse_unread("with --what lessons");
  if (DurableDirectory::complete(lessons.out_dir))
    input_error(lessons.out_dir, ": a command wrote it whole (", DurableDirectory::marker,
                "), so lessons are not put into it; name another directory");
  synth::write_lessons(lessons);
  return Exit::done;
}

}  // namespace ov::cli
