#include "instruct/preserve.h"

#include <algorithm>
#include <cmath>

#include "base/text.h"

namespace ov::instruct {
namespace {

using Texts = std::vector<std::string>;

bool is_digit(char c) { return '0' <= c && c <= '9'; }
bool is_capital(char c) { return 'A' <= c && c <= 'Z'; }
bool is_small(char c) { return 'a' <= c && c <= 'z'; }
bool is_word_byte(char c) { return is_digit(c) || is_capital(c) || is_small(c) || static_cast<signed char>(c) < 0; }

// Runs of digits, with a point, comma, colon or slash between two of them.
Texts numbers_of(const std::string& text) {
  Texts out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (!is_digit(text[i])) continue;
    std::size_t end = i + 1;
    while (end < text.size() &&
           (is_digit(text[end]) || (std::string_view(".,:/").find(text[end]) != std::string_view::npos &&
                                    end + 1 < text.size() && is_digit(text[end + 1]))))
      ++end;
    out.push_back(text.substr(i, end - i));
    i = end;
  }
  std::sort(out.begin(), out.end());
  return out;
}

// What stands between two marks, each time; what is not closed is none.
void between(const std::string& text, const std::string& open, const std::string& close, Texts& out) {
  for (std::size_t at = 0; (at = text.find(open, at)) != text.npos;) {
    const std::size_t begin = at + open.size(), end = text.find(close, begin);
    if (end == text.npos) return;
    if (end > begin) out.push_back(open + text.substr(begin, end - begin));
    at = end + close.size();
  }
}

Texts verbatim_of(const std::string& text) {
  Texts out;
  for (const auto& [open, close] :
       {std::pair<const char*, const char*>{"```", "```"}, {"\"", "\""}, {"“", "”"}, {"「", "」"}, {"$", "$"}})
    between(text, open, close, out);
  if (text.find("```") == text.npos) between(text, "`", "`", out);
  for (std::size_t at = 0; (at = text.find("://", at)) != text.npos; at += 3) {
    std::size_t begin = at, end = at;
    while (begin > 0 && is_small(text[begin - 1])) --begin;
    while (end < text.size() && static_cast<unsigned char>(text[end]) > ' ' &&
           static_cast<unsigned char>(text[end]) < 127)
      ++end;
    out.push_back(text.substr(begin, end - begin));
  }
  // Options: a capital letter to H behind a blank, and a mark behind it.
  for (std::size_t i = 0; i + 1 < text.size(); ++i)
    if ('A' <= text[i] && text[i] <= 'H' && std::string_view(".):").find(text[i + 1]) != std::string_view::npos &&
        (i == 0 || std::string_view(" \n\t(").find(text[i - 1]) != std::string_view::npos))
      out.push_back(text.substr(i, 2));
  std::sort(out.begin(), out.end());
  return out;
}

// Latin words with capitals: inside of sentences any, else those of capitals alone, from two letters on.
Texts names_of(const std::string& text, bool capitals_alone) {
  Texts out;
  bool starts = true;  // a sentence
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (!is_word_byte(text[i])) {
      if (std::string_view(".?!:\n\"(").find(text[i]) != std::string_view::npos) starts = true;
      continue;
    }
    std::size_t end = i;
    while (end < text.size() && is_word_byte(text[end])) ++end;
    const std::string word = text.substr(i, end - i);
    const bool ascii = std::all_of(word.begin(), word.end(), [](char c) { return static_cast<signed char>(c) >= 0; });
    const auto capitals = std::count_if(word.begin(), word.end(), is_capital);
    const bool alone = capitals > 0 && std::none_of(word.begin(), word.end(), is_small);
    const bool name =
        alone && word.size() > 1 ? true : capitals > 0 && !starts && word != "I" && (alone || !capitals_alone);
    if (ascii && name) out.push_back(word);
    starts = false;
    i = end - 1;
  }
  std::sort(out.begin(), out.end());
  return out;
}

bool negates(const std::string& text) {
  const std::string low = lowered(text);
  for (const std::string& w : words_of(low))
    for (const char* no :
         {"no", "not", "never", "none", "nothing", "nobody", "without", "except", "neither", "nor", "cannot", "non"})
      if (w == no) return true;
  if (low.find("n't") != low.npos || low.find("n’t") != low.npos) return true;
  std::string zh = text;
  for (const char* asks :
       {"是不是", "有没有", "能不能", "会不会", "对不对", "可不可以", "是否", "能否", "不同", "不过"})
    for (std::size_t at; (at = zh.find(asks)) != zh.npos;) zh.erase(at, std::string_view(asks).size());
  for (const char* no : {"不", "没", "无", "未", "非", "除"})
    if (zh.find(no) != zh.npos) return true;
  return false;
}

