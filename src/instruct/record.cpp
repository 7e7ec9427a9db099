#include "instruct/record.h"

#include "base/rng.h"
#include "base/text.h"
#include "base/utf8.h"

namespace ov::instruct {
namespace {

bool between(char32_t c, char32_t low, char32_t high) { return low <= c && c <= high; }

bool is_han(char32_t c) {
  return between(c, 0x4e00, 0x9fff) || between(c, 0x3400, 0x4dbf) || between(c, 0x20000, 0x323af) ||
         between(c, 0xf900, 0xfaff);
}
bool is_latin(char32_t c) {
  return between(c, 'a', 'z') || between(c, 'A', 'Z') || (between(c, 0xc0, 0x24f) && c != 0xd7 && c != 0xf7);
}
bool is_kana_or_hangul(char32_t c) { return between(c, 0x3040, 0x30ff) || between(c, 0xac00, 0xd7a3); }
bool is_greek_to_khmer(char32_t c) {
  return between(c, 0x370, 0x1fff);
}  // Cyrillic, Hebrew, Arabic, Indic, Thai between
bool is_other_letter(char32_t c) { return is_greek_to_khmer(c) || is_kana_or_hangul(c); }
bool is_word_part(char32_t c) { return is_latin(c) || between(c, '0', '9') || c == '_' || is_greek_to_khmer(c); }

}  // namespace

Turn* Record::first_question() {
  for (Turn& t : turns)
    if (t.role == "user") return &t;
  return nullptr;
}

std::string Record::question() const {
  const Turn* first = const_cast<Record*>(this)->first_question();
  return first ? without_tags(first->text) : "";
}

Json Record::json(const std::vector<std::string>& images_as) const {
  Json messages = Json::array();
  for (const Turn& t : turns) messages.push(Json::object({{"role", t.role}, {"content", t.text}}));
  return Json::object({{"id", id},
                       {"source", source},
                       {"category", category},
                       {"lang", lang},
                       {"difficulty", difficulty},
                       {"images", Json(images_as)},
                       {"messages", messages},
                       {"meta", meta}});
}

std::size_t drawn(std::uint64_t seed, const char* purpose, const std::string& id, std::size_t n) {
  return static_cast<std::size_t>(Philox(seed, purpose).below(fnv1a(id), n));
}

std::string collapsed(std::string_view text) {
  std::string out;
  for (const char c : trimmed(text))
    if (std::string_view(" \t\r\n").find(c) == std::string_view::npos) out += c;
    else if (out.back() != ' ') out += ' ';
  return out;
}

std::string without_tags(std::string_view text) {
  constexpr std::string_view tag = image_tag;
  std::string out;
  for (const char c : text) {
    out += c;
    if (c == tag.back() && out.ends_with(tag)) out.resize(out.size() - tag.size());
  }
  return std::string(trimmed(out));
}

std::string lowered(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if ('A' <= c && c <= 'Z') c += 'a' - 'A';
  return out;
}

std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> out;
  bool open = false;  // the last word may go on
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    const char32_t c = next_code_point(text, at);
    const std::string_view letter = text.substr(begin, at - begin);
    if (is_word_part(c)) {
      if (!open) out.emplace_back();
      out.back() += letter;
    } else if (is_han(c) || is_kana_or_hangul(c)) {
      out.emplace_back(letter);
    }
    open = is_word_part(c);
  }
  return out;
}

std::string language_of(std::string_view text) {
  std::int64_t han = 0, latin = 0, other = 0;
  for (std::size_t at = 0; at < text.size();) {
    const char32_t c = next_code_point(text, at);
    han += is_han(c), latin += is_latin(c), other += is_other_letter(c);
  }
  if (han + latin + other == 0) return "";
  if (2 * other > han + latin) return "other";  // Japanese is kana and Han
  return 3 * han > latin ? "zh" : "en";         // a Chinese word is about two characters, an English one five or six
}

}  // namespace ov::instruct
