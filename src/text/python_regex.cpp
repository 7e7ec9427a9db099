// Python's re over PCRE2: the two agree on the syntax that the scorers use, and where they differ the pattern is put in
// other words first.
#define PCRE2_CODE_UNIT_WIDTH 32
#include <pcre2.h>

#include "base/error.h"
#include "text/python.h"

namespace ov::python {
namespace {

// What \s is in Python: str.isspace, for the inside of a class.
constexpr View blanks =
    U"\\x{9}-\\x{d}\\x{1c}-\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}"
    U"\\x{3000}";
// Python's ignore case also pairs i with the dotless and the dotted I; PCRE2 knows the long s and the kelvin sign.
constexpr View more_i = U"\u0130\u0131";

bool letters_with_i(View pattern, std::size_t at) {  // a range a-z or A-Z, or the letter itself
  const char32_t c = pattern[at];
  if (c == U'i' || c == U'I') return true;
  return at + 2 < pattern.size() && pattern[at + 1] == U'-' &&
         ((c >= U'a' && c <= U'i' && pattern[at + 2] >= U'i' && pattern[at + 2] <= U'z') ||
          (c >= U'A' && c <= U'I' && pattern[at + 2] >= U'I' && pattern[at + 2] <= U'Z'));
}

Text in_pcre(View pattern, bool ignore_case) {
  Text out;
  bool in_class = false;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    const char32_t c = pattern[i];
    if (c == U'\\' && i + 1 < pattern.size()) {
      const char32_t next = pattern[++i];
      if (next == U's') out += in_class ? Text(blanks) : U"[" + Text(blanks) + U"]";
      else if (next == U'S' && !in_class) out += U"[^" + Text(blanks) + U"]";
      else (out += c) += next;
      continue;
    }
    if (c == U'[' && !in_class) in_class = true;
    else if (c == U']' && in_class) in_class = false;
    else if (ignore_case && letters_with_i(pattern, i)) {
      if (in_class) out += more_i;
      else {
        ((out += U"[") += c) += Text(more_i) + U"]";
        continue;
      }
    }
    out += c;
  }
  return out;
}

PCRE2_SPTR code_units(View text) { return reinterpret_cast<PCRE2_SPTR>(text.data()); }

}  // namespace

Regex::Regex(View pattern, int flags) {
  const Text text = in_pcre(pattern, flags & ignore_case);
  auto* context = pcre2_compile_context_create(nullptr);
  pcre2_set_newline(context, PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE at = 0;
  auto* code = pcre2_compile(code_units(text), text.size(),
                             PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK | (flags & ignore_case ? PCRE2_CASELESS : 0) |
                                 (flags & dot_all ? PCRE2_DOTALL : 0),
                             &error, &at, context);
  pcre2_compile_context_free(context);
  if (!code) machine_error("pattern ", utf8(text), ": PCRE2 error ", error, " at ", at);
  code_ = {code, [](void* p) { pcre2_code_free(static_cast<pcre2_code*>(p)); }};
}

std::optional<Regex::Match> Regex::run(View text, std::size_t from, unsigned options) const {
  const auto* code = static_cast<const pcre2_code*>(code_.get());
  const std::unique_ptr<pcre2_match_data, void (*)(pcre2_match_data*)> data(
      pcre2_match_data_create_from_pattern(code, nullptr), pcre2_match_data_free);
  const int found =
      pcre2_match(code, code_units(text), text.size(), from, options | PCRE2_NO_UTF_CHECK, data.get(), nullptr);
  if (found == PCRE2_ERROR_NOMATCH) return {};
  if (found < 0) input_error("a text of ", text.size(), " characters: too many ways to match a pattern");
  const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(data.get());
  Match match{.begin = ends[0], .end = ends[1], .groups = {}};
  for (std::uint32_t g = 0; g < pcre2_get_ovector_count(data.get()); ++g)
    match.groups.push_back(ends[2 * g] == PCRE2_UNSET
                               ? std::nullopt
                               : std::optional<Text>(text.substr(ends[2 * g], ends[2 * g + 1] - ends[2 * g])));
  return match;
}

std::optional<Regex::Match> Regex::search(View text, std::size_t from) const { return run(text, from, 0); }
std::optional<Regex::Match> Regex::match(View text) const { return run(text, 0, PCRE2_ANCHORED); }
std::optional<Regex::Match> Regex::fullmatch(View text) const {
  return run(text, 0, PCRE2_ANCHORED | PCRE2_ENDANCHORED);
}

std::vector<Regex::Match> Regex::find_all(View text) const {
  std::vector<Match> all;
  bool empty = false;  // the last match was: the next one at the same place must not be
  for (std::size_t at = 0; at <= text.size();) {
    auto found = run(text, at, empty ? PCRE2_NOTEMPTY_ATSTART : 0);
    if (!found) break;
    at = found->end;
    empty = found->begin == found->end;
    all.push_back(std::move(*found));
  }
  return all;
}

Text Regex::sub(View replacement, View text, std::size_t most) const {
  Text out;
  std::size_t at = 0, done = 0;
  for (const Match& m : find_all(text)) {
    if (most && done++ == most) break;
    (out += text.substr(at, m.begin - at)) += replacement;
    at = m.end;
  }
  return out += text.substr(at);
}

}  // namespace ov::python
