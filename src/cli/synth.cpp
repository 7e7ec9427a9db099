#include "cli/verbs.h"
#include "data/synth/lessons.h"

namespace ov::cli {

Exit synth(const Config& config) {
  synth::write_lessons({.out_dir = config.required("out"),
                        .seed = static_cast<std::uint64_t>(config.integer("synth.seed")),
                        .count = static_cast<int>(config.integer("synth.count")),
                        .data_dir = config.text("synth.data_dir")});
  return Exit::done;
}

}  // namespace ov::cli
