// Text as Python 3.11 sees it, because the public scorers and the verifiers of RL are written in it: a string is code
// points, white space, case and digits are Unicode's, float() and int() take what Python takes. Categories and simple
// case mappings are utf8proc's; what becomes several letters, and the final sigma, stand in python.cpp.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ov::python {

using Text = std::u32string;
using View = std::u32string_view;

Text text(std::string_view utf8);  // broken bytes become U+FFFD
std::string utf8(View text);

bool is_space(char32_t c);  // str.isspace: also U+001C to U+001F and U+0085
bool is_digit(char32_t c);  // \d: a decimal digit of any script
bool is_word(char32_t c);   // \w: letters, numbers, _
int digit_value(char32_t c);
bool is_alpha(char32_t c);  // category L
bool is_upper(char32_t c);  // category Lu

Text lower(View text);       // str.lower: full mappings, final sigma
Text capitalize(View text);  // str.capitalize
Text upper(View text);       // str.upper

View trim(View text);                   // str.strip, as a part of `text`
View trim(View text, View characters);  // str.strip(characters)
Text strip(View text);
Text strip(View text, View characters);
Text lstrip(View text, View characters);
Text rstrip(View text, View characters);
std::vector<Text> split(View text);                // at white space, no empty parts
std::vector<Text> split(View text, View part);     // at each `part`, which is not empty
std::vector<View> fields(View text, char32_t at);  // the same at a character, as parts of `text`
Text collapse(View text);                          // " ".join(text.split())
std::size_t count(View text, View part);
Text join(View between, const std::vector<Text>& parts);
Text replace(View text, View from, View to);
inline bool has(View text, View part) { return text.find(part) != View::npos; }

std::string ascii(View text);               // decimal digits of any script as 0 to 9, the rest as UTF-8
std::optional<double> to_float(View text);  // float(): digits of any script, "1_000", "inf"; no value where it raises
std::optional<Text> to_int(View text);      // str(int(text))
Text int_text(double whole);                // str(int(whole)), all digits
std::string repr(double value);             // str(value): "1.0", "1e+16"
double round(double value, int digits);     // half to even on the binary value

// A pattern of Python's re, on code points. Throws input_error where a text makes it try more than PCRE2 allows.
class Regex {
 public:
  enum Flags { none = 0, ignore_case = 1, dot_all = 2 };
  struct Match {
    std::size_t begin = 0, end = 0;
    std::vector<std::optional<Text>> groups;  // [0]: the whole match
  };

  explicit Regex(View pattern, int flags = none);
  std::optional<Match> search(View text, std::size_t from = 0) const;
  std::optional<Match> match(View text) const;      // at the start
  std::optional<Match> fullmatch(View text) const;  // all of it
  std::vector<Match> find_all(View text) const;
  Text sub(View replacement, View text, std::size_t most = 0) const;  // the replacement is plain text; 0: all

 private:
  std::optional<Match> run(View text, std::size_t from, unsigned options) const;
  std::shared_ptr<void> code_;
};

}  // namespace ov::python
