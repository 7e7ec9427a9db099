#include "cli/verbs.h"
#include "instruct/curate.h"

namespace ov::cli {

Exit curate(const Config& config) {
  use_threads(config);
  instruct::CurateOptions o;
  o.manifest = config.required("curate.manifest"), o.rules = config.text("curate.rules");
  o.seed = static_cast<std::uint64_t>(config.integer("curate.seed"));
  o.shard = Shard::parse(config.text("shard"));
  o.out = output_directory(config, "curate");
  const Json done = instruct::curate(o);
  if (done.is_object())
    print(cat(done.at("text").as_string(), done.at("in").as_int(), " in, ", done.at("out").as_int(), " out; ", o.out,
              "/card.json says why\n"));
  return Exit::done;
}

}  // namespace ov::cli
