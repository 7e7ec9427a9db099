#include "instruct/phrases.h"

#include <algorithm>
#include <map>

#include "base/text.h"
#include "instruct/preserve.h"

namespace ov::instruct {
namespace {

constexpr std::string_view same_word = "same";
constexpr std::string_view same_marks = " .,:/%+-=()[]";

bool is_ascii(char c) { return static_cast<signed char>(c) >= 0; }
bool is_letter(char c) { return ('a' <= c && c <= 'z') || ('A' <= c && c <= 'Z'); }
bool is_digit(char c) { return '0' <= c && c <= '9'; }
bool is_same(char c) { return ('A' <= c && c <= 'Z') || is_digit(c) || same_marks.find(c) != same_marks.npos; }

// One blank between words of letters and digits; none beside Chinese, or before what ends a sentence. Full-width marks
// as plain ones.
std::string normal(std::string_view text) {
  std::string s = collapsed(text);
  for (const auto& [wide, plain] :
       {std::pair<std::string, const char*>{"？", "?"}, {"，", ","}, {"。", "."}, {"：", ":"}, {"！", "!"}})
    for (std::size_t at; (at = s.find(wide)) != s.npos;) s.replace(at, wide.size(), plain);
  std::string out;
  for (std::size_t i = 0; i < s.size(); ++i) {
    const bool between = i > 0 && i + 1 < s.size();
    if (s[i] == ' ' && between &&
        (!is_ascii(s[i - 1]) || !is_ascii(s[i + 1]) ||
         std::string_view("?.,!:").find(s[i + 1]) != std::string_view::npos))
      continue;
    out += s[i];
  }
  return out;
}

bool is_same_slot(const std::string& name) { return name.starts_with(same_word); }  // {same}, {same2}

// How many bytes `word` takes at the start of `text`, capitals or not; 0 when it is not there as a word.
std::size_t begins(std::string_view text, const std::string& word) {
  if (text.size() < word.size() || lowered(text.substr(0, word.size())) != lowered(word)) return 0;
  const bool letters = is_letter(word.back()) && text.size() > word.size() && is_letter(text[word.size()]);
  return letters ? 0 : word.size();
}

}  // namespace

PhraseBank PhraseBank::read(const std::string& path) {
  PhraseBank bank;
  const Json json = Json::read(path);
  std::array<std::map<std::string, std::string>, 2> known;
  for (const auto& [name, list] : json.at("words").members()) {
    if (is_same_slot(name)) input_error(path, ": words: ", shown(name), ": begins as {same} does");
    auto& words = bank.lists_.emplace_back(name, std::vector<std::array<std::string, 2>>()).second;
    for (const auto& [en, zh] : list.members()) {
      const std::array<std::string, 2> pair = {normal(en), zh.as_string()};
      if (blank(pair[0]) || blank(pair[1])) input_error(path, ": words: ", name, ": an empty word");
      for (const std::size_t l : {std::size_t{0}, std::size_t{1}}) {
        const auto [at, added] = known[l].try_emplace(lowered(normal(pair[l])), pair[1 - l]);
        if (!added && at->second != pair[1 - l])
          input_error(path, ": words: ", name, ": ", shown(pair[l]), " is ", shown(at->second), " elsewhere");
      }
      words.push_back(pair);
    }
  }
  // A longer word before one that it begins with.
  std::array<std::map<std::string, std::size_t>, 2> seen;
  for (const Json& entry : json.at("phrases").items()) {
    Phrase phrase;
    std::array<std::vector<std::string>, 2> slots;
    for (std::size_t l = 0; l < languages.size(); ++l) {
      phrase.text[l] = entry.at(languages[l]).as_string();
      const std::string where = cat(path, ": phrase ", shown(phrase.text[l]));
      std::string text = normal(phrase.text[l]);
      if (languages[l] == std::string("zh")) {  // a word is Chinese, so that no blank stands beside it
        for (const auto& [name, list] : bank.lists_)
          for (const auto& [from, to] :
               {std::pair{"{" + name + "} ", "{" + name + "}"}, {" {" + name + "}", "{" + name + "}"}})
            for (std::size_t at; (at = text.find(from)) != text.npos;) text.replace(at, from.size(), to);
      }
      if (!seen[l].try_emplace(lowered(text), bank.phrases_.size()).second) input_error(where, ": stands there twice");
      for (std::size_t at = 0; at < text.size();) {
        const std::size_t open = std::min(text.find('{', at), text.size());
        if (open > at) phrase.pieces[l].push_back({text.substr(at, open - at)});
        if (open == text.size()) break;
        const std::size_t close = text.find('}', open);
        if (close == text.npos) input_error(where, ": a slot that does not close");
        const std::string name = text.substr(open + 1, close - open - 1);
        if (!is_same_slot(name) && !bank.has(name)) input_error(where, ": there are no words ", shown(name));
        if (std::find(slots[l].begin(), slots[l].end(), name) != slots[l].end())
          input_error(where, ": {", name, "} stands there twice");
        phrase.pieces[l].push_back({name, true}), slots[l].push_back(name);
        at = close + 1;
      }
      std::sort(slots[l].begin(), slots[l].end());
    }
    if (slots[0] != slots[1]) input_error(path, ": phrase ", shown(phrase.text[0]), ": other slots in ", languages[1]);
    if (const Json* answer = entry.find("answer")) phrase.kinds = words_of(answer->as_string());
    for (const std::string& kind : phrase.kinds)
      if (kind != same_word && !bank.has(kind))
        input_error(path, ": phrase ", shown(phrase.text[0]), ": answer: there are no words ", shown(kind));
    bank.phrases_.push_back(std::move(phrase));
  }
  return bank;
}

bool PhraseBank::match(const std::vector<Piece>& pieces, std::size_t i, std::string_view text, std::size_t to,
                       Slots& slots) const {
  if (i == pieces.size()) return text.empty();
  const Piece& p = pieces[i];
  if (!p.slot) {
    return text.size() >= p.text.size() && lowered(text.substr(0, p.text.size())) == lowered(p.text) &&
           match(pieces, i + 1, text.substr(p.text.size()), to, slots);
  }
  const auto take = [&](std::size_t n, const std::string& value) {
    slots.emplace_back(p.text, value);
    if (match(pieces, i + 1, text.substr(n), to, slots)) return true;
    slots.pop_back();
    return false;
  };
  if (is_same_slot(p.text)) {
    std::size_t n = 0;
    while (n < text.size() && is_same(text[n])) ++n;
    for (; n > 0; --n)
      if (!blank(text.substr(0, n)) && trimmed(text.substr(0, n)).size() == n &&
          take(n, std::string(text.substr(0, n))))
        return true;
    return false;
  }
  std::size_t n = 0;
  const std::string* word = word_at(text, p.text, to, &n);
  return word && take(n, *word);
}

bool PhraseBank::has(const std::string& kind) const {
  return std::any_of(lists_.begin(), lists_.end(), [&](const auto& list) { return list.first == kind; });
}

// The longest word of a kind that a text begins with, translated; null: none.
const std::string* PhraseBank::word_at(std::string_view text, const std::string& kind, std::size_t to,
                                       std::size_t* bytes) const {
  const std::string* best = nullptr;
  *bytes = 0;
  for (const auto& [name, list] : lists_)
    if (name == kind)
      for (const auto& word : list)
        if (const std::size_t n = begins(text, normal(word[1 - to])); n > *bytes) best = &word[to], *bytes = n;
  return best;
}

const PhraseBank::Phrase* PhraseBank::find(const std::string& text, std::size_t to, std::string* out) const {
  const std::string plain = normal(text);
  for (const Phrase& phrase : phrases_) {
    Slots slots;
    if (!match(phrase.pieces[1 - to], 0, plain, to, slots)) continue;
    *out = phrase.text[to];
    for (const auto& [name, value] : slots) {
      const std::string slot = "{" + name + "}";
      out->replace(out->find(slot), slot.size(), value);
    }
    return &phrase;
  }
  return nullptr;
}

// A text of nothing but words of some kinds and commas, in their order.
std::optional<std::string> PhraseBank::words(const std::string& text, const std::vector<std::string>& kinds,
                                             std::size_t to) const {
  const std::string plain = normal(text);
  std::string out;
  for (std::string_view rest = plain; !rest.empty();) {
    std::size_t best = 0;
    const std::string* word = nullptr;
    for (const std::string& kind : kinds) {
      std::size_t n = 0;
      if (const std::string* found = word_at(rest, kind, to, &n); n > best) word = found, best = n;
    }
    if (word) {
      out += (out.empty() ? "" : " ") + *word;
    } else if (rest.starts_with(",") && !out.empty()) {
      out += " ,", best = 1;
    } else if (is_same(rest[0])) {  // a number or a code among them
      while (best < rest.size() && is_same(rest[best]) && rest[best] != ' ' && rest[best] != ',') ++best;
      if (best == 0) return {};
      out.append(out.empty() ? "" : " ").append(rest.substr(0, best));
    } else {
      return {};
    }
    rest.remove_prefix(best);
    while (rest.starts_with(" ")) rest.remove_prefix(1);
  }
  if (out.empty()) return {};
  return out;
}

std::optional<std::string> PhraseBank::answer(const std::string& text, const std::vector<std::string>& kinds,
                                              std::size_t to) const {
  if (!kinds.empty() && kinds[0] == same_word) return text;
  if (const YesNo said = yes_or_no(text); said != YesNo::neither) {
    const bool yes = said == YesNo::yes;
    return to == 1 ? (yes ? "是" : "否") : yes ? "yes" : "no";
  }
  if (std::all_of(text.begin(), text.end(), is_same)) return text;
  if (std::string out; find(text, to, &out)) return out;
  return words(text, kinds, to);
}

std::optional<std::vector<std::string>> PhraseBank::translated(const std::vector<std::string>& texts,
                                                               const std::string& to, bool same_answer) const {
  const auto l = static_cast<std::size_t>(place_of(languages, to));
  std::vector<std::string> out;
  const std::vector<std::string> same = {std::string(same_word)};
  std::vector<std::string> kinds;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    if (i % 2) {
      const auto said = answer(texts[i], kinds, l);
      if (!said) return {};
      out.push_back(*said);
    } else if (i == 0 && same_answer) {
      kinds = same;
      out.emplace_back();
    } else if (language_of(texts[i]) == to) {  // a mixed record
      kinds = same;
      out.push_back(texts[i]);
    } else {
      std::string asked;
      const Phrase* phrase = find(texts[i], l, &asked);
      if (!phrase) return {};
      kinds = phrase->kinds;
      out.push_back(asked);
    }
  }
  return out;
}

}  // namespace ov::instruct
