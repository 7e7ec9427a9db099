// Answers of school mathematics: what is equal, what is not, and what is not decided.
#include "math/equal.h"

#include "tests/check.h"

using namespace ov;
using namespace ov::math;

TEST_CASE("math: the same number in other words") {
  const std::pair<const char*, const char*> same[] = {{"\\sqrt{\\frac{1}{2}}", "\\frac{\\sqrt{2}}{2}"},
                                                      {"1/2", "\\frac{1}{2}"},
                                                      {"0.5", "50\\%"},
                                                      {"\\sqrt{8}", "2\\sqrt{2}"},
                                                      {"\\frac{1}{\\sqrt{2}}", "\\frac{\\sqrt2}{2}"},
                                                      {"1,200", "1200"},
                                                      {"2^{10}", "1024"},
                                                      {"x = 5", "5"},
                                                      {"5", "x=5"},
                                                      {"1+\\sqrt{3}", "\\sqrt3 + 1"},
                                                      {"\\frac{2}{1+\\sqrt{3}}", "\\sqrt{3}-1"},
                                                      {"(1, 2]", "(1,2]"},
                                                      {"\\{1,2\\}", "\\{2, 1\\}"},
                                                      {"2\\pi", "\\pi*2"},
                                                      {"x^2+1", "1+x^2"},
                                                      {"0.333333", "1/3"},
                                                      {"1\\frac{1}{2}", "3/2"},
                                                      {"-3", "\u22123"},
                                                      {"12^\\circ", "12"},
                                                      {"$12$", "12"},
                                                      {"\\boxed{7}", "7"},
                                                      {"9\\%", "9"}};
  for (const auto& pair : same) {
    INFO(pair.first, " ", pair.second);
    CHECK(compare(pair.first, pair.second, Level::whole) == Verdict::equal);
  }
}

TEST_CASE("math: other numbers, other brackets, other letters") {
  const std::pair<const char*, const char*> different[] = {
      {"1/2", "1/3"},     {"\\sqrt{2}", "\\sqrt{3}"}, {"2\\pi", "6"}, {"(1,2)", "[1,2]"},
      {"(1,2)", "(2,1)"}, {"(1,2]", "[1,2]"},         {"x", "y"},     {"\\{1,1\\}", "\\{1,2\\}"},
      {"3", "1 and 2"},   {"0.3333", "1/3"},          {"x^2", "x^3"}};
  for (const auto& pair : different) {
    INFO(pair.first, " ", pair.second);
    CHECK(compare(pair.first, pair.second, Level::whole) == Verdict::different);
  }
}

TEST_CASE("math: what leaves the exact numbers is unknown, never a guess") {
  for (const char* s : {"\\sqrt{1+\\sqrt{2}}", "1/0", "99999999999999999999999999999999999999999", "\\sin{x}", "1 +",
                        "((1)", "2^{1000}"}) {
    INFO(s);
    CHECK_FALSE(parse_expression(s));
    CHECK(compare("1", s, Level::whole) == Verdict::unknown);
  }
  CHECK_FALSE(parse_expression(std::string(100000, '(')));
  CHECK_FALSE(parse_expression(std::string(100000, '-')));
}

TEST_CASE("math: the last answer of a prose") {
  CHECK(expression_text("so $x = 5$, done", Level::last) == "x = 5");
  CHECK(expression_text("12 cm", Level::last) == "12");
  CHECK(expression_text("about 50% of 1,200 people", Level::last) == "1,200");
  CHECK(expression_text("it is \\frac{1}{2}.", Level::last) == "\\frac{1}{2}");
  CHECK(expression_text("no number", Level::last) == "");
  CHECK(math_equal("0.5", "the share is 50%"));
  CHECK_FALSE(math_equal("5", "XDY5K"));
}
