#include "instruct/pipeline.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <filesystem>

#include "base/io/file.h"
#include "base/parallel.h"
#include "base/rng.h"
#include "base/sha256.h"
#include "base/text.h"
#include "data/reject.h"
#include "instruct/standardise.h"

namespace ov::instruct {
namespace {

constexpr std::size_t batch_bytes = 64 << 20;  // about what the records of a batch hold

constexpr std::size_t most_pictures = 0xffff;  // of a record

// What the name of a stored picture ends in.
std::string extension(std::string_view bytes) {
  const std::string kind = looks_like(bytes.substr(0, 16));
  return kind.find("PNG") != kind.npos ? ".png" : kind.find("WebP") != kind.npos ? ".webp" : ".jpg";
}

std::uint64_t word_of(const std::string& digest, std::size_t at) {
  std::uint64_t v = 0;
  std::from_chars(digest.data() + at, digest.data() + at + 16, v, 16);
  return v;
}

}  // namespace

// One record on its way. `left`: the step that refused it.
struct Pipeline::Outcome {
  RawRecord raw;
  const SourceEntry* source = nullptr;
  std::int64_t number = 0;
  std::string skip;  // the reason why aggregate leaves it out
  std::size_t left = SIZE_MAX;
  Refused why;
  std::vector<std::pair<std::size_t, Note>> notes;
  Record record;
  std::string line, store;  // its pictures, each behind its length
  RecordSummary key{};

