#include "eval/scorers/python_json.h"

#include <cmath>

namespace ov::public_tasks {
namespace {

using namespace python;

struct Fault {};

class Reader {
 public:
  explicit Reader(View text) : text_(text) {}

  PythonJson whole() {
    PythonJson value = read(0);
    blanks();
    if (at_ != text_.size()) throw Fault();
    return value;
  }

 private:
  static constexpr int deepest = 990;  // Python's recursion limit is 1000

  char32_t peek() const { return at_ < text_.size() ? text_[at_] : 0; }
  bool take(View word) {
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }
  void blanks() {
    while (at_ < text_.size() && View(U" \t\n\r").find(text_[at_]) != View::npos) ++at_;
  }
  void expect(char32_t c) {
    if (peek() != c || at_ >= text_.size()) throw Fault();
    ++at_;
  }

  PythonJson read(int depth) {
    if (depth > deepest) throw Fault();
    blanks();
    PythonJson value;
    const auto number = [&](double v) {
      value.kind = PythonJson::Kind::number;
      value.number = v;
    };
    if (take(U"null")) return value;
    if (take(U"true")) number(1);
    else if (take(U"false")) number(0);
    else if (take(U"NaN")) number(NAN);
    else if (take(U"Infinity")) number(INFINITY);
    else if (take(U"-Infinity")) number(-INFINITY);
    else if (peek() == U'"') {
      value.kind = PythonJson::Kind::string;
      value.string = read_string();
    } else if (take(U"[")) {
      value.kind = PythonJson::Kind::list;
      if (blanks(); take(U"]")) return value;
      for (;; expect(U',')) {
        value.items.push_back(read(depth + 1));
        if (blanks(); take(U"]")) return value;
      }
    } else if (take(U"{")) {
      value.kind = PythonJson::Kind::dict;
      if (blanks(); take(U"}")) return value;
      for (;; expect(U',')) {
        blanks();
        Text key = read_string();
        blanks();
        expect(U':');
        PythonJson member = read(depth + 1);
        bool known = false;
        for (auto& [name, old] : value.members)
          if (name == key) old = member, known = true;
        if (!known) value.members.emplace_back(std::move(key), std::move(member));
        if (blanks(); take(U"}")) return value;
      }
    } else read_number(value);
    return value;
  }

  void read_number(PythonJson& value) {
    static const Regex form(UR"((-?(?:0|[1-9][0-9]*))(\.[0-9]+)?([eE][-+]?[0-9]+)?)");
    const auto found = form.match(text_.substr(at_));
    if (!found) throw Fault();
    at_ += found->end;
    const Text& digits = *found->groups[0];
    const bool whole = !found->groups[2] && !found->groups[3];
    if (whole && !to_int(digits)) throw Fault();  // more digits than int() takes
    value.kind = PythonJson::Kind::number;
    value.number = to_float(digits).value_or(NAN);
    value.too_large = whole && std::isinf(value.number);
  }

  char32_t four_hex() {
    char32_t value = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      const char32_t c = peek();
      const auto digit = View(U"0123456789abcdef").find(c >= U'A' && c <= U'F' ? c + 32 : c);
      if (digit == View::npos) throw Fault();
      value = value * 16 + static_cast<char32_t>(digit);
    }
    return value;
  }

  Text read_string() {
    expect(U'"');
    Text out;
    for (;;) {
      const char32_t c = peek();
      if (at_ >= text_.size() || c < 0x20) throw Fault();
      ++at_;
      if (c == U'"') return out;
      if (c != U'\\') {
        out += c;
        continue;
      }
      constexpr View names = U"\"\\/bfnrt", values = U"\"\\/\b\f\n\r\t";
      const char32_t escape = peek();
      if (at_++ >= text_.size()) throw Fault();
      if (const auto known = names.find(escape); known != View::npos) out += values[known];
      else if (escape != U'u') throw Fault();
      else {
        char32_t code = four_hex();
        if (code >= 0xD800 && code < 0xDC00 && take(U"\\u")) {
          const char32_t low = four_hex();
          if (low >= 0xDC00 && low < 0xE000) code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
          else at_ -= 6;  // by itself
        }
        out += code;
      }
    }
  }

  View text_;
  std::size_t at_ = 0;
};

}  // namespace

const PythonJson* PythonJson::find(View key) const {
  for (const auto& [name, value] : members)
    if (name == key) return &value;
  return nullptr;
}

std::optional<PythonJson> PythonJson::parse(View text) {
  try {
    return Reader(text).whole();
  } catch (const Fault&) { return {}; }
}

}  // namespace ov::public_tasks
