#include "curate/embed_blocks.h"

#include "base/io/file.h"
#include "base/sha256.h"

namespace ov {

ClipIdentity ClipIdentity::of(const std::string& directory) {
  ClipIdentity all;
  for (const std::string& name : list_directory(directory)) {
    const bool towers = name == "config.json" || name.ends_with(".safetensors");
    if (!towers && name != "tokenizer.json" && name != "vocab.json" && name != "merges.txt") continue;
    const std::string one = cat(" ", name, " ", sha256_file(directory + "/" + name));
    if (towers) all.towers += one;
    all.with_texts += one;
  }
  return all;
}

void count_block(ShareCounts& counts, const Blocks& blocks, std::int64_t block) {
  const Safetensors file = blocks.open(block);
  counts.add(std::stoll(file.metadata().at("records")), file.find("id_ends") ? file.find("id_ends")->shape[0] : 0,
             Json::parse(file.metadata().at("rejects"), file.path()));
}

void append_rows(std::vector<float>& values, const Var& rows) {
  const auto v = rows.value.to(cpu()).to(Dtype::f32).to_vector<float>();
  values.insert(values.end(), v.begin(), v.end());
}

Json join_embedded(const EmbedOptions& o, const Blocks& blocks, const std::string& made_from, const ClipIdentity& clip,
                   std::int64_t width, const Json& sources, const Json& fingerprints) {
  std::vector<std::string> parts;
  RejectFile rejects(o.out, o.max_rejects);
  std::int64_t records = 0, left_out = 0, rows_in_blocks = 0;
  for (std::int64_t b = 0; b < blocks.count(); ++b) {
    parts.push_back(blocks.path(b));
    const Safetensors file = blocks.open(b);
    records += std::stoll(file.metadata().at("records"));
    rows_in_blocks += file.find("id_ends") ? file.find("id_ends")->shape[0] : 0;
    if (const auto small = file.metadata().find("too_small"); small != file.metadata().end())
      left_out += std::stoll(small->second);
    rejects.add(Json::parse(file.metadata().at("rejects"), parts.back()));
  }
  rejects.finish(records);
  if (rows_in_blocks == 0)
    input_error(o.regions.empty() ? o.out : o.regions, ": there is nothing to embed of ", records, " records",
                left_out ? cat(": ", left_out, " regions are smaller than embed.min_edge ", o.min_edge) : "");
  std::string content = made_from;
  for (const std::string& part : parts) content += " " + sha256_file(part);
  Metadata metadata = {{"made_from", sha256(content)},
                       {"format", "pt"},
                       {"model", sha256(clip.towers)},
                       {"kind", sources.is_null() ? "concepts" : "pictures"}};
  if (!sources.is_null()) metadata["sources"] = sources.dump();
  if (!fingerprints.is_null()) metadata["fingerprints"] = fingerprints.dump();
  begin_result(o.out);
  join_embeddings(o.out, parts, width, metadata);
  const std::int64_t rows = Safetensors::open(o.out).find("id_ends")->shape[0];
  Json report = Json::object(
      {{"onevision", "embed"}, {"in", records}, {"out", rows}, {"rejects", rejects.json()}, {"width", width}});
  report.set("refused", rejects.total());
  if (!o.regions.empty()) report.set("below_min_edge", left_out);
  const Json written = write_report(o.out, made_from, report);
  blocks.remove();
  return written;
}

}  // namespace ov
