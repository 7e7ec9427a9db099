// Exact numbers of schoolbook answers: sums of terms  q √r x^a y^b ...  with a rational q, a square-free whole r and
// letters with whole powers. π is a letter, so 2π and 6.28 differ; √8 is 2√2, and 1/√2 is √2/2.
//
// Whatever leaves this set (a root of a sum, a division by three terms, a whole number beyond 127 bits) throws
// Exact::Unknown: it is not decided here, and nobody guesses.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace ov::math {

struct Rational {
  __int128 over = 0, under = 1;  // lowest terms, under > 0
  friend bool operator==(const Rational&, const Rational&) = default;
};

class Exact {
 public:
  struct Unknown {};

  Exact() = default;  // 0
  Exact(std::int64_t whole);
  static Exact ratio(__int128 over, __int128 under);  // Unknown when under is 0
  static Exact letter(const std::string& name);
  static Exact decimal(const std::string& digits);  // "12.50"; Unknown when it does not fit

  friend Exact operator+(const Exact& a, const Exact& b);
  friend Exact operator-(const Exact& a, const Exact& b);
  friend Exact operator*(const Exact& a, const Exact& b);
  friend Exact operator/(const Exact& a, const Exact& b);
  friend bool operator==(const Exact&, const Exact&) = default;
  Exact power(const Exact& exponent) const;  // whole exponents, and halves of rational numbers
  Exact root() const;                        // of a rational number >= 0 that is no letter

  std::optional<Rational> rational() const;  // without roots and letters
  std::optional<double> value() const;       // π as its number; no value with another letter

 private:
  struct Key {
    std::int64_t under_root = 1;
    std::map<std::string, int> powers;
    friend auto operator<=>(const Key&, const Key&) = default;
  };
  void add(const Key& key, const Rational& q);
  Exact inverse() const;
  std::map<Key, Rational> terms_;
};

}  // namespace ov::math
