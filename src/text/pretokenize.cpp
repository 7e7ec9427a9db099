#include "text/pretokenize.h"

#include <utf8proc.h>

#include <algorithm>
#include <iterator>
#include <vector>

#include "base/error.h"
#include "base/utf8.h"

namespace ov {
namespace {

struct Range {
  char32_t first, last;
};

bool contains(const Range* begin, const Range* end, char32_t c) {
  const Range* r = std::lower_bound(begin, end, c, [](const Range& a, char32_t v) { return a.last < v; });
  return r != end && c >= r->first;
}

// Letters and numbers that Unicode 15.1 and 16 added (UnicodeData.txt): the engine behind the reference tokenizer
// knows them, libutf8proc 2.8 stops at 15.0. A newer library classes them itself and the ranges change nothing.
constexpr Range new_letters[] = {{0x1C89, 0x1C8A},   {0xA7CB, 0xA7CD},   {0xA7DA, 0xA7DC},   {0x105C0, 0x105F3},
                                 {0x10D4A, 0x10D65}, {0x10D6F, 0x10D85}, {0x10EC2, 0x10EC4}, {0x11380, 0x11389},
                                 {0x1138B, 0x1138B}, {0x1138E, 0x1138E}, {0x11390, 0x113B5}, {0x113B7, 0x113B7},
                                 {0x113D1, 0x113D1}, {0x113D3, 0x113D3}, {0x11BC0, 0x11BE0}, {0x13460, 0x143FA},
                                 {0x16100, 0x1611D}, {0x16D40, 0x16D6C}, {0x18CFF, 0x18CFF}, {0x1E5D0, 0x1E5ED},
                                 {0x1E5F0, 0x1E5F0}, {0x2EBF0, 0x2EE5D}};
constexpr Range new_numbers[] = {{0x10D40, 0x10D49}, {0x116D0, 0x116E3}, {0x11BF0, 0x11BF9}, {0x16130, 0x16139},
                                 {0x16D70, 0x16D79}, {0x1CCF0, 0x1CCF9}, {0x1E5F1, 0x1E5FA}};

// Latin-1, Cyrillic letters, kana, Han, precomposed Hangul, full-width forms, emoji: nothing here decomposes,
// carries a combining class or is the second half of a composition. A test compares each with the library.
constexpr Range inert[] = {{0x0, 0x2FF},     {0x400, 0x482},   {0x48A, 0x52F},    {0x2010, 0x2027},
                           {0x3001, 0x3029}, {0x3041, 0x3096}, {0x30A1, 0x30FA},  {0x3400, 0x9FFF},
                           {0xAC00, 0xD7A3}, {0xFF01, 0xFFBE}, {0x1F300, 0x1FAFF}};

// Marks that the reference's normaliser does not know (its tables end at Unicode 9): it leaves them where they
// stand, and neither reorders nor composes across them. Measured with tokenizers 0.21.4.
constexpr Range newer_marks[] = {
    {0x7FD, 0x7FD},     {0x898, 0x89F},     {0x8CA, 0x8D3},     {0x9FE, 0x9FE},     {0xC3C, 0xC3C},
    {0xD3B, 0xD3C},     {0xEBA, 0xEBA},     {0x1715, 0x1715},   {0x1ABF, 0x1ACE},   {0x1DF6, 0x1DFA},
    {0xA82C, 0xA82C},   {0x10D24, 0x10D27}, {0x10EAB, 0x10EAC}, {0x10EFD, 0x10EFF}, {0x10F46, 0x10F50},
    {0x10F82, 0x10F85}, {0x11070, 0x11070}, {0x1133B, 0x1133B}, {0x1145E, 0x1145E}, {0x11839, 0x1183A},
    {0x11930, 0x11930}, {0x11935, 0x11935}, {0x11938, 0x11938}, {0x1193D, 0x1193E}, {0x11943, 0x11943},
    {0x119E0, 0x119E0}, {0x11A34, 0x11A34}, {0x11A47, 0x11A47}, {0x11A99, 0x11A99}, {0x11D42, 0x11D42},
    {0x11D44, 0x11D45}, {0x11D97, 0x11D97}, {0x11F41, 0x11F42}, {0x16FF0, 0x16FF1}, {0x1E08F, 0x1E08F},
    {0x1E130, 0x1E136}, {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF}, {0x1E4EC, 0x1E4EF}};

// utf8proc_map() in its two steps, with the marks sorted in between: the library reorders a run of marks by exchanging
// neighbours, which takes the square of its length when they are out of order, and nothing when they are in order.
void append_nfc(std::string_view text, std::string& out) {
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE);
  const auto check = [&](utf8proc_ssize_t n) {
    if (n < 0) machine_error("NFC of ", text.size(), " bytes: ", utf8proc_errmsg(n));
    return static_cast<std::size_t>(n);
  };
  std::vector<utf8proc_int32_t> codes;
  for (std::size_t at = 0; at < text.size();) {
    utf8proc_int32_t parts[8];  // a canonical decomposition has at most 4
    int boundary = 0;
    const auto code = static_cast<utf8proc_int32_t>(next_code_point(text, at));
    codes.insert(codes.end(), parts, parts + check(utf8proc_decompose_char(code, parts, 8, options, &boundary)));
  }
  const auto rank = [](utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; };
  for (auto begin = codes.begin(); begin != codes.end();) {
    const auto end = std::find_if(begin, codes.end(), [&](utf8proc_int32_t c) { return rank(c) == 0; });
    std::stable_sort(begin, end, [&](utf8proc_int32_t a, utf8proc_int32_t b) { return rank(a) < rank(b); });
    begin = std::find_if(end, codes.end(), [&](utf8proc_int32_t c) { return rank(c) != 0; });
  }
  const auto n = static_cast<utf8proc_ssize_t>(codes.size());
  codes.push_back(0);  // utf8proc_reencode() writes its UTF-8 over the codes, with a zero byte at the end
  const std::size_t size = check(utf8proc_reencode(codes.data(), n, options));
  out.append(reinterpret_cast<const char*>(codes.data()), size);
}

enum class Class { letter, number, white_space, line_end, other };

Class class_of(char32_t c) {
  if (c == '\r' || c == '\n') return Class::line_end;  // white space too
  if (is_letter(c)) return Class::letter;
  if (is_number(c)) return Class::number;
  return is_white_space(c) ? Class::white_space : Class::other;
}

// Reads one character ahead; `next` is where the following character starts.
struct Cursor {
  std::string_view text;
  std::size_t at, next = 0;
  char32_t code = 0;
  Class kind = Class::other;

