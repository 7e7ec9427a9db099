#include "cli/verbs.h"
#include "instruct/curate.h"
#include "serve/askers.h"

namespace ov::cli {

Exit curate(const Config& config) {
  use_threads(config);
  instruct::CurateOptions o;
  o.manifest = config.required("curate.manifest"), o.rules = shipped(config, "curate.rules");
  o.seed = static_cast<std::uint64_t>(config.integer("curate.seed"));
  o.shard = Shard::parse(config.text("shard"));
  o.out = output_directory(config, "curate");
  o.bilingual.share = {config.number("bilingual.en"), config.number("bilingual.zh")};
  const std::string& by = config.text("bilingual.by");
  o.bilingual.phrases = by != "endpoint", o.bilingual.endpoint = by != "phrases";
  if (const std::string& url = config.text("rewrite.url"); !url.empty()) {
    o.writer.model = config.text("rewrite.model"), o.writer.cache = config.text("rewrite.cache");
    o.writer.share = config.number("rewrite.share"), o.writer.judge = config.flag("rewrite.judge");
    serve::address_of(url, "rewrite.url");
    o.writer.retries = std::make_shared<std::atomic<std::int64_t>>();
    o.writer.asker = serve::asker_at(url, config.text("serve.api_key"), config.integer("rewrite.at_once"),
                                     static_cast<int>(config.integer("rewrite.tries")), o.writer.retries.get());
  } else {
    if (by == "endpoint") input_error("bilingual.by: endpoint needs rewrite.url");
    config.refuse_unread("without rewrite.url, which names the endpoint");
  }
  const Json done = instruct::curate(o);
  if (done.is_object())
    print(cat(done.at("text").as_string(), done.at("in").as_int(), " in, ", done.at("out").as_int(), " out; ", o.out,
              "/card.json says why\n"));
  return Exit::done;
}

}  // namespace ov::cli
