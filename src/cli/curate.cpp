#include "cli/verbs.h"
#include "curate/balance.h"
#include "curate/cluster.h"
#include "curate/concepts.h"
#include "curate/dedup.h"
#include "curate/embed.h"

namespace ov::cli {
namespace {

std::uint64_t seed_of(const Config& config, std::string_view key) {
  return static_cast<std::uint64_t>(config.integer(key));
}

// What came in and what went out; a shard that leaves blocks to others has said so.
Exit tell_counts(const Json& report, const std::string& out) {
  if (report.is_object())
    print(cat(report.at("in").as_int(), " in, ", report.at("out").as_int(), " out; ", out, ".report.json says why\n"));
  return Exit::done;
}

// How a command knows its own report and rejects again.
constexpr Beside rejects = {".rejects.jsonl", "{\"source\":"};

}  // namespace

Exit embed(const Config& config) {
  use_threads(config);
  EmbedOptions o;
  o.model = config.required("model.dir");
  o.regions = config.text("embed.regions"), o.min_edge = config.integer("embed.min_edge");
  o.sources = config.list("embed.data"), o.image_dir = config.text("data.image_dir");
  o.concepts = config.text("embed.concepts"), o.sentence = config.text("embed.template");
  o.max_rejects = config.integer("data.max_rejects");
  o.dtype = dtype_option(config), o.device = &device_option(config);
  o.shard = Shard::parse(config.text("shard"));
  o.out = output(config, "made_from", {{".report.json", "\"onevision\": \"embed\""}, rejects});
  return tell_counts(ov::embed(o), o.out);
}

Exit concepts(const Config& config) {
  use_threads(config);
  ConceptOptions o;
  o.sources = config.required_list("concepts.data"), o.list = config.text("concepts.list");
  o.min_count = config.integer("concepts.min_count"), o.min_pmi = config.number("concepts.min_pmi");
  o.pairs = config.flag("concepts.pairs");
  o.max_rejects = config.integer("data.max_rejects");
  o.shard = Shard::parse(config.text("shard"));
  o.out = output(config, "\"captions\"", {{".report.json", "\"onevision\": \"concepts\""}, rejects});
  return tell_counts(ov::concepts(o), o.out);
}

Exit dedup(const Config& config) {
  use_threads(config);
  DedupOptions o;
  o.sources = config.required_list("dedup.data"), o.against = config.list("dedup.against");
  o.image_dir = config.text("data.image_dir");
  o.embeddings = config.list("dedup.embeddings");
  o.of_bytes = config.text("dedup.exact") == "bytes";
  o.distance = static_cast<int>(config.integer("dedup.distance"));
  o.cosine = config.number("dedup.cosine"), o.against_cosine = config.number("dedup.against_cosine");
  o.max_rejects = config.integer("data.max_rejects");
  o.shard = Shard::parse(config.text("shard"));
  o.out = output(config, "PAR1", {{".report.json", "\"onevision\": \"dedup\""}, rejects});
  return tell_counts(ov::dedup(o), o.out);
}

Exit cluster(const Config& config) {
  use_threads(config);
  ClusteringOptions o;
  o.embeddings = config.required_list("cluster.embeddings");
  o.k = config.integer("cluster.k"), o.cells = config.integer("cluster.cells");
  o.iterations = config.integer("cluster.iterations"), o.polish = config.integer("cluster.polish");
  o.tolerance = config.number("cluster.tolerance"), o.seed = seed_of(config, "cluster.seed");
  o.names = config.text("cluster.names");
  o.shard = Shard::parse(config.text("shard"));
  o.out = output(config, "PAR1",
                 {{".report.json", "\"onevision\": \"cluster\""}, {".centres.safetensors", "\"made_from\""}});
  const Json report = ov::cluster(o);
  return report.is_null() && o.shard.joins ? another_round : tell_counts(report, o.out);
}

Exit balance(const Config& config) {
  use_threads(config);
  BalanceOptions o;
  o.pictures = config.required_list("balance.pictures"), o.concepts = config.required("balance.concepts");
  o.k = config.integer("balance.k"), o.n = config.integer("balance.n");
  const std::string &draw = config.text("balance.draw"), &weight = config.text("balance.weight");
  using Draw = BalanceOptions::Draw;
  o.draw = draw == "exact" ? Draw::exact : draw == "replacement" ? Draw::replacement : Draw::poisson;
  o.weight = weight == "mean"       ? ConceptWeight::mean
             : weight == "max"      ? ConceptWeight::max
             : weight == "metaclip" ? ConceptWeight::metaclip
                                    : ConceptWeight::sum;
  o.seed = seed_of(config, "balance.seed");
  o.floor = config.number("balance.floor"), o.floor_quantile = config.number("balance.floor_quantile");
  o.cap = config.number("balance.cap"), o.min_count = config.integer("balance.min_count");
  o.whole_pool = config.text("balance.manifest") == "pool";
  o.shard = Shard::parse(config.text("shard"));
  o.out = output(config, "PAR1", {{".report.json", "\"onevision\": \"balance\""}});
  return tell_counts(ov::balance(o), o.out);
}

}  // namespace ov::cli
