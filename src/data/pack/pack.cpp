#include "data/pack/pack.h"

#include <algorithm>
#include <map>
#include <optional>

#include "base/error.h"
#include "base/io/file.h"
#include "base/parallel.h"
#include "data/first_reasons.h"
#include "data/pack/report.h"

namespace ov {
namespace {

constexpr std::int64_t most_tokens = 0x7fffffff;  // of a pack: lengths are i32
constexpr std::int64_t chunk = 1024;              // records measured between two calls of progress

struct Measured {
  std::int64_t tokens = 0, labels = 0, patches = 0, turns = 0, images = 0;
  std::optional<Rejected> rejected;
};

Measured measure(const Sources& sources, std::int64_t record, const Processor& processor, const SampleOptions& sample,
                 std::int64_t max_patches) {
  Measured m;
  try {
    const Conversation c = sources.read(record);
    const Sample s = measure_sample(c, processor, sample);
    m.tokens = static_cast<std::int64_t>(s.ids.size());
    m.labels = std::count_if(s.labels.begin(), s.labels.end(), [](std::int64_t l) { return l != ignored_label; });
    for (const auto& [t, h, w] : s.grids) m.patches += t * h * w;
    m.turns = static_cast<std::int64_t>(c.turns.size()), m.images = static_cast<std::int64_t>(s.grids.size());
    if (m.labels == 0) reject(RejectReason::no_answer, c.where, ": no token is labelled");
    if (max_patches > 0 && m.patches > max_patches)
      reject(RejectReason::over_length, c.where, ": ", m.patches, " patches, more than pack.max_patches ", max_patches);
  } catch (const Rejected& r) { m.rejected = r; }
  return m;
}

}  // namespace

PackReport pack_data(const PackOptions& options, const Processor& given) {
  require_at_least(options.capacity, 1, "pack.capacity");
  if (options.capacity > most_tokens)
    input_error("pack.capacity: expected at most ", most_tokens, ", found ", options.capacity);
  require_at_least(options.max_patches, 0, "pack.max_patches");
  require_at_least(options.max_rejects, 0, "data.max_rejects");
  require_at_least(options.seed, 0, "pack.seed");
  const Processor processor = given.with_limits(options.limits);
  const Sources sources(options.sources);

  PackIndex index;
  index.capacity = options.capacity;
  index.max_patches = options.max_patches;
  index.seed = options.seed;
  index.turn_layout = options.turns;
  index.literal_tokens = options.literal_tokens;
  index.processor = length_fingerprint(processor);
  index.data = sources.fingerprint();
  index.sources = options.sources;
  for (std::size_t i = 0; i < sources.count(); ++i) index.sources[i].records = sources.set(i).size();
  std::vector<std::int64_t> record;
  std::vector<std::int32_t> tokens, labels, patches, turns, images;

  std::vector<RejectCounts> rejects(sources.count());
  RejectCounts all_rejects;
  DurableWriter reject_lines(options.out + ".rejects.jsonl");
  FirstReasons why;
  std::int64_t read = 0;
  while (read < sources.size() && !hopeless(all_rejects.total(), read, options.max_rejects)) {
    const std::int64_t begin = read;
    std::vector<Measured> measured(static_cast<std::size_t>(std::min(chunk, sources.size() - begin)));
    parallel_for(static_cast<std::int64_t>(measured.size()), 8, [&](std::int64_t i) {
      measured[static_cast<std::size_t>(i)] =
          measure(sources, begin + i, processor, index.sample_options(), options.max_patches);
    });
    for (std::size_t i = 0; i < measured.size(); ++i) {
      const Measured& m = measured[i];
      if (m.rejected) {
        const std::int64_t at = begin + static_cast<std::int64_t>(i);
        const RejectReason reason = m.rejected->reason();
        rejects[sources.set_of(at)].add(reason);
        all_rejects.add(reason);
        why.add(name_of(reason), m.rejected->what());
        const Json line =
            Json::object({{"record", at + 1}, {"reason", name_of(reason)}, {"message", m.rejected->what()}});
        reject_lines.write(line.dump() + "\n");
        continue;
      }
      record.push_back(begin + static_cast<std::int64_t>(i));
      tokens.push_back(static_cast<std::int32_t>(m.tokens)), labels.push_back(static_cast<std::int32_t>(m.labels));
      patches.push_back(static_cast<std::int32_t>(m.patches));
      turns.push_back(static_cast<std::int32_t>(m.turns)), images.push_back(static_cast<std::int32_t>(m.images));
    }
    read += std::ssize(measured);
    if (options.progress) options.progress(read, sources.size());
  }
  reject_lines.commit();
  const bool too_many = all_rejects.total() > options.max_rejects;
  if (too_many || record.empty())
    input_error(
        options.out, ": ", all_rejects.total(), " of ", read < sources.size() ? "the first " : "", read,
        " records rejected",
        too_many ? cat(", more than data.max_rejects ", options.max_rejects) : std::string(", so none is left to pack"),
        " (", all_rejects.str(), "); ", why.str(), ". ", options.out, ".rejects.jsonl names them");

  index.record = std::move(record), index.tokens = std::move(tokens), index.labels = std::move(labels);
  index.patches = std::move(patches), index.turns = std::move(turns), index.images = std::move(images);
  std::vector<std::int32_t> rooms;  // as the tokens where patches are not limited
  if (options.max_patches > 0)
    for (std::size_t i = 0; i < index.tokens.size(); ++i) {
      const std::int64_t of_patches =
          (index.patches[i] * options.capacity + options.max_patches - 1) / options.max_patches;
      rooms.push_back(std::max(index.tokens[i], static_cast<std::int32_t>(of_patches)));
    }
  const std::span<const std::int32_t> room = rooms.empty() ? index.tokens : std::span<const std::int32_t>(rooms);
  Packs packs = pack_lengths(room, options.capacity, static_cast<std::uint64_t>(options.seed));
  if (options.even_patches) packs = evenly_placed(std::move(packs), room, index.tokens, index.patches);
  index.packs = std::move(packs);
  const PackReport report = report_of(index, sources, rejects, all_rejects);
  index.write(options.out);
  write_durably(options.out + ".report.json", report.json.dump(2) + "\n");
  return report;
}

}  // namespace ov
