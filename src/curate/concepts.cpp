#include "curate/concepts.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <unordered_map>

#include "base/parallel.h"
#include "base/text.h"
#include "base/utf8.h"
#include "curate/result.h"
#include "curate/share_counts.h"
#include "curate/sources.h"
#include "data/made_again.h"
#include "data/raw/captioned_pictures.h"
#include "store/jsonl.h"

namespace ov {
namespace {

constexpr std::int64_t block_records = 65536;
constexpr std::string_view alone = ",.;:?!`";

bool own_word(char32_t c) {  // kana, ideographs, Hangul
  return (c >= 0x3040 && c <= 0x30ff) || (c >= 0x3400 && c <= 0x9fff) || (c >= 0xac00 && c <= 0xd7a3) ||
         (c >= 0xf900 && c <= 0xfaff) || (c >= 0x20000 && c <= 0x3ffff);
}

std::string key_of(const std::vector<std::string>& words, std::size_t begin, std::size_t end) {
  std::string key = words[begin];
  for (std::size_t i = begin + 1; i < end; ++i) key += " " + words[i];
  return key;
}

// A word that can be a concept: more than punctuation and digits.
bool says_something(const std::string& word) {
  return std::any_of(word.begin(), word.end(), [](unsigned char c) { return c >= 0x80 || (c >= 'a' && c <= 'z'); });
}

// What of a text counts, each once: entries of the list, or words and pairs.
using Entries = std::unordered_map<std::string, std::vector<std::size_t>>;  // of one key; a list may spell it twice
std::set<std::string> found_in(std::string_view text, const Entries& list, std::size_t longest, bool pairs) {
  const std::vector<std::string> words = concept_words(text);
  std::set<std::string> found;
  for (std::size_t i = 0; i < words.size(); ++i)
    if (longest) {
      for (std::size_t end = i + 1; end <= std::min(words.size(), i + longest); ++end)
        if (std::string key = key_of(words, i, end); list.contains(key)) found.insert(std::move(key));
    } else if (says_something(words[i])) {
      found.insert(words[i]);
      if (pairs && i + 1 < words.size() && says_something(words[i + 1])) found.insert(key_of(words, i, i + 2));
    }
  return found;
}

}  // namespace

std::vector<std::string> concept_words(std::string_view text) {
  std::vector<std::string> words;
  std::string word;
  const auto end_word = [&] {
    if (!word.empty()) words.push_back(std::exchange(word, {}));
  };
  for (std::size_t at = 0; at < text.size();) {
    const char32_t c = next_code_point(text, at);
    if (c == ' ' || (c >= '\t' && c <= '\r') || c == 0xa0 || c == 0x3000) end_word();
    else if ((c < 0x80 && alone.find(static_cast<char>(c)) != alone.npos) || own_word(c)) {
      end_word();
      append_utf8(word, c);
      end_word();
    } else if (c >= 'A' && c <= 'Z') word += static_cast<char>(c + 32);
    else append_utf8(word, c);
  }
  end_word();
  return words;
}

std::vector<Concept> read_concepts(const std::string& path) {
  std::vector<Concept> all;
  std::set<std::string> seen;
  const auto add = [&](std::string text, std::int64_t captions, std::size_t line) {
    if (blank(text)) input_error(path, ":", line, ": an empty concept");
    if (!seen.insert(text).second) input_error(path, ":", line, ": the concept ", shown(text), " stands twice");
    all.push_back({std::move(text), captions});
  };
  const std::string text = read_file(path);
  if (text.starts_with('[') || text.find('\0') != text.npos || utf8_prefix(text) != text.size()) {
    const std::string kind = looks_like(text);
    input_error(path, ": ", kind.empty() ? "is no text in UTF-8" : "looks like " + kind,
                "; expected a concept a line, or JSON lines of concept and captions");
  }
  if (text.starts_with('{')) {  // as `concepts` writes them, whatever the file is called
    JsonlReader lines(path);
    for (Json j; lines.next(&j);) {
      const Json* n = j.find("captions");
      add(j.at("concept").as_string(), n ? n->as_int() : 0, lines.line());
    }
  } else {
    std::size_t line = 0;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t end = std::min(text.find('\n', at), text.size());
      if (const auto entry = trimmed(std::string_view(text).substr(at, end - at)); ++line, !entry.empty())
        add(std::string(entry), 0, line);
      at = end + 1;
    }
  }
  if (all.empty()) input_error(path, ": no concept in it; expected one a line");
  return all;
}

