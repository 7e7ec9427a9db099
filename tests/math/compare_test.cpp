// Answers of school mathematics as a scorer compares them: what is equal, what is not, and what nobody here reads.
#include "math/python_value.h"
#include "math/read.h"
#include "tests/check.h"

using namespace ov;
using namespace ov::math;

TEST_CASE("math: the same number in other words") {
  const std::pair<View, View> same[] = {{U"$\\sqrt{\\frac{1}{2}}$", U"$\\frac{\\sqrt{2}}{2}$"},
                                        {U"1/2", U"$\\frac{1}{2}$"},
                                        {U"0.5", U"the share is 50%"},
                                        {U"$\\sqrt{8}$", U"$2\\sqrt{2}$"},
                                        {U"1,200", U"1200"},
                                        {U"$2^{10}$", U"1024"},
                                        {U"$x = 5$", U"5"},
                                        {U"5", U"so $x = 5$, done"},
                                        {U"$\\frac{2}{1+\\sqrt{3}}$", U"$\\sqrt{3}-1$"},
                                        {U"$(1, 2]$", U"$(1,2]$"},
                                        {U"$\\{1,2\\}$", U"$\\{2, 1\\}$"},
                                        {U"$x^2+1$", U"$1+x^2$"},
                                        {U"0.333333", U"1/3"},
                                        {U"\\boxed{7}", U"it is 7"}};
  for (const auto& pair : same) {
    INFO(utf8(pair.first), " ", utf8(pair.second));
    CHECK(compare(pair.first, pair.second) == Verdict::equal);
  }
}

TEST_CASE("math: a chain of operators without end is unreadable, soon and without a deep recursion") {
  const auto chain = [](View link, int n) {
    Text out;
    for (int i = 0; i < n; ++i) out += link;
    return out;
  };
  for (const View link : {U"1+", U"1*", U"1/", U"a", U"\\pi ", U"2^", U"\\{1\\}\\cup "}) {
    INFO(utf8(link));
    CHECK(compare(U"1", U"$" + chain(link, 100000) + U"1$") == Verdict::unknown);
  }
  // Not in $: a smaller part of it is read.
  for (const View link : {U"1+", U"1*", U"2**"}) CHECK(compare(U"7", chain(link, 100000) + U"2") != Verdict::equal);
  CHECK(compare(U"1", U"$5" + chain(U"!", 100000) + U"$") != Verdict::equal);
  CHECK(compare(U"1001", U"$" + chain(U"1+", 1000) + U"1$") == Verdict::equal);
}

TEST_CASE("math: other numbers, other brackets, other letters") {
  const std::pair<View, View> different[] = {{U"1/2", U"1/3"},          {U"$\\sqrt{2}$", U"$\\sqrt{3}$"},
                                             {U"$2\\pi$", U"6"},        {U"$(1,2]$", U"$[1,2]$"},
                                             {U"$x$", U"$y$"},          {U"0.3333", U"1/3"},
                                             {U"$x^2$", U"$x^3$"},      {U"5", U"XDY5K"},
                                             {U"12", U"no number here"}};
  for (const auto& pair : different) {
    INFO(utf8(pair.first), " ", utf8(pair.second));
    CHECK(compare(pair.first, pair.second) == Verdict::different);
  }
}

TEST_CASE("math: what is not read is unknown, and a lone letter is none of it") {
  for (const View s : {View(U"$\\frac{1}{$"), View(U"$((2)$"), View(U"$\\sqrt{$")}) {
    INFO(utf8(s));
    CHECK(compare(U"1", s) == Verdict::unknown);
  }
  CHECK(compare(U"A", U"A square") == Verdict::different);  // with letters both begin with A
  CHECK(equal(read(U"A"), read(U"A square")));
  CHECK(compare(U"1", Text(100000, U'(')) != Verdict::equal);
}

TEST_CASE("math: a number as Python evaluates it, whole or not, and what has a name is none") {
  CHECK(python_value(View(U"2^{10}")).n == 1024);
  CHECK(python_value(View(U"\\frac{6}{3}")).whole);
  const PythonNumber third = python_value(View(U"\\frac{1}{3}"));
  CHECK_FALSE(third.whole);
  CHECK(third.x == 1.0 / 3);
  for (const View s :
       {View(U"\\pi"), View(U"\\sqrt{2}"), View(U"x"), View(U"1/0"), View(U"2^{1000}"), View(U"(1,2)")}) {
    INFO(utf8(s));
    bool refused = false;
    try {
      python_value(s);
    } catch (const Unreadable&) { refused = true; }
    CHECK(refused);
  }
}
