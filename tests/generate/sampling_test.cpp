#include "generate/sampling.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "base/json.h"
#include "generate/text_stream.h"
#include "store/safetensors.h"
#include "tests/check.h"

using namespace ov;
using namespace ov::test;

namespace {

const std::string golden = "tests/golden/sampling/";

double number(const Json& json, const char* key, double otherwise) {
  const Json* found = json.find(key);
  return found ? found->as_double() : otherwise;
}

Sampling setting(const Json& json) {
  for (const auto& [key, value] : json.members())  // one that is not read here would be passed over
    REQUIRE_MESSAGE(
        std::string(" temperature top_k top_p min_p repetition_penalty ").find(" " + key + " ") != std::string::npos,
        key);
  return {.temperature = number(json, "temperature", 1),
          .top_k = static_cast<std::int64_t>(number(json, "top_k", 0)),
          .top_p = number(json, "top_p", 1),
          .min_p = number(json, "min_p", 0),
          .repetition_penalty = number(json, "repetition_penalty", 1)};
}

std::vector<double> spread(std::initializer_list<double> z) { return z; }

std::int64_t drawn(const std::vector<double>& z, const Sampling& s, std::vector<std::int64_t> ids = {},
                   std::size_t prompt = 0) {
  return sample(z, s, ids, prompt).id;
}

}  // namespace

TEST_CASE("sampling: probabilities after Hugging Face's processors, every setting and row of the golden folder") {
  const Json settings = Json::read(golden + "summary.json").at("settings");
  const auto inputs = Safetensors::open(golden + "logits.safetensors");
  const auto logits = inputs.tensor("logits"), ids = inputs.tensor("ids"), lengths = inputs.tensor("lengths");
  REQUIRE(settings.size() > 0);
  for (const auto& [name, json] : settings.members()) {
    CAPTURE(name);
    const auto expected = Safetensors::open(golden + name + ".safetensors");
    const auto probs = expected.tensor("probs"), kept = expected.tensor("kept"), tie = expected.tensor("tie_at_cut");
    const Sampling s = setting(json);
    double worst = 0;
    for (std::int64_t row = 0; row < logits.dim(0); ++row) {
      CAPTURE(row);
      const std::int64_t n = lengths.data<std::int64_t>()[row];
      std::vector<double> scores = row_of_logits(logits, row);
      process_scores(scores, s, {ids.row<std::int64_t>(row), static_cast<std::size_t>(n)}, 0);
      CHECK(std::count_if(scores.begin(), scores.end(), [](double x) { return x > -INFINITY; }) ==
            kept.data<std::int64_t>()[row]);
      std::vector<double> p = probabilities(scores), q(probs.row<double>(row), probs.row<double>(row) + probs.dim(1));
      // Which of equal scores stays at a cut is the library's choice.
      if (tie.data<std::uint8_t>()[row]) std::sort(p.begin(), p.end()), std::sort(q.begin(), q.end());
      for (std::size_t v = 0; v < p.size(); ++v) worst = std::max(worst, std::abs(p[v] - q[v]));
    }
    CHECK(worst < 1e-12);
  }
}

TEST_CASE("sampling: presence, frequency and bias; ids of the prompt count for repetition alone") {
  std::vector<double> z = {1, -1, 2, 0};
  process_scores(
      z, {.repetition_penalty = 2, .presence_penalty = 0.5, .frequency_penalty = 0.25, .logit_bias = {{3, -0.5}}},
      std::vector<std::int64_t>{0, 1, 2, 2, 3}, 2);
  CHECK(z == spread({0.5, -2, 1 - 0.5 - 0.5, -1 - 0.5 - 0.25}));
}

TEST_CASE("sampling: the largest wins at temperature 0, of equals the lowest id; biases and penalties count") {
  CHECK(drawn({1, 3, 2, 3}, {}) == 1);
  CHECK(drawn({-1, -1, -2}, {}) == 0);
  CHECK(drawn({1, 3, 2, 3}, {.logit_bias = {{1, -1}}}) == 3);
  CHECK(drawn({1, 3, 2.5}, {.presence_penalty = 1}, {1}) == 2);
}

TEST_CASE("sampling: draws follow the probabilities and depend on seed, choice and position alone") {
  const std::vector<double> z = {std::log(0.5), std::log(0.25), std::log(0.25), -INFINITY};
  std::map<std::int64_t, int> times;
  const int n = 8000;
  for (int i = 0; i < n; ++i) ++times[drawn(z, {.temperature = 1, .seed = static_cast<std::uint64_t>(i)})];
  CHECK(times.size() == 3);
  CHECK(std::abs(times[0] - n / 2) < 200);
  CHECK(std::abs(times[1] - n / 4) < 200);
  int positions = 0, choices = 0;
  for (std::size_t t = 0; t < 64; ++t) {
    const std::vector<std::int64_t> ids(t, 0), longer(t + 9, 0);
    const Sampling s{.temperature = 1, .seed = 7};
    const std::int64_t id = drawn(z, s, ids);
    CHECK(id == drawn(z, s, longer, 9));  // the length of the prompt does not count
    positions += id != drawn(z, s, std::vector<std::int64_t>(t + 1, 0));
    choices += id != drawn(z, {.temperature = 1, .seed = 7, .choice = 1}, ids);
  }
  CHECK(positions > 16);
  CHECK(choices > 16);
}

