#include "instruct/curate.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>

#include "base/hash.h"
#include "base/io/durable_directory.h"
#include "base/io/file.h"
#include "base/progress.h"
#include "instruct/balance.h"
#include "instruct/card.h"
#include "instruct/pipeline.h"

namespace ov::instruct {
namespace {

constexpr std::int64_t sorted_at_once = 1 << 20;  // digests

// f(key, its place among all that the blocks hold), in the blocks' order.
template <class F>
void each_record(const Blocks& blocks, F&& f) {
  std::int64_t place = 0;
  for (std::int64_t b = 0; b < blocks.count(); ++b)
    for (const RecordSummary& k : MadeBlock::read(blocks.path(b)).keys) f(k, place++);
}

// Which records came before, one bit each. Digests are sorted part by part, so that memory holds a part of them.
std::vector<bool> duplicates(const Blocks& blocks) {
  std::int64_t all = 0;
  each_record(blocks, [&](const RecordSummary&, std::int64_t) { ++all; });
  std::vector<bool> out(static_cast<std::size_t>(all));
  const std::int64_t parts = 1 + all / sorted_at_once;
  for (std::int64_t p = 0; p < parts; ++p) {
    std::vector<std::array<std::uint64_t, 3>> list;
    each_record(blocks, [&](const RecordSummary& k, std::int64_t place) {
      if (k.content[0] % static_cast<std::uint64_t>(parts) == static_cast<std::uint64_t>(p))
        list.push_back({k.content[0], k.content[1], static_cast<std::uint64_t>(place)});
    });
    std::sort(list.begin(), list.end());
    for (std::size_t i = 1; i < list.size(); ++i)
      if (list[i][0] == list[i - 1][0] && list[i][1] == list[i - 1][1]) out[list[i][2]] = true;
  }
  return out;
}

// The pictures of a record, each behind its length.
void store_pictures(std::ifstream& from, const std::string& line, const RecordSummary& key,
                    const std::string& directory, bool keep) {
  Json record;
  if (keep) record = Json::parse(line, directory);
  for (std::size_t k = 0; k < key.pictures; ++k) {
    std::uint64_t n = 0;
    from.read(reinterpret_cast<char*>(&n), sizeof n);
    if (!keep) {
      from.seekg(static_cast<std::streamoff>(n), std::ios::cur);
      continue;
    }
    std::string bytes(n, '\0');
    if (!from.read(bytes.data(), static_cast<std::streamsize>(n))) machine_error(directory, ": a block was cut short");
    const std::string path = directory + "/" + record.at("images")[k].as_string();
    make_directories(parent_directory(path));
    std::ofstream file(path, std::ios::binary);
    if (!file.write(bytes.data(), static_cast<std::streamsize>(n)).flush()) path_error(path, "write");
  }
}

// A record's line with its pictures' paths as they are from the output.
std::string relative_to(const std::string& out, const std::string& line) {
  Json record = Json::parse(line, out);
  Json images = Json::array();
  for (const Json& path : record.at("images").items())
    images.push(std::filesystem::absolute(path.as_string()).lexically_normal().lexically_relative(out).string());
  record.set("images", images);
  return record.dump() + "\n";
}

// A shard says what became of its share, or throws that nothing is left of it (curate/share_counts.h has the rule).
// What caps and licences leave out, all of it perhaps, was asked for.
void end_share(const Audit& share, const Shard& shard) {
  const std::string who = cat("curate: shard ", shard.index + 1, "/", shard.count);
  const std::int64_t in = share.entered(Pipeline::standardise), out = share.passed(Pipeline::filter);
  if (in > 0 && out == 0)
    input_error(who, " keeps nothing of its ", in, " records: ", share.refused().str(),
                ". Where other shards keep something, --shard merge joins all");
  const FirstReasons why = share.refused();
  tell(cat(who, ": ", share.entered(Pipeline::aggregate), " records, ", out, " kept, ", why.total(), " rejected",
           why.total() ? "; " + why.str() : ""));
}

// OUT is replaced as a whole: nothing that is read may lie in it.
void refuse_sources_in(const std::string& out, const Manifest& manifest) {
  const auto whole = [](const std::string& path) {
    return std::filesystem::weakly_canonical(std::filesystem::absolute(path)).string() + "/";
  };
  const std::string own = whole(without_slash(out));
  for (const SourceEntry& s : manifest.sources)
    for (const SourceFile& f : s.files)
      for (const std::string& path : {f.path, s.image_dir})
        if (!path.empty() && whole(without_slash(path)).starts_with(own))
          input_error("out: ", out, ": source ", s.name, " lies in it (", path,
                      ") and would be replaced; name another");
}

// A source of which nine in ten records are refused has most likely been described wrongly.
void tell_lost(const std::vector<Audit>& of_source, const Manifest& manifest) {
  for (std::size_t s = 0; s < of_source.size(); ++s) {
    const std::int64_t in = of_source[s].entered(Pipeline::standardise), out = of_source[s].passed(Pipeline::filter);
    if (in > 0 && out * 10 <= in)
      tell(cat("curate: source ", manifest.sources[s].name, " keeps ", out, " of its ", in,
               " records: ", of_source[s].refused().str()));
  }
}

}  // namespace

Json curate(const CurateOptions& o) {
  refuse_sources_in(o.out, Manifest::read(o.manifest));
  const Pipeline pipeline(o);
  const Blocks blocks(o.out, pipeline.made_from(), pipeline.blocks(), pipeline.written(),
                      {".records", ".audit", ".pictures"});
  Audit share(Pipeline::step_names());
  const bool join = blocks.make(
      o.shard, "curate", [&](std::int64_t b) { pipeline.make(b, blocks.path(b)); },
      [&](std::int64_t b) { share.add(MadeBlock::read(blocks.path(b)).audit, blocks.path(b)); });
  if (const Writer* w = pipeline.writer()) tell(w->spent());
  if (!o.shard.joins) end_share(share, o.shard);
  if (!join) return {};

  const std::vector<bool> repeated = duplicates(blocks);
  const Quotas quotas =
      Quotas::draw(pipeline.manifest().balance, [&](const std::function<void(const RecordSummary&, std::int64_t)>& f) {
        each_record(blocks, [&](const RecordSummary& k, std::int64_t place) {
          if (!repeated[static_cast<std::size_t>(place)]) f(k, place);
        });
      });

  if (const std::string short_of = quotas.shortage(pipeline.manifest().balance); !short_of.empty())
    tell(cat("curate: ", short_of));
  DurableDirectory out(o.out, "curate");
  DurableWriter records(out.file("records.jsonl")), log(out.file("audit.jsonl"));
  const std::string here = std::filesystem::weakly_canonical(std::filesystem::absolute(o.out)).string();
  Audit audit(Pipeline::step_names());
  Card card(pipeline.manifest());
  std::int64_t place = 0;
  std::vector<Audit> of_source(pipeline.manifest().sources.size(), audit);
  for (std::int64_t b = 0; b < blocks.count(); ++b) {
    const std::string path = blocks.path(b);
    const MadeBlock block = MadeBlock::read(path);
    audit.add(block.audit, path);
    of_source[static_cast<std::size_t>(pipeline.source_of_block(b))].add(block.audit, path);
    const auto source = static_cast<std::size_t>(pipeline.source_of_block(b));
    const std::string& name = pipeline.manifest().sources[source].name;
    std::string lines = read_file(path + ".audit");
    std::ifstream from(path + ".records", std::ios::binary), pictures(path + ".pictures", std::ios::binary);
    for (const RecordSummary& k : block.keys) {
      std::string line(k.bytes, '\0');
      if (!from.read(line.data(), k.bytes)) machine_error(path, ".records: is shorter than its block says");
      const std::string id = cat(name, ":", k.number);
      const bool again = repeated[static_cast<std::size_t>(place)], kept = !again && quotas.keeps(k, place);
      ++place;
      audit.in(Pipeline::deduplicate);
      if (again) {
        const std::string digest = hex16(k.content[0]) + hex16(k.content[1]);
        audit.rejected(Pipeline::deduplicate, id, {"duplicate", "texts and pictures of an earlier record, " + digest},
                       &lines);
      } else {
        audit.out(Pipeline::deduplicate), audit.in(Pipeline::balance);
        if (kept) audit.out(Pipeline::balance);
        else audit.rejected(Pipeline::balance, id, {"over_share", quotas.name(k)}, &lines);
      }
      if (k.stored) store_pictures(pictures, line, k, out.path(), kept);
      if (!kept) continue;
      if (!k.stored && k.pictures > 0) line = relative_to(here, line);
      records.write(line);
      card.add(k, source, line);
    }
    log.write(lines);
  }
  tell_lost(of_source, pipeline.manifest());
  const Json steps = audit.json();
  if (audit.left() == 0) {
    log.commit();
    const std::string kept = without_slash(o.out) + ".audit.jsonl";
    std::filesystem::rename(out.file("audit.jsonl"), kept);
    input_error(o.manifest, ": no record is left: ", audit.refused().str(), "; ", kept, " says why of each");
  }
  records.commit(), log.commit();
  card.write(out.path(), steps);
  out.commit(DurableDirectory::Flush::file_system);
  blocks.remove();
  return Json::object({{"steps", steps}, {"in", steps[0].at("in")}, {"out", audit.left()}, {"text", audit.text()}});
}

}  // namespace ov::instruct
