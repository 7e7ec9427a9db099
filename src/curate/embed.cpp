#include "curate/embed.h"

#include <algorithm>

#include "base/sha256.h"
#include "base/text.h"
#include "curate/concepts.h"
#include "curate/embed_blocks.h"
#include "data/raw/captioned_pictures.h"
#include "model/files/clip_directory.h"

namespace ov {
namespace {

constexpr std::int64_t block_records = 1024;

std::string in_sentence(const std::string& sentence, const std::string& text) {
  const std::size_t at = sentence.find("{}");
  return sentence.substr(0, at) + text + sentence.substr(at + 2);
}

}  // namespace

Json embed(const EmbedOptions& o) {
  const bool texts = !o.concepts.empty();
  if (texts + !o.sources.empty() + !o.regions.empty() != 1)
    input_error("embed: expected embed.data, pictures, embed.regions, their parts, or embed.concepts, a vocabulary; ",
                "one of them");
  if (!is_clip(o.model)) input_error(o.model, ": expected the directory of a CLIP model (model_type clip)");
  if (o.sentence.find("{}") == o.sentence.npos)
    input_error("embed.template is ", shown(o.sentence), ": expected {} where the concept shall stand");
  if (!o.regions.empty()) return embed_regions(o);
  const std::vector<Concept> vocabulary = texts ? read_concepts(o.concepts) : std::vector<Concept>();
  const RecordPool pool(o.sources, o.image_dir, block_records);
  if (!texts) pool.require_pictures(true);
  const auto words = static_cast<std::int64_t>(vocabulary.size());

  const ClipIdentity clip = ClipIdentity::of(o.model);
  std::string made_from = cat("embed ", name_of(o.dtype), texts ? clip.with_texts : clip.towers, pool.made_from());
  if (texts) made_from += " " + o.sentence;
  for (const Concept& v : vocabulary) made_from += cat(" ", v.text.size(), " ", v.text);
  made_from = sha256(made_from);

  const Blocks blocks(o.out, made_from, texts ? (words + block_records - 1) / block_records : pool.blocks(),
                      pool.written());
  if (Json done = finished_report(o.out, made_from, blocks, o.shard, o.max_rejects); done.is_object()) return done;
  const auto model = load_clip(o.model, o.dtype, *o.device);
  const ClipConfig& c = model->config();
  const auto embed_texts = [&](std::int64_t b) {
    const Tokenizer tokenizer = Tokenizer::read(o.model);
    EmbeddingRows rows;
    const std::int64_t first = b * block_records;
    in_batches(std::min(block_records, words - first), [&](std::int64_t begin, std::int64_t end) {
      ClipInputs in;
      for (std::int64_t i = first + begin; i < first + end; ++i) {
        const std::string& text = vocabulary[static_cast<std::size_t>(i)].text;
        const auto ids = clip_text(tokenizer, in_sentence(o.sentence, text), c.eos, c.max_positions);
        in.input_ids.insert(in.input_ids.end(), ids.begin(), ids.end());
        in.text_lengths.push_back(static_cast<std::int64_t>(ids.size()));
        rows.ids.push_back(text);
      }
      append_rows(rows.values, model->text_embeds(nullptr, in));
    });
    rows.write(blocks.path(b), c.projection, {{"records", cat(rows.ids.size())}, {"rejects", "[]"}});
  };
  ProcessorConfig images;
  images.patch = c.patch, images.merge = 1;
  const auto embed_pictures = [&](std::int64_t b) {
    const auto& part = pool.part(b);
    std::vector<Tensor> pixels(static_cast<std::size_t>(part.end - part.begin));
    const Json rejects = pool.each(b, [&](std::int64_t i, const Conversation& record) {
      pixels[static_cast<std::size_t>(i)] = clip_picture(record, c.image, images).pixel_values;
    });
    EmbeddingRows rows;
    in_batches(part.end - part.begin, [&](std::int64_t begin, std::int64_t end) {
      std::vector<Tensor> here;
      for (std::int64_t i = begin; i < end; ++i) {
        Tensor& t = pixels[static_cast<std::size_t>(i)];
        if (!t) continue;
        here.push_back(std::move(t));
        rows.ids.push_back(pool.id(part.source, part.begin + i));
        rows.records.push_back(part.begin + i), rows.sources.push_back(static_cast<std::int64_t>(part.source));
      }
      if (here.empty()) return;
      ClipInputs in;
      in.pixel_values = join_rows(here).to(o.dtype, Segment::data).to(*o.device);
      append_rows(rows.values, model->image_embeds(nullptr, in));
    });
    rows.write(blocks.path(b), c.projection, {{"records", cat(part.end - part.begin)}, {"rejects", rejects.dump()}});
  };
  ShareCounts counts("embed", o.shard, o.out, o.max_rejects);
  const bool join = blocks.make(
      o.shard, "embed", [&](std::int64_t b) { texts ? embed_texts(b) : embed_pictures(b); },
      [&](std::int64_t b) { count_block(counts, blocks, b); });
  counts.finish();
  if (!join) return {};
  return join_embedded(o, blocks, made_from, clip, c.projection, texts ? Json() : pool.names(),
                       texts ? Json() : pool.fingerprints());
}

}  // namespace ov
