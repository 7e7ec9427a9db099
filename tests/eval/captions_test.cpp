// Caption metrics beside pycocoevalcap's values (tests/golden/captions).
#include "eval/scorers/captions.h"

#include "tests/check.h"

using namespace ov;
using namespace ov::public_tasks;

namespace {

// CIDEr adds up its grams in another order than a Python dictionary does.
bool near(double a, double b) { return std::abs(a - b) <= 1e-12 * std::max(1.0, std::abs(b)); }

}  // namespace

TEST_CASE("captions: BLEU, ROUGE-L and CIDEr are pycocoevalcap's") {
  const Json golden = Json::read("tests/golden/captions/cases.json");
  REQUIRE(golden.at("cases").size() > 0);
  for (const Json& c : golden.at("cases").items()) {
    std::vector<Text> captions;
    std::vector<std::vector<Text>> references;
    for (const Json& s : c.at("captions").items()) captions.push_back(python::text(s.as_string()));
    for (const Json& list : c.at("references").items()) {
      references.emplace_back();
      for (const Json& s : list.items()) references.back().push_back(python::text(s.as_string()));
    }
    const CaptionScores own = caption_scores(captions, references);
    for (std::size_t n = 0; n < 4; ++n) CHECK(near(own.bleu[n], c.at("bleu")[n].as_double()));
    CHECK(near(own.rouge, c.at("rouge").as_double()));
    CHECK(near(own.cider, c.at("cider").as_double()));
    for (std::size_t i = 0; i < captions.size(); ++i) {
      CHECK(near(own.rouges[i], c.at("rouges")[i].as_double()));
      CHECK(near(own.ciders[i], c.at("ciders")[i].as_double()));
    }
  }
}

TEST_CASE("captions: tokens are lower case, without punctuation, with endings apart") {
  const auto tokens = [](const char* s) { return python::utf8(caption_tokens(python::text(s))); };
  CHECK(tokens("A man's dog, isn't it?") == "a man 's dog is n't it");
  CHECK(tokens("Two red-brown cats (small) sit at 3.5 m. They'll stay...") ==
        "two red-brown cats small sit at 3.5 m they 'll stay");
  CHECK(tokens("\"Stop\" - a sign -- here!") == "stop a sign here");
  CHECK(tokens("") == "");
}