  void note(std::size_t step, Notes& said) {
    for (Note& n : said) notes.push_back({step, std::move(n)});
    said.clear();
  }
  // f, unless a step before has refused the record.
  template <class F>
  void in_step(std::size_t step, F&& f) {
    if (left != SIZE_MAX) return;
    try {
      Notes said;
      f(said);
      note(step, said);
    } catch (const Rejected& e) { left = step, why = {name_of(e.reason()), e.what()}; } catch (const Refused& e) {
      left = step, why = e;
    }
  }
};

const std::vector<std::string>& Pipeline::step_names() {
  static const std::vector<std::string> names = {"aggregate", "standardise", "rewrite",     "bilingual", "templates",
                                                 "safety",    "filter",      "deduplicate", "balance"};
  return names;
}

Pipeline::Pipeline(const CurateOptions& options) : options_(options), manifest_(Manifest::read(options.manifest)) {
  std::string all = cat("instruct 2 ", sha256(manifest_.text), " ", options.seed);
  const auto rules = [&](const char* name) {
    const std::string path = options.rules + "/" + name;
    if (!path_exists(path))
      input_error(std::filesystem::absolute(path).lexically_normal().string(),
                  ": is not there; curate.rules names the folder of templates, safety rules and filters");
    all += " " + sha256_file(path);
    return path;
  };
  bank_ = std::make_shared<const TemplateBank>(TemplateBank::read(rules("templates.json"), options.seed));
  safety_ = SafetyRules::read(rules("safety.json"));
  filter_ = FilterRules::read(rules("filters.json"));
  std::shared_ptr<const PhraseBank> phrases;
  if (const auto& share = options.bilingual.share; share[0] > 0 || share[1] > 0) {
    phrases = std::make_shared<const PhraseBank>(PhraseBank::read(rules("phrases.json")));
    all += cat(" ", share[0], " ", share[1], " ", options.bilingual.phrases, options.bilingual.endpoint);
  }
  std::shared_ptr<Writer> writer;
  if (const WriterOptions& w = options.writer; w.asker) {
    WriterOptions with = w;
    if (with.cache.empty()) with.cache = without_slash(options.out) + ".answers";
    // OUT is replaced as a whole when the records are there, and what it was made from removed.
    const auto place = [](const std::string& path) {
      return std::filesystem::weakly_canonical(std::filesystem::absolute(without_slash(path))).string() + "/";
    };
    for (const char* end : {"", ".blocks", ".partial", ".old"})
      if (const std::string own = without_slash(options.out) + end; place(with.cache).starts_with(place(own)))
        input_error("rewrite.cache: ", with.cache, " is in ", own, ", which this command writes; name another");
    writer = std::make_shared<Writer>(with, rules("endpoint.json"), safety_, options.seed);
    all += cat(" ", w.model, " ", w.share, " ", w.judge);
  }
  rewording_ =
      std::make_unique<const Rewording>(bank_, phrases, writer, options.writer.share, options.bilingual, options.seed);

  for (std::size_t s = 0; s < manifest_.sources.size(); ++s) {
    std::int64_t first = 0, taken = 0;
    sizes_.emplace_back();
    for (std::size_t f = 0; f < manifest_.sources[s].files.size(); ++f) {
      const SourceFile& file = manifest_.sources[s].files[f];
      const auto raw = RawSource::open(file.path, manifest_.sources[s].image_dir);
      all += " " + raw->fingerprint();
      written_ = std::max(written_, raw->written());
      sizes_.back().push_back(raw->size());
      for (std::int64_t b = 0; b * block_records < raw->size(); ++b)
        parts_.push_back({static_cast<std::int64_t>(s), f, b, first});
      first += raw->size();
      if (file.refused.empty()) taken += raw->size();
    }
    taken_from_.push_back(taken);
  }
  made_from_ = all;
}

std::string Pipeline::made_from() const { return made_from_; }

const RawSource& Pipeline::open(const Part& part) const {
  const SourceEntry& s = manifest_.sources[static_cast<std::size_t>(part.source)];
  const std::string& path = s.files[part.file].path;
  if (std::pair place(path, s.image_dir); opened_at_ != place) {
    open_ = RawSource::open(path, s.image_dir);
    opened_at_ = std::move(place);
  }
  return *open_;
}

void Pipeline::read(Outcome& o) const {
  o.in_step(aggregate, [&](Notes&) {
    if (!o.skip.empty()) refuse(o.skip, "");
  });
  o.in_step(standardise, [&](Notes& notes) {
    o.record = instruct::standardise(o.raw.read(), *o.source, o.number, notes);
    // A block counts a record's pictures in 16 bits, and finds those of the next record behind them.
    if (const std::size_t n = o.record.images.size(); n > most_pictures)
      refuse("too_many_pictures", n, ", expected at most ", most_pictures);
  });
}

// What the block holds of a record that all steps have passed.
void Pipeline::finish(Outcome& o) const {
  Record& r = o.record;
  std::vector<std::string> names = r.images;
  if (!r.image_bytes.empty())
    for (std::size_t k = 0; k < names.size(); ++k) {
      const std::string_view bytes = r.image_bytes[k];
      names[k] = cat("images/", r.source, "/", o.number / 1000, "/", o.number, "-", k, extension(bytes));
      const std::uint64_t n = bytes.size();
      o.store.append(reinterpret_cast<const char*>(&n), sizeof n).append(bytes);
    }
  o.line = r.json(names).dump() + "\n";
  RecordSummary& k = o.key;
  k.content[0] = word_of(r.content, 0), k.content[1] = word_of(r.content, 16);
  k.draw = Philox(options_.seed, "instruct draw").u64(fnv1a(r.id));
  k.number = o.number, k.bytes = static_cast<std::uint32_t>(o.line.size());
  for (const Turn& t : r.turns)
    (t.role == "assistant" ? k.answer_words : k.question_words) += static_cast<std::uint32_t>(words_of(t.text).size());
  k.turns = static_cast<std::uint16_t>(std::min<std::size_t>(r.turns.size(), 0xffff));
  k.pictures = static_cast<std::uint16_t>(names.size());
  k.stored = !o.store.empty();
  const Json* translated = r.meta.find("translated");
  k.rewritten = r.meta.find("rewritten") != nullptr;
  k.translated = translated ? translated->as_string() == "phrases" ? 1 : 2 : 0;
  k.category = static_cast<std::uint8_t>(place_of(categories, r.category));
  k.lang = static_cast<std::uint8_t>(place_of(languages, r.lang));
  k.difficulty = static_cast<std::uint8_t>(r.difficulty - 1);
}

// Steps that look at one record run over the batch in parallel; those that may ask an endpoint see all of it.
void Pipeline::run(std::vector<Outcome>& batch) const {
  const auto each = [&](auto&& f) {
    parallel_for(std::ssize(batch), [&](std::int64_t i) { f(batch[static_cast<std::size_t>(i)]); });
  };
  const auto together = [&](std::size_t step, auto&& f) {
    std::vector<Visit> visits;
    std::vector<Outcome*> whose;
    for (Outcome& o : batch)
      if (o.left == SIZE_MAX) visits.push_back({&o.record, {}}), whose.push_back(&o);
    f(visits);
    for (std::size_t i = 0; i < visits.size(); ++i) whose[i]->note(step, visits[i].notes);
  };
  each([&](Outcome& o) { read(o); });
  together(rewrite, [&](std::vector<Visit>& visits) { rewording_->rewrite(visits); });
  each([&](Outcome& o) { o.in_step(rewrite, [&](Notes& notes) { bank_->reword(o.record, notes); }); });
  together(bilingual, [&](std::vector<Visit>& visits) { rewording_->translate(visits); });
  each([&](Outcome& o) {
    o.in_step(templates, [&](Notes& notes) { bank_->dress(o.record, notes); });
    o.in_step(safety, [&](Notes& notes) { safety_.apply(o.record, notes); });
    o.in_step(filter, [&](Notes& notes) { filter_.apply(o.record, notes); });
    if (o.left == SIZE_MAX) finish(o);
    o.record = Record();
  });
}

void Pipeline::make(std::int64_t block, const std::string& path) const {
  const Part& part = parts_[static_cast<std::size_t>(block)];
  const auto s = static_cast<std::size_t>(part.source);
  const SourceEntry& source = manifest_.sources[s];
  const std::string& refused = source.files[part.file].refused;
  const std::int64_t taken = taken_from_[s];
  const bool capped = source.cap >= 0 && source.cap < taken;
  // Where a record stands among those that may be taken: the files before it, without the refused ones.
  std::int64_t before = 0;
  for (std::size_t f = 0; f < part.file; ++f) before += source.files[f].refused.empty() ? sizes_[s][f] : 0;
  const Permutation order(std::max<std::int64_t>(1, taken), options_.seed ^ fnv1a(source.name), 0);

  DurableWriter records(path + ".records"), log(path + ".audit"), pictures(path + ".pictures");
  Audit audit(step_names());
  std::string keys;
  std::vector<Outcome> batch;
  std::size_t held = 0;
  const auto flush = [&] {
    run(batch);
    for (Outcome& o : batch) {
      std::string lines;
      const std::string id = cat(source.name, ":", o.number);
      for (std::size_t step = 0; step <= std::min(o.left, deduplicate - 1); ++step) {
        audit.in(step);
        for (const auto& [at, note] : o.notes)
          if (at == step) audit.changed(step, id, note, &lines);
        if (step < o.left) audit.out(step);
        else audit.rejected(step, id, o.why, &lines);
      }
      log.write(lines);
      if (o.left < deduplicate) continue;
      keys.append(reinterpret_cast<const char*>(&o.key), sizeof o.key);
      records.write(o.line), pictures.write(o.store);
    }
    batch.clear(), held = 0;
  };
  open(part).block(part.block, [&](RawRecord raw) {
    Outcome o;
    o.number = part.first + raw.index, o.source = &source;
    o.skip = !refused.empty() ? refused : capped && order(before + raw.index) >= source.cap ? "over_cap" : "";
    held += raw.bytes;
    o.raw = std::move(raw);
    batch.push_back(std::move(o));
    if (held > batch_bytes) flush();
    return true;
  });
  flush();
  records.commit(), log.commit(), pictures.commit();
  write_durably(path, audit.json().dump() + "\n" + keys);
}

MadeBlock MadeBlock::read(const std::string& path) {
  const std::string text = read_file(path);
  const std::size_t end = text.find('\n');
  if (end == text.npos || (text.size() - end - 1) % sizeof(RecordSummary) != 0)
    input_error(path, ": is not a block as curate leaves it; remove the directory, and it is made again");
  MadeBlock b{Json::parse(std::string_view(text).substr(0, end), path), {}};
  b.keys.resize((text.size() - end - 1) / sizeof(RecordSummary));
  if (!b.keys.empty()) std::memcpy(b.keys.data(), text.data() + end + 1, b.keys.size() * sizeof(RecordSummary));
  return b;
}

}  // namespace ov::instruct
