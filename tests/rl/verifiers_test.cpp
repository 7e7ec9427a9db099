// tests/golden/rl/verifiers.json: every verifier of LLaVA-OneVision-1.5-RL on hundreds of answers, by its own code.
// The tests walk over the types and cases that the file lists.
#include "rl/reward.h"

#include <cmath>
#include <fstream>

#include "base/io/file.h"
#include "store/jsonl.h"
#include "tests/base/scratch.h"
#include "tests/check.h"
#include "text/pattern.h"

using namespace ov;
using namespace ov::rl;

namespace {

const Json& cases() {
  static const Json golden = Json::read("tests/golden/rl/verifiers.json");
  return golden.at("cases");
}

Reward rewarded(const Json& c, const std::string& type) {
  const Json* problem = c.find("problem_type");
  return reward(c.at("completion").as_string(), c.at("answer"), type,
                problem && problem->is_string() ? problem->as_string() : "");
}

// The reward to expect; 0 where the original throws, and then ours must say so.
void check_case(const Json& c, const std::string& type) {
  const Reward r = rewarded(c, type);
  const bool raises = c.find("raises") && !c.at("raises").is_null();
  INFO(type, " ", c.shown(400), " got ", r.reward, " ", r.raised, " extracted ", r.extracted);
  CHECK(r.raised.empty() == !raises);
  CHECK(r.reward == (raises ? 0.0 : c.at("reward").as_double()));
}

}  // namespace

TEST_CASE("rl, G1: verifiers equal the original in every case") {
  std::size_t seen = 0;
  for (const auto& [type, list] : cases().members()) {
    if (list.size() == 0 || !list[0].find("answer") || list[0].find("answer_type")) continue;
    if (type == "svg-code" || type == "math-expressions" || type == "general-code") continue;  // have their own tests
    for (const Json& c : list.items()) {
      check_case(c, type);
      const Reward r = rewarded(c, type);
      for (const char* part : {"tokens", "tags"})
        if (const Json* p = c.find(part)) CHECK(r.parts.at(part).as_double() == p->as_double());
      if (const Json* e = c.find("extracted")) CHECK(r.extracted == e->as_string());
      ++seen;
    }
  }
  CHECK(seen > 0);
}

TEST_CASE("rl: SVG is exact in tokens and tags; its picture term is left out by name") {
  for (const Json& c : cases().at("svg-code").items()) {
    const Reward r = rewarded(c, "svg-code");
    INFO(c.shown(300));
    if (!c.at("extracted").is_null()) CHECK(r.extracted == c.at("extracted").as_string());
    const double tokens = r.parts.at("tokens").as_double(), tags = r.parts.at("tags").as_double();
    CHECK(tokens == c.at("tokens").as_double());
    CHECK(tags == c.at("tags").as_double());
    CHECK(r.parts.at("svg-text-only").as_bool());
    const double want = c.at("reward").as_double();
    if (c.at("ssim").is_null()) CHECK(r.reward == want);  // the original drew nothing either
    else CHECK((r.reward == 1 ? want == 1 : r.reward == 0.25 * (tokens + tags)));
  }
}

TEST_CASE("rl: mathematics agrees with the original in 97 cases of 100 and more, and says which level accepted") {
  std::int64_t agree = 0, total = 0;
  std::string rest;
  for (const Json& c : cases().at("math-expressions").items()) {
    const Reward r = rewarded(c, "math-expressions");
    INFO(c.shown(300));
    CHECK(r.raised.empty());
    CHECK((r.parts.at("level").as_string() != "none") == (r.reward == 1));
    CHECK(r.extracted == c.at("extracted").as_string());
    ++total;
    if (r.reward == c.at("reward").as_double()) ++agree;
    else rest += cat("\n  ", c.shown(300), " got ", r.reward, " by ", r.parts.at("level").as_string());
  }
  if (agree < total) MESSAGE(agree, " of ", total, " agree; the rest:", rest);
  CHECK(100 * agree >= 97 * total);
  CHECK(total > 0);
}