Json concepts(const ConceptOptions& o) {
  const RecordPool pool(o.sources, "", block_records);
  std::vector<Concept> list;
  Entries entries;
  std::size_t longest = 0;
  if (!o.list.empty()) list = read_concepts(o.list);
  for (std::size_t i = 0; i < list.size(); ++i) {
    const auto words = concept_words(list[i].text);
    if (words.empty()) input_error(o.list, ": the concept ", shown(list[i].text), " holds no word");
    longest = std::max(longest, words.size());
    entries[key_of(words, 0, words.size())].push_back(i);
  }
  std::string made_from = cat("concepts ", pool.made_from(), " ", o.pairs);
  for (const Concept& c : list) made_from += cat(" ", c.text.size(), " ", c.text);

  // A block: its captions and rejects, then what was found in how many.
  const Blocks blocks(o.out, made_from, pool.blocks(), pool.written());
  const std::string options = cat(made_from, " ", o.min_count, " ", Json(o.min_pmi).dump());
  if (Json done = finished_report(o.out, options, blocks, o.shard, o.max_rejects); done.is_object()) return done;
  const auto count_captions = [&](std::int64_t b) {
    const auto part = pool.part(b);
    std::vector<std::set<std::string>> found(static_cast<std::size_t>(part.end - part.begin));
    const std::vector<Json> rejects = pool.each(b, [&](std::int64_t i, const Conversation& c) {
      const std::string_view caption = caption_of(c);
      if (blank(caption)) reject(RejectReason::no_answer, c.where, ": no answer that could be a caption");
      found[static_cast<std::size_t>(i)] = found_in(caption, entries, longest, o.pairs);
    });
    std::map<std::string, std::int64_t> counts;
    for (const auto& f : found)
      for (const std::string& key : f) ++counts[key];
    Json head = Json::object({{"records", part.end - part.begin}, {"rejects", rejects}});
    std::string lines = head.dump() + "\n";
    for (const auto& [key, n] : counts) lines += Json::object({{"concept", key}, {"captions", n}}).dump() + "\n";
    write_durably(blocks.path(b), lines);
  };
  const auto head_of = [&](std::int64_t b, JsonlReader& lines) {
    Json head;
    or_make_again(blocks.remedy(b), [&] { lines.next(&head), head.at("records").as_int(); });
    return head;
  };
  ShareCounts share("concepts", o.shard, o.out, o.max_rejects);
  const bool join = blocks.make(o.shard, "concepts", count_captions, [&](std::int64_t b) {
    JsonlReader lines(blocks.path(b));
    const Json head = head_of(b, lines);
    const std::int64_t all = head.at("records").as_int();
    share.add(all, all - static_cast<std::int64_t>(head.at("rejects").size()), head.at("rejects"));
  });
  share.finish();
  if (!join) return {};

  std::map<std::string, std::int64_t> counts;
  RejectFile rejects(o.out, o.max_rejects);
  std::int64_t records = 0;
  for (std::int64_t b = 0; b < blocks.count(); ++b) {
    JsonlReader lines(blocks.path(b));
    Json j = head_of(b, lines);
    records += j.at("records").as_int();
    rejects.add(j.at("rejects"));
    while (lines.next(&j)) counts[j.at("concept").as_string()] += j.at("captions").as_int();
  }
  rejects.finish(records);
  const double captions = static_cast<double>(records - rejects.total());

  std::int64_t seldom = 0, unattached = 0, without = 0;
  if (!list.empty()) {
    for (auto& [key, which] : entries)
      for (const std::size_t i : which)
        if (const auto n = counts.find(key); n != counts.end()) list[i].captions = n->second;
    for (const Concept& c : list) without += c.captions == 0;
  } else {
    for (const auto& [key, n] : counts) {
      const std::size_t space = key.find(' ');
      if (n < o.min_count) ++seldom;
      else if (space == key.npos) list.push_back({key, n});
      else if (const std::string a = key.substr(0, space), b = key.substr(space + 1);
               std::log2(static_cast<double>(n) * captions /
                         (static_cast<double>(counts[a]) * static_cast<double>(counts[b]))) >= o.min_pmi)
        list.push_back({key, n});
      else ++unattached;
    }
    std::stable_sort(list.begin(), list.end(), [](const auto& a, const auto& b) { return a.captions > b.captions; });
  }
  if (list.empty())
    input_error(o.out, ": no concept is left of ", counts.size(), " words and pairs in ", records,
                " captions: ", seldom, " stand in fewer captions than concepts.min_count ", o.min_count, ", ",
                unattached, " pairs are below concepts.min_pmi ", o.min_pmi);
  DurableWriter out(o.out);
  for (const Concept& c : list) out.write(Json::object({{"concept", c.text}, {"captions", c.captions}}).dump() + "\n");
  begin_result(o.out);
  out.commit();
  const Json report = Json::object({{"onevision", "concepts"},
                                    {"in", records},
                                    {"captions", records - rejects.total()},
                                    {"rejects", rejects.json()},
                                    {"refused", rejects.total()},
                                    {"out", list.size()},
                                    {"below_min_count", seldom},
                                    {"below_min_pmi", unattached},
                                    {"without_caption", without}});
  const Json written = write_report(o.out, options, report);
  blocks.remove();
  return written;
}

}  // namespace ov
