#include <algorithm>
#include <filesystem>

#include "cli/verbs.h"
#include "curate/balance.h"
#include "curate/cluster.h"
#include "curate/concepts.h"
#include "curate/dedup.h"
#include "curate/embed.h"
#include "store/parquet/schema.h"

namespace ov::cli {
namespace {

std::uint64_t seed_of(const Config& config, std::string_view key) {
  return static_cast<std::uint64_t>(config.integer(key));
}

// What came in and what went out; a shard that leaves blocks to others has said so.
Exit tell_counts(const Json& report, const std::string& out) {
  if (!report.is_object()) return Exit::done;
  const Json* refused = report.find("refused");
  const bool regions = report.find("below_min_edge") != nullptr;
  print(cat(report.at("in").as_int(), regions ? " pictures in, " : " in, ", report.at("out").as_int(),
            regions ? " regions out" : " out",
            refused && refused->as_int() > 0 ? cat(", ", refused->as_int(), " refused") : "", "; ", out,
            ".report.json says why\n"));
  return Exit::done;
}

// OUT, a manifest. A data set of Parquet files begins with the same letters, so the column that makes a manifest of it
// is looked for before it is replaced.
const std::string& manifest_output(const Config& config, const std::string& column, const std::vector<Beside>& beside) {
  const std::string& out = output(config, "PAR1", beside);
  std::error_code missing;
  if (!std::filesystem::is_regular_file(out, missing) || std::filesystem::file_size(out, missing) == 0) return out;
  bool own = false;
  try {
    const ParquetFile file(out);
    own = std::any_of(file.root().children.begin(), file.root().children.end(),
                      [&](const ParquetNode& node) { return node.name == column; });
  } catch (const Error& error) {
    if (error.exit() != Exit::wrong_input) throw;
  }
  if (!own)
    input_error("out: ", out,
                " is a Parquet file that this command did not write, so it is not replaced; remove it, or ",
                "name another file");
  return out;
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
  o.out = manifest_output(config, "draws", {{".report.json", "\"onevision\": \"dedup\""}, rejects});
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
  o.out = manifest_output(config, "cluster",
                          {{".report.json", "\"onevision\": \"cluster\""}, {".centres.safetensors", "\"made_from\""}});
  const Json report = ov::cluster(o);
  return report.is_null() && o.shard.joins ? another_round : tell_counts(report, o.out);
}

Exit balance(const Config& config) {
  use_threads(config);
  BalanceOptions o;
  o.pictures = config.required_list("balance.pictures"), o.concepts = config.required("balance.concepts");
  o.within = config.text("balance.within");
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
  o.out = manifest_output(config, "draws", {{".report.json", "\"onevision\": \"balance\""}});
  return tell_counts(ov::balance(o), o.out);
}

}  // namespace ov::cli