TEST_CASE("sampling: log-probabilities are the model's own, the likeliest first, of equals the lowest id") {
  const std::vector<double> z = {1, 3, 2, 3};
  const Token t = sample(z, {.temperature = 0, .logit_bias = {{0, 100}}, .top_logprobs = 3}, {}, 0);
  CHECK(t.id == 0);
  const double sum = std::log(std::exp(1.) + 2 * std::exp(3.) + std::exp(2.));
  CHECK(t.logprob == doctest::Approx(1 - sum));
  REQUIRE(t.top.size() == 3);
  CHECK(t.top[0].first == 1);
  CHECK(t.top[1].first == 3);
  CHECK(t.top[2].first == 2);
  CHECK(t.top[2].second == doctest::Approx(2 - sum));
  CHECK(sample(z, {}, {}, 0).top.empty());
}

TEST_CASE("sampling: options out of range are refused by name") {
  const auto refused = [](const Sampling& s) { return thrown([&] { check_sampling(s, 10); }); };
  CHECK(refused({}) == "");
  CHECK(refused({.temperature = -1}).find("temperature: ") == 0);
  CHECK(refused({.temperature = NAN}).find("temperature: ") == 0);
  CHECK(refused({.temperature = INFINITY}).find("temperature: ") == 0);
  CHECK(refused({.top_k = -1}).find("top_k: ") == 0);
  CHECK(refused({.top_p = 1.5}).find("top_p: ") == 0);
  CHECK(refused({.min_p = -0.1}).find("min_p: ") == 0);
  CHECK(refused({.repetition_penalty = 0}).find("repetition_penalty: ") == 0);
  CHECK(refused({.frequency_penalty = NAN}).find("frequency_penalty: ") == 0);
  CHECK(refused({.logit_bias = {{10, 1}}}).find("logit_bias: id 10") == 0);
  CHECK(refused({.logit_bias = {{1, NAN}}}).find("logit_bias: ") == 0);
}

TEST_CASE("text stream: stop strings across tokens, whole characters, and the text of decode") {
  const Tokenizer tokenizer = Tokenizer::read("data/tokenizer");
  const auto ids_of = [&](std::string_view bytes) {  // one token a byte: the worst case
    std::vector<std::int64_t> ids;
    for (const char c : bytes) ids.push_back(*tokenizer.token_id(symbol_text(std::string_view(&c, 1))));
    return ids;
  };
  struct Written {
    std::string text;
    std::vector<std::string> pieces;
    bool stopped;
  };
  const auto write = [&](const std::vector<std::int64_t>& ids, std::vector<std::string> stop) {
    TextStream stream(tokenizer, std::move(stop));
    Written w;
    for (const std::int64_t id : ids) w.pieces.push_back(stream.add(id)), w.text += w.pieces.back();
    w.stopped = stream.stopped();
    w.text += stream.finish();
    return w;
  };
  // No stop: what decode gives, and no piece is broken UTF-8.
  for (const std::string& text :
       {std::string("plain"), std::string("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x90\x95!"),
        std::string("\xff\xe2\x82 \xf0\x9f\x90 \xed\xa0\x80 \xc0\xaf\xf4\x90\x80\x80 \x80"),
        std::string("cut \xf0\x9f"), std::string("\xe2\x28\xa1")}) {
    const auto ids = ids_of(text);
    const Written w = write(ids, {});
    CHECK(w.text == tokenizer.decode(ids));
    CHECK_FALSE(w.stopped);
  }
  const Written euro = write(ids_of("a\xe2\x82\xac"), {});
  CHECK(euro.pieces == std::vector<std::string>{"a", "", "", "\xe2\x82\xac"});
  // Every split of a stop string over tokens is one: here each letter is its own.
  const Written w = write(ids_of("one END two"), {"END", "E!"});
  CHECK(w.text == "one ");
  CHECK(w.stopped);
  const Written held = write(ids_of("an ENormous thing EN"), {"END"});
  CHECK(held.text == "an ENormous thing EN");
  CHECK(held.pieces[3] == "");
  CHECK(held.pieces[5] == "ENo");
  CHECK(write(ids_of("aab"), {"ab"}).text == "a");       // a begun match that fails may hide a later one
  CHECK(write(ids_of("xyz"), {"z", "yz"}).text == "x");  // the one that begins first
  CHECK(write(ids_of("caf\xc3\xa9 x"), {"\xc3\xa9"}).text == "caf");
  // Special tokens have no text, and do not part what stands on both sides.
  std::vector<std::int64_t> ids = ids_of("EN");
  ids.push_back(*tokenizer.token_id("<|im_end|>"));
  ids.push_back(ids_of("D")[0]);
  CHECK(write(ids, {"END"}).text == "");
}