TEST_CASE("rl: every level of mathematics accepts what is its own, and keeps the original's traps") {
  const auto level = [](const char* s, const char* gold) {
    return reward(cat("<answer>", s, "</answer>"), gold, "math-expressions").parts.at("level").as_string();
  };
  CHECK(level("No Solution", "no solution") == "text");
  CHECK(level("1,234.50", "1234.5") == "number");
  CHECK(level("2.6666667", "8/3") == "number");
  CHECK(level("2.6667", "8/3") == "rounded");
  CHECK(level("$(x+8)^2$", "$x^2+16x+64$") == "symbolic");
  CHECK(level("$\\frac{x^2-1}{x-1}$", "$x+1$") == "symbolic");
  CHECK(level("$8 < x$", "$(8,\\infty)$") == "symbolic");
  CHECK(level("$2x+4y=8$", "$x+2y=4$") == "symbolic");
  CHECK(level("$2x+4y<8$", "$x+2y>4$") == "none");
  CHECK(level("$[1,2)\\cup(3,4]$", "$(3,4] \\cup [1,2)$") == "symbolic");
  CHECK(level("$\\{1,2\\}$", "$2$ and $1$") == "symbolic");
  CHECK(level("(2*3, 5)", "(6,5)") == "rounded");
  CHECK(level("$\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}$", "$\\begin{bmatrix}1&2\\\\3&5\\end{bmatrix}$") == "none");
  CHECK(level("10000000000000000000000000+1", "10000000000000000000000000") == "none");
  // A set has no sign, no degrees, and only a name may be equal to one. The blank keeps the texts apart.
  CHECK(level("$+(1,2)$", "$\\, (1,2)$") == "none");
  CHECK(level("$+x$", "$\\, x$") == "symbolic");
  CHECK(level("$(16,\\infty) ^\\circ$", "$(16,\\infty)$") == "none");
  CHECK(level("$12! ^\\circ$", "$12!$") == "number");
  for (const char* named : {"x", "x_1", "x^2", "\\pi", "(x,y)"})
    CHECK(level(cat("$", named, " = (1,2)$").c_str(), cat("$\\, ", named, " = (1,2)$").c_str()) == "symbolic");
  for (const char* other : {"x+1", "-x", "+x", "xy", "|x|", "x!", "(x+1)^2", "f(x)", "(1,2)"})
    CHECK(level(cat("$", other, " = (1,2)$").c_str(), cat("$\\, ", other, " = (1,2)$").c_str()) == "none");
  CHECK(level("$(1,2) = x$", "$\\, (1,2) = x$") == "none");
  CHECK(level("$x \\le (1,2)$", "$\\, x \\le (1,2)$") == "none");
  // A matrix has a sign, factors and degrees.
  const auto matrix = [](const char* entries) { return cat("\\begin{pmatrix}", entries, "\\end{pmatrix}"); };
  CHECK(level(cat("$-", matrix("1&2"), "$").c_str(), cat("$", matrix("-1&-2"), "$").c_str()) == "symbolic");
  CHECK(level(cat("$2x", matrix("1&2"), "$").c_str(), cat("$", matrix("2x&4x"), "$").c_str()) == "symbolic");
  CHECK(level(cat("$2", matrix("1&2"), "$").c_str(), cat("$", matrix("2&5"), "$").c_str()) == "none");
  CHECK(level(cat("$", matrix("1&2"), " ^\\circ$").c_str(), cat("$", matrix("1&2"), "$").c_str()) == "symbolic");
  CHECK(level("x = 8", "x = 3") == "symbolic");  // a lone letter in front
  CHECK(level("$x = 8$", "$x = 3$") == "none");
  const auto strict = [](const char* s, const char* gold) {
    return reward(cat("<answer>", s, "</answer>"), gold, "math-expressions-strict").reward;
  };
  CHECK(strict("x = 8", "x = 3") == 0);
  CHECK(strict("a square", "a circle") == 0);
  CHECK(strict("2x", "2y") == 0);
  CHECK(strict("$\\sqrt{7}$", "\\sqrt{7}") == 1);
  CHECK(strict("1/2", "$0.5$") == 1);
  CHECK(strict(std::string(3000, '(').c_str(), "8") == 0);  // depth is bounded
}