// Without the blanks around it, and the stop at its end.
std::string bare(const std::string& answer) {
  std::string out = collapsed(answer);
  for (const std::string_view stop : {".", "。", "!", "！"})
    if (out.ends_with(stop)) out.resize(out.size() - stop.size());
  return out;
}

// Whether `part` stands in `whole` and does not begin or end inside of a Latin word or a number.
bool stands_in(const std::string& whole, const std::string& part) {
  for (std::size_t at = 0; (at = whole.find(part, at)) != whole.npos; ++at) {
    const auto inside = [&](char a, char b) {
      return static_cast<signed char>(a) >= 0 && static_cast<signed char>(b) >= 0 && is_word_byte(a) && is_word_byte(b);
    };
    const std::size_t end = at + part.size();
    if (at > 0 && inside(whole[at - 1], part.front())) continue;
    if (end < whole.size() && inside(part.back(), whole[end])) continue;
    return true;
  }
  return false;
}

// One of a few forms, which no translation changes: a letter, a number, a box.
bool is_closed(const std::string& answer) {
  const std::string a = lowered(bare(answer));
  const bool digits =
      a.find_first_of("0123456789") != a.npos && a.find_first_not_of("0123456789.,:/%+- []()") == a.npos;
  const bool letter =
      (a.size() == 1 && is_small(a[0])) || (a.size() == 3 && a[0] == '(' && is_small(a[1]) && a[2] == ')');
  return digits || letter;
}

std::string listed(const Texts& texts) {
  std::string out;
  for (const std::string& t : texts) out += (out.empty() ? "" : ", ") + t;
  return shown(out.empty() ? "none" : out);
}

Note same_parts(const std::string& before, const std::string& after, bool translated) {
  const auto differ = [&](const char* word, const Texts& a, const Texts& b) {
    return a == b ? Note{} : Note{word, cat(listed(a), " became ", listed(b))};
  };
  if (Note n = differ("numbers", numbers_of(before), numbers_of(after)); !n.what.empty()) return n;
  if (Note n = differ("verbatim", verbatim_of(before), verbatim_of(after)); !n.what.empty()) return n;
  for (const std::string& name : names_of(before, translated))
    if (!stands_in(after, name)) return {"names", cat(name, " is gone")};
  return {};
}

Note common(const std::string& before, const std::string& after, const std::string& from, const std::string& to,
            const WordBounds& bounds) {
  if (blank(after)) return {"empty", ""};
  if (after.find(image_tag) != after.npos || after.find("<|") != after.npos) return {"markup", shown(after)};
  // Without letters there is no language to be wrong.
  if (const std::string found = language_of(after); !found.empty() && !language_of(before).empty() && found != to)
    return {"language", cat("is ", found, ", expected ", to)};
  const auto a = static_cast<double>(words_of(before).size()), b = static_cast<double>(words_of(after).size());
  const auto slack = static_cast<double>(bounds.slack);
  if (b > bounds.longest * a + slack || b < bounds.shortest * a - slack) return {"length", cat(a, " words became ", b)};
  return same_parts(before, after, from != to);
}

}  // namespace

YesNo yes_or_no(const std::string& answer) {
  const std::string a = lowered(bare(answer));
  for (const char* yes : {"yes", "是", "是的", "有", "对"})
    if (a == yes) return YesNo::yes;
  for (const char* no : {"no", "否", "不是", "没有", "不", "不对"})
    if (a == no) return YesNo::no;
  return YesNo::neither;
}

Note against_question(const std::string& before, const std::string& after, const std::vector<std::string>& answers,
                      const std::string& from, const std::string& to, const WordBounds& bounds) {
  if (Note n = common(before, after, from, to, bounds); !n.what.empty()) return n;
  if (from == to && negates(before) != negates(after)) return {"negation", shown(after)};
  const std::string was = lowered(collapsed(before)), is = lowered(collapsed(after));
  for (const std::string& answer : answers) {
    const std::string a = lowered(bare(answer));
    if (a.empty() || is_closed(answer) || yes_or_no(answer) != YesNo::neither) continue;
    if (stands_in(is, a) && !stands_in(was, a)) return {"answer_leaked", shown(after)};
  }
  return {};
}

Note against_answer(const std::string& before, const std::string& after, const std::string& from, const std::string& to,
                    const WordBounds& bounds) {
  if (const YesNo was = yes_or_no(before);
      was != yes_or_no(after) && (was != YesNo::neither || words_of(before).size() < 3))
    return {"answer", cat(shown(before), " became ", shown(after))};
  if (is_closed(before) && bare(before) != bare(after)) return {"answer", cat(shown(before), " became ", shown(after))};
  // A letter, a code: the same in both languages, as a yes is not.
  if (bare(before) == bare(after) && std::none_of(before.begin(), before.end(), is_small)) return {};
  return common(before, after, from, to, bounds);
}

}  // namespace ov::instruct
