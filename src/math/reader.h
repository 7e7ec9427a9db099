// The reader of LaTeX, by recursive descent: chains of relations of sums of products of powers; sets, intervals,
// tuples, matrices; lists with , and ; between their elements. latex.cpp has what joins things, atoms.cpp the
// things.
#pragma once
#include <algorithm>
#include <map>

#include "math/latex.h"

namespace ov::math {

const std::map<Text, std::string>& functions();  // "sin" and its like, by their commands

class Reader {
 public:
  explicit Reader(View text) : text_(text) {}
  Value all();

 private:
  void blanks();
  bool letter(std::size_t i) const {
    return i < text_.size() && ((text_[i] >= U'a' && text_[i] <= U'z') || (text_[i] >= U'A' && text_[i] <= U'Z'));
  }
  bool done() { return blanks(), at_ >= text_.size(); }
  // The next token is s: a command must end there.
  bool next(View s);
  bool take(View s) {
    if (!next(s)) return false;
    at_ += s.size();
    return true;
  }
  bool any(std::initializer_list<View> tokens) {
    return std::any_of(tokens.begin(), tokens.end(), [&](View t) { return take(t); });
  }
  void expect(View s) {
    if (!take(s)) throw Unreadable{};
  }
  static const E& expr(const Value& v) {
    if (v.kind != Value::Kind::expr) throw Unreadable{};
    return v.expr;
  }
  // Elements with , between them, groups of them with ; until one of `closers` (or the end).
  std::vector<std::vector<Value>> groups();
  static Value tuple(std::vector<Value> items) {
    Value v;
    v.kind = Value::Kind::tuple, v.items = std::move(items);
    return v;
  }
  // One element is itself, several are a set; of groups a set of tuples.
  Value list(View closer);
  Value relation();
  // Sets with \cup between them.
  Value combined();
  Value united(const Value& a, const Value& b) const;
  Value sum();
  Value product(bool no_functions);
  static E flat_product(const E& a, const E& b);
  static Value scaled(const E& factor, Value matrix);  // entry by entry
  Value unary(bool no_functions);
  bool starts_factor(bool no_functions);
  Text command() const;
  Value postfix(bool no_functions);
  bool degree();
  E exponent();
  Value power(bool no_functions);
  E braced();
  Value number_token();
  std::string subscript();
  E named(const Text& name) { return symbol(utf8(lower(name)) + subscript()); }
  Value atom(bool no_functions);
  std::vector<E> arguments();
  // (x), (a, b) as an open interval where a < b, else a tuple; [a, b), [x].
  Value bracket();
  static Value interval(const E& low, const E& high, bool low_open, bool high_open);
  Value braces();
  Value of_command(bool no_functions);
  Value accented(const Text& name);
  Value function(const std::string& name);
  Value matrix();

  View text_;
  std::size_t at_ = 0;
  int bars_ = 0, depth_ = 0;  // open |; nesting
  int operators_ = 0;

  // A chain of operators is a tree as deep as it is long, which is walked by recursion.
  void one_more() {
    if (++operators_ > most_operators) throw Unreadable{};
  }
  struct Nested {
    int& depth;
    explicit Nested(int& d) : depth(d) {
      if (++depth > 200) throw Unreadable{};
    }
    ~Nested() { --depth; }
  };
};

}  // namespace ov::math