TEST_CASE("rl: the dispatcher adds half a point for a box in the thinking of spatial questions") {
  std::size_t seen = 0;
  for (const auto& [name, list] : cases().members())
    for (const Json& c : list.items())
      if (const Json* type = c.find("answer_type")) {
        check_case(c, type->as_string());
        if (const Json* box = c.find("bbox_reward"))
          CHECK(rewarded(c, type->as_string()).box_in_think == box->as_double());
        ++seen;
      }
  CHECK(seen > 0);
  for (const Json& c : cases().at("think has a box").items())
    CHECK(think_has_a_box(python::text(c.at("completion").as_string())) == c.at("reward").as_double());
}

TEST_CASE("rl: answer blocks and the unused format reward are the original's") {
  for (const Json& c : cases().at("extraction").items()) {
    const auto found = answer_blocks(python::text(c.at("text").as_string()));
    REQUIRE(found.size() == c.at("found").size());
    for (std::size_t i = 0; i < found.size(); ++i) CHECK(python::utf8(found[i]) == c.at("found")[i].as_string());
  }
  for (const Json& c : cases().at("format (used nowhere)").items())
    CHECK(format_reward(python::text(c.at("completion").as_string())) == c.at("reward").as_double());
}

TEST_CASE("rl: code of a model is not run: what needs it is refused by name, the rest is scored") {
  for (const Json& c : cases().at("general-code").items()) {
    const Reward r = rewarded(c, "general-code");
    INFO(c.shown(300), " ", r.raised);
    if (r.raised.empty()) CHECK(r.reward == c.at("reward").as_double());
    else CHECK((r.reward == 0 && test::contains(r.raised, "not run")));
  }
}

TEST_CASE("rl: strict verifiers close the holes of the original") {
  const auto both = [](const char* s, const char* gold, const std::string& type) {
    const std::string c = cat("<answer>", s, "</answer>");
    return std::pair(reward(c, gold, type).reward, reward(c, gold, type + "-strict").reward);
  };
  using P = std::pair<double, double>;
  CHECK(both("Answer: B", "A", "multiple-choice") == P{1, 0});
  CHECK(both("Answer: B", "B", "multiple-choice") == P{0, 1});
  CHECK(both("(B) a cat", "B", "multiple-choice") == P{1, 1});
  CHECK(both("Both", "B", "multiple-choice") == P{1, 0});
  CHECK(both("-7", "7", "number") == P{1, 0});
  CHECK(both("7.0", "7", "number") == P{0, 1});
  CHECK(both("−7", "-7", "number") == P{0, 1});  // a minus sign, not a hyphen
  CHECK(both("1,007", "1007", "number") == P{0, 1});
  CHECK(both("7 of 10", "7", "number") == P{0, 0});
  CHECK(both("unknown", "no", "boolean") == P{1, 0});
  CHECK(both("yes or no", "yes", "boolean") == P{1, 0});
  CHECK(both("No.", "no", "boolean") == P{1, 1});
  CHECK(both("[0.5,0,0,0.5]", "[0,0,.5,.5]", "bbox") == P{0, 0});
  CHECK(reward("<answer>[0.5,0,0,0.5]</answer>", "[0,0,.5,.5]", "bbox-strict").raised.empty());
  CHECK(both("hi p", "<p>hi</p>", "html-code") == P{0.24, 0});
}

TEST_CASE("rl: a bare box earns its overlap, and nothing when it is more or less than four numbers") {
  const auto earned = [](const std::string& said, const char* gold = "0 , 2 , 2 , 4") {
    return reward(cat("<answer>", said, "</answer>"), gold, "bbox-bare").reward;
  };
  CHECK(earned("0 , 2 , 2 , 4") == 1);
  CHECK(earned("0,2,2,4") == 1);
  CHECK(earned("0 , 2 , 2 , 3") == 0.5);
  CHECK(earned("1 , 3 , 3 , 5") == 1.0 / 7);
  CHECK(earned("4 , 4 , 5 , 5") == 0);
  for (const char* bad :
       {"[0 , 2 , 2 , 4]", "0 , 2 , 2", "0 , 2 , 2 , 4 , 5", "0 , 2 , 2 , 4 cells", "2 , 4 , 0 , 2", ""})
    CHECK(earned(bad) == 0);
  CHECK(earned("0 , 2 , 2 , 4", "none") == 0);
}