  Cursor(std::string_view t, std::size_t begin) : text(t), at(begin) { load(); }
  bool done() const { return at >= text.size(); }
  bool is(Class k) const { return !done() && kind == k; }
  bool is_space() const { return is(Class::white_space) || is(Class::line_end); }
  void step() { at = next, load(); }
  void load() {
    next = at;
    if (done()) return;
    code = next_code_point(text, next);
    kind = class_of(code);
  }
};

// The length in bytes of a contraction at text[begin] == '\''; 0 when there is none.
std::size_t contraction(std::string_view text, std::size_t begin) {
  const std::string_view rest = text.substr(begin + 1);
  const auto lower = [&](std::size_t i) { return i < rest.size() ? static_cast<char>(rest[i] | 0x20) : '\0'; };
  const char a = lower(0), b = lower(1);
  if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
  if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return 3;
  return rest.substr(0, 2) == "\xC5\xBF" ? 3 : 0;  // U+017F, the long s
}

// Rules 5 to 7: a run of white space.
std::size_t space_end(Cursor c) {
  std::size_t after_line_end = 0, last = c.at;
  const std::size_t begin = c.at;
  for (; c.is_space(); c.step()) {
    last = c.at;
    if (c.kind == Class::line_end) after_line_end = c.next;
  }
  if (after_line_end) return after_line_end;
  return c.done() || last == begin ? c.at : last;
}

}  // namespace

const char* const qwen2_pattern =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"
    "\\s+(?!\\S)|\\s+";

bool is_letter(char32_t c) {
  if (c < 0x80) return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  if (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO) return true;
  return category == UTF8PROC_CATEGORY_CN && contains(std::begin(new_letters), std::end(new_letters), c);
}

bool is_number(char32_t c) {
  if (c < 0x80) return c >= '0' && c <= '9';
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  if (category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO) return true;
  return category == UTF8PROC_CATEGORY_CN && contains(std::begin(new_numbers), std::end(new_numbers), c);
}

bool is_white_space(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= 0x9 && c <= 0xD);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
         c == 0x202F || c == 0x205F || c == 0x3000;
}

bool nfc_inert(char32_t c) { return contains(std::begin(inert), std::end(inert), c); }

std::string nfc(std::string_view text) {
  bool changes = false;
  for (std::size_t at = 0; at < text.size() && !changes;) changes = !nfc_inert(next_code_point(text, at));
  if (!changes) return std::string(text);

  std::string out;
  std::size_t begin = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t here = at;
    if (!contains(std::begin(newer_marks), std::end(newer_marks), next_code_point(text, at))) continue;
    append_nfc(text.substr(begin, here - begin), out);
    out += text.substr(here, at - here);
    begin = at;
  }
  append_nfc(text.substr(begin), out);
  return out;
}

std::size_t word_end(std::string_view text, std::size_t begin) {
  if (text[begin] == '\'')
    if (const std::size_t length = contraction(text, begin)) return begin + length;

  Cursor c(text, begin);
  const char32_t first = c.code;
  const Class kind = c.kind;
  if (kind == Class::number) return c.next;

  Cursor second = c;
  second.step();
  if (kind == Class::letter || (kind != Class::line_end && second.is(Class::letter))) {
    for (c = second; c.is(Class::letter); c.step()) {}
    return c.at;
  }
  if (kind == Class::other || (first == ' ' && second.is(Class::other))) {
    for (c = second; c.is(Class::other); c.step()) {}
    for (; c.is(Class::line_end); c.step()) {}
    return c.at;
  }
  return space_end(c);
}

}  // namespace ov
