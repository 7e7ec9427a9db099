#include "math/latex.h"

namespace ov::math {
namespace {

using XK = Expr::Kind;

// Sums and products of Python.
class Arithmetic {
 public:
  explicit Arithmetic(View text) : text_(text) {}
  E all() {
    const E e = sum();
    blanks();
    if (at_ != text_.size()) throw Unreadable{};
    return e;
  }

 private:
  View text_;
  std::size_t at_ = 0;
  int depth_ = 0, operators_ = 0;

  void one_more() {
    if (++operators_ > most_operators) throw Unreadable{};
  }

  void blanks() {
    while (at_ < text_.size() && is_space(text_[at_])) ++at_;
  }
  bool take(View s) {
    blanks();
    if (text_.substr(at_, s.size()) != s) return false;
    at_ += s.size();
    return true;
  }
  E sum() {
    E e = product();
    for (;; one_more())
      if (take(U"+")) e = node(XK::add, {e, product()});
      else if (take(U"-")) e = node(XK::add, {e, negative(product())});
      else return e;
  }
  E product() {
    E e = unary();
    for (;; one_more())
      if (take(U"//")) e = call("floor", {quotient(e, unary())});
      else if (take(U"*")) e = node(XK::multiply, {e, unary()});
      else if (take(U"/")) e = quotient(e, unary());
      else return e;
  }
  E unary() {
    if (++depth_ > 200) throw Unreadable{};
    E e;
    if (take(U"+")) e = unary();
    else if (take(U"-")) e = negative(unary());
    else {
      e = primary();
      if (take(U"**") || take(U"^")) e = node(XK::power, {e, unary()});
    }
    --depth_;
    return e;
  }
  E primary() {
    if (take(U"(")) {
      const E e = sum();
      if (!take(U")")) throw Unreadable{};
      return e;
    }
    blanks();
    const auto start = at_;
    const auto digits = [&] {
      while (at_ < text_.size() && text_[at_] >= U'0' && text_[at_] <= U'9') ++at_;
    };
    digits();
    const bool point = at_ < text_.size() && text_[at_] == U'.';
    if (point) ++at_, digits();
    const std::string s = utf8(text_.substr(start, at_ - start));
    if (s.empty() || s == ".") throw Unreadable{};
    if (!point && s.size() > 1 && s[0] == '0' && s.find_first_not_of('0') != s.npos) throw Unreadable{};
    return decimal(s);
  }
};

}  // namespace

E read_arithmetic(View text) { return Arithmetic(text).all(); }

}  // namespace ov::math