TEST_CASE("rl: a verifier that throws gives 0 and says why, whatever it throws") {
  const auto raised = [](Verifier verifier) {
    const Reward r = reward_by(verifier, "<answer>7</answer>", "7", "spatial-reasoning");
    CHECK(r.reward == 0);
    CHECK(r.extracted == "7");
    return r.raised;
  };
  CHECK(raised([](const Text&, const Gold&) -> Verdict { throw Raised("why"); }) == "why");
  CHECK(raised([](const Text&, const Gold&) -> Verdict { throw PatternTookTooLong("long"); }) == "long");
  CHECK(raised([](const Text&, const Gold&) -> Verdict { throw std::out_of_range("place"); }) == "place");
  CHECK(!raised([](const Text&, const Gold&) -> Verdict { throw std::bad_alloc(); }).empty());
  CHECK(test::contains(raised([](const Text&, const Gold&) -> Verdict { input_error("file"); }), "file"));
}

TEST_CASE("rl: an answer of megabytes earns nothing and holds nobody up; the same text is the same at any length") {
  const std::string a(200000, 'a'), b(200000, 'b');
  const auto earned = [](const std::string& said, const std::string& gold) {
    return reward(cat("<answer>", said, "</answer>"), gold, "ocrtext");
  };
  CHECK(test::contains(earned(a, b).raised, "too long to compare"));
  CHECK(earned(a, b).reward == 0);
  CHECK(earned(a, a).reward == 1);
  CHECK(earned("ab", "aa").raised.empty());
}

TEST_CASE("rl: text follows Python in case, blanks and digits") {
  CHECK(python::utf8(lower(python::text("ΟΔΟΣ ΣΑΣ İ"))) == "οδος σας i̇");
  CHECK(python::utf8(upper(python::text("straße ﬁ"))) == "STRASSE FI");
  CHECK(python::utf8(collapse(python::text("\u2003a \u00a0 b\x1c"))) == "a b");
  CHECK(ascii(python::text("٣.٥")) == "3.5");
  CHECK(python::utf8(trim(python::text("..(a)."), U".()")) == "a");
}

TEST_CASE("rl: patterns mean what Python's mean") {
  const auto found = [](const char* pattern, const char* text) {
    std::string out;
    const Text t = python::text(text);
    for (const Match& m : Pattern(pattern).all(t)) out += python::utf8(*m.groups[0]) + "|";
    return out;
  };
  CHECK(found("a+?b|c", "aabcab") == "aab|c|ab|");
  CHECK(found("(?<!\\d)-?\\d{1,3}(?:,\\d{3})*", "1,234 -5 12345") == "1,234|-5|123|");
  CHECK(found("(?i:Ab)c", "abc aBC ABc") == "abc|ABc|");
  CHECK(found("[^a-c\\s]+(?=;)", "xyz; abc; q;") == "xyz|q|");
  CHECK(found("x{0,2}?y", "xxxy") == "xxy|");
  CHECK(found("a$", "ba\n") == "a|");
  CHECK(found("\\bi\\b", "i si i2 i") == "i|i|");
  CHECK(found("x{2}{", "xx{") == "xx{|");
  CHECK(python::utf8(Pattern("(\\d)(\\w)").replace(U"1a 2b", "\\2\\1")) == "a1 b2");
  const Text deep(2000, U'a');
  CHECK(Pattern("(?:a|b)*?c", true).search(deep).has_value() == false);
  CHECK_THROWS_AS(Pattern("(?:a|a)*b").search(Text(60, U'a')), PatternTookTooLong);
}
