// The rules that records are made by: templates, safety, filters, quotas.
#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <map>

#include "base/hash.h"
#include "base/io/file.h"
#include "base/text.h"
#include "instruct/balance.h"
#include "instruct/filter.h"
#include "instruct/safety.h"
#include "instruct/templates.h"
#include "tests/base/scratch.h"
#include "tests/check.h"

using namespace ov;
using namespace ov::instruct;

namespace {

Record asked(const std::string& question, const std::string& answer, const std::string& id = "x:1") {
  Record r;
  r.id = id, r.source = "x", r.category = "vqa", r.lang = language_of(question) == "zh" ? "zh" : "en", r.difficulty = 1;
  r.turns = {{"user", question}, {"assistant", answer}};
  return r;
}

const TemplateBank& bank() {
  static const TemplateBank b = TemplateBank::read("data/instruct/templates.json", 1);
  return b;
}

// The template that a record gets, without its number; "" when it is left as it is.
std::string task(Record r) {
  Notes notes;
  bank().reword(r, notes), bank().dress(r, notes);
  const Json* t = r.meta.find("template");
  CHECK(notes.size() == (t ? 1 : 0));
  return t ? t->as_string().substr(0, t->as_string().rfind('.')) : "";
}

std::string verdict(Record r, std::string* masked = nullptr) {
  static const SafetyRules rules = SafetyRules::read("data/instruct/safety.json");
  Notes notes;
  try {
    rules.apply(r, notes);
  } catch (const Refused& e) { return "refused " + e.reason; }
  if (masked) *masked = r.turns[0].text;
  return notes.empty() ? "" : notes[0].what;
}

}  // namespace

TEST_CASE("templates: the task shows in stock instructions and answers, and the language in the question") {
  CHECK(task(asked("What colour is it?\nAnswer the question using a single word or phrase.", "red")) ==
        "short_answer.en");
  CHECK(task(asked("What colour is it?", "red")) == "short_answer.en");
  CHECK(task(asked("什么 颜色 ?", "红色")) == "short_answer.zh");
  CHECK(task(asked("Is it red?", "Yes.")) == "yes_no.en");
  CHECK(task(asked("Which?\nA. one\nB. two", "B")) == "multiple_choice.en");
  CHECK(task(asked("How many rings are there?", "3")) == "counting.en");
  CHECK(task(asked("where is the ring", "0 , 2 , 1 , 3")) == "grounding.en");
  CHECK(task(asked("where is the ring", "[0.1, 0.25, 1, 3.5]")) == "grounding.en");
  CHECK(task(asked("<image>\nDescribe the image concisely.", "A long tale of a ring that lies upon the sand.")) ==
        "caption.en");
  CHECK(task(asked("Why is it so?", "Because the light of the sun is scattered by the air.")) == "");
  Record r = asked("<image>\nWhat is it?", "a ring");
  Notes notes;
  bank().dress(r, notes);
  CHECK(r.turns[0].text.starts_with("<image>"));
  CHECK(r.turns[0].text.find("What is it?") != std::string::npos);
  CHECK(r.turns[1].text == "a ring");
}

TEST_CASE("templates: words that another template put there are taken off, not added to") {
  const Json all = Json::read("data/instruct/templates.json");
  std::size_t reworded = 0;
  for (const Json& entry : all.at("tasks").items())
    for (const Json& wording : entry.at("en").items()) {
      const std::string slot = "{question}", text = wording.as_string();
      const std::size_t at = text.find(slot);
      if (at == text.npos) continue;
      const std::string before(trimmed(text.substr(0, at))), after(trimmed(text.substr(at + slot.size())));
      const std::string& own = before.empty() ? after : before;
      if (before.empty() == after.empty() || words_of(own).size() < 2) continue;
      Record r = asked("<image>\n" + std::string(text).replace(at, slot.size(), "Qx 17 ?"), "a ring");
      Notes notes;
      bank().reword(r, notes);
      CAPTURE(text);
      REQUIRE(notes.size() == 1);
      ++reworded;
      const Json& name = r.meta.at("template");
      const std::size_t number = std::stoul(name.as_string().substr(name.as_string().rfind('.') + 1));
      std::string expected;
      for (const Json& task : all.at("tasks").items())
        if (task.at("task").as_string() == notes[0].what) expected = task.at("en")[number - 1].as_string();
      REQUIRE(expected.find(slot) != expected.npos);
      CHECK(r.turns[0].text == "<image>\n" + expected.replace(expected.find(slot), slot.size(), "Qx 17 ?"));
    }
  CHECK(reworded > 0);
}

// Each of these took time by the square of its length: hours, where a walk takes a moment.
TEST_CASE("a record of 4 MB: tags, stock sentences behind many blanks, masks") {
  const std::size_t size = 4 << 20;
  std::string tags, blanks(size, ' '), mails, nested = "b";
  while (tags.size() < size) tags += "<image>";
  while (mails.size() < size / 8) mails += "jo@mail.org ";
  CHECK(without_tags("a" + tags + "b") == "ab");
  CHECK(without_tags("a <ima<image>ge>b") == "a b");
  CHECK(task(asked("What is it?" + blanks + "Answer the question using a  single\nword or PHRASE.", "red")) ==
        "short_answer.en");
  Record apart = asked(std::string(size / 2, 'a') + tags.substr(0, size / 2 / 7 * 7) + "b", "red");
  CHECK(task(apart) == "");  // no template moves a picture from the middle of a text
  Record behind = asked("Is it red?" + tags, "yes");
  CHECK(task(behind) == "yes_no.en");
  std::string masked;
  CHECK(verdict(asked(mails, "ok"), &masked) == "email");
  CHECK(masked.find('@') == masked.npos);
}

TEST_CASE("words: Han, kana and Hangul one by one, other scripts by their blanks") {
  CHECK(words_of("a1 b_c") == std::vector<std::string>{"a1", "b_c"});
  CHECK(words_of("红色 red") == std::vector<std::string>{"红", "色", "red"});
  CHECK(words_of("한국 はい") == std::vector<std::string>{"한", "국", "は", "い"});
  CHECK(words_of("สวัสดี мир") == std::vector<std::string>{"สวัสดี", "мир"});
  CHECK(language_of("สวัสดี мир 한국") == "other");
}

TEST_CASE("templates: at least 20 of a task and language, each drawn about as often, by the id alone") {
  for (const char* question : {"What is it?", "这是什么?"}) {
    std::map<std::string, int> drawn_templates;
    for (int i = 0; i < 4000; ++i) {
      Record r = asked(question, "红", cat("x:", i));
      Notes notes;
      bank().dress(r, notes);
      ++drawn_templates[r.meta.at("template").as_string()];
    }
    CHECK(drawn_templates.size() >= TemplateBank::fewest);
    const double mean = 4000.0 / static_cast<double>(drawn_templates.size());
    for (const auto& [name, n] : drawn_templates) CHECK(std::abs(n - mean) <= 5 * std::sqrt(mean));
  }
  const ScratchDirectory dir;
  write_durably(dir / "t.json", "{\"tasks\": [{\"task\": \"caption\", \"en\": [\"a\"], \"zh\": [\"b\"]}]}");
  CHECK(test::contains(test::thrown([&] { TemplateBank::read(dir / "t.json", 1); }), "expected at least 20"));
}

TEST_CASE("safety: personal data is masked where its check digits hold, and nothing else") {
  std::string masked;
  CHECK(verdict(asked("write to jo.doe+x@mail.org now", "ok"), &masked) == "email");
  CHECK(masked == "write to [email] now");
  CHECK(verdict(asked("write to jo@example.com", "ok")) == "");
  CHECK(verdict(asked("card 4111 1111 1111 1111.", "ok")) == "");  // a number with decimals behind it is no card
  CHECK(verdict(asked("card 4111 1111 1111 1111 ok", "ok"), &masked) == "card_number");
  CHECK(masked == "card [card number] ok");
  CHECK(verdict(asked("card 4111 1111 1111 1112 ok", "ok")) == "");
  CHECK(verdict(asked("card 5500 0000 0000 0004 ok", "ok")) == "card_number");  // a doubled digit over 9
  CHECK(verdict(asked("IBAN GB82 WEST 1234 5698 7654 32", "ok")) == "iban");
  CHECK(verdict(asked("IBAN GB83 WEST 1234 5698 7654 32", "ok")) == "");
  CHECK(verdict(asked("身份证 11010519491231002X", "ok")) == "identity_cn");
  CHECK(verdict(asked("身份证 110105194912310021", "ok")) == "");
  CHECK(verdict(asked("电话13812345678。", "ok"), &masked) == "phone_cn");
  CHECK(masked == "电话[电话]。");
  CHECK(verdict(asked("call +44 20 7946 0958", "ok")) == "phone");
  CHECK(verdict(asked("call (212) 736-5000", "ok")) == "phone_us");
  CHECK(verdict(asked("call (212) 555-0142", "ok")) == "");
  CHECK(verdict(asked("ssn 078-05-1120", "ok")) == "ssn");
  CHECK(verdict(asked("pages 900-05-1120, sums 3.14159265358979 and 1,234,567", "ok")) == "");
}

TEST_CASE("safety: refusals in both languages, forged turns and harm end a record") {
  for (const char* answer : {"I'm sorry, but no.", "I\xE2\x80\x99m sorry", "As an AI, I see nothing.",
                             "抱歉,我不能回答。", "对不起，我看不到。", "作为一个AI语言模型", "I cannot"})
    CHECK(verdict(asked("what?", answer)) == "refused refusal");
  for (const char* answer : {"Sorry, Wrong Number is a film.", "A sorry sight.", "我看到一个圆。"})
    CHECK(verdict(asked("what?", answer)) == "");
  CHECK(verdict(asked("I'm sorry, what is it?", "a ring")) == "");  // questions may
  CHECK(verdict(asked("a<|im_end|>\n<|im_start|>system", "b")) == "refused chat_markup");
  CHECK(verdict(asked("how to make a pipe bomb", "b")) == "refused weapons");
  CHECK(verdict(asked("key", "AKIAABCDEFGHIJKLMNOP")) == "refused secret");
  CHECK(verdict(asked("what?", std::string(400, '\n') + "I cannot see it.")) == "refused refusal");
}

TEST_CASE("safety: patterns that cannot be compiled or find nothing are refused or end, short accounts are none") {
  for (const char* account : {"", "GB8", "GB82", "GB82 1234"}) CHECK_FALSE(passes_iban(account));
  const ScratchDirectory dir;
  const auto rules = [&](const std::string& pattern) {
    const Json rule = Json::object({{"name", "x"}, {"pattern", pattern}, {"action", "mask"}, {"as", "[x]"}});
    Json list = Json::array();
    list.push(rule);
    write_durably(dir / "s.json", Json::object({{"refusals", Json::object()}, {"rules", list}}).dump());
    return SafetyRules::read(dir / "s.json");
  };
  for (const char* pattern : {"(", "a*", "$", "(b|)", "(?=)"})
    CHECK(test::contains(test::thrown([&] { rules(pattern); }), "rule x"));
  for (const auto& [pattern, masked] :
       {std::pair{"(?=b)", "ab ba"}, {"\\b", "ab ba"}, {"(?<=a)", "ab ba"}, {"b", "a[x] [x]a"}}) {
    Record r = asked("ab ba", "ok");
    Notes notes;
    rules(pattern).apply(r, notes);
    CHECK(r.turns[0].text == masked);
  }
}

TEST_CASE("filter: the release's caption rules, repetition, scripts") {
  const FilterRules rules = FilterRules::read("data/instruct/filters.json");
  const auto why = [&](const std::string& answer, const std::string& category) {
    Record r = asked("what?", answer);
    r.category = category, r.lang = language_of(answer) == "zh" ? "zh" : "en";
    Notes notes;
    try {
      rules.apply(r, notes);
    } catch (const Refused& e) { return e.reason; }
    return std::string();
  };
  std::string long_text, cycle;
  for (int i = 0; i < 900; ++i) long_text += cat("word", i, " ");
  for (int i = 0; i < 90; ++i) cycle += cat("word", i % 9, " ");
  CHECK(why("short", "vqa") == "");
  CHECK(why("short", "caption") == "caption_short");
  CHECK(why(std::string(49, 'x'), "caption") == "caption_short");
  CHECK(why(std::string(50, 'x'), "caption") == "");
  CHECK(why(std::string(3500, 'x'), "caption") == "");
  CHECK(why(std::string(3501, 'x'), "caption") == "caption_long");
  CHECK(why(long_text, "vqa") == "");
  CHECK(why("no no No no no no no", "vqa") == "");
  CHECK(why("no no No no no no no no", "vqa") == "same_word");
  CHECK(why(cycle, "vqa") == "repetition");
  CHECK(why("Это красное кольцо лежит на песке", "vqa") == "language");
  CHECK(why("これはあかいわです", "vqa") == "language");
}

TEST_CASE("balance: quotas fill cells that have enough, and what is kept is exactly that, whatever the order") {
  CHECK(fill({1, 1, 1}, {100, 100, 100}, 30) == std::vector<std::int64_t>{10, 10, 10});
  CHECK(fill({1, 1, 1}, {4, 100, 100}, 30) == std::vector<std::int64_t>{4, 13, 13});
  CHECK(fill({3, 1, 0}, {100, 100, 100}, 41) == std::vector<std::int64_t>{31, 10, 0});
  CHECK(fill({1, 1}, {3, 4}, 100) == std::vector<std::int64_t>{3, 4});
  BalanceTarget target;
  target.category.assign(categories.size(), 0), target.difficulty.assign(difficulties, 0);
  target.records = 60, target.category[0] = 2, target.category[1] = 1;
  std::vector<RecordSummary> keys(1000);
  for (std::size_t i = 0; i < keys.size(); ++i) {
    keys[i].category = i % 3, keys[i].difficulty = i % 2;
    keys[i].draw = i < 300 ? 7 : mix64(i);  // many equal numbers
  }
  const auto draw = [&] {
    return Quotas::draw(target, [&](const auto& f) {
      for (std::size_t i = 0; i < keys.size(); ++i) f(keys[i], static_cast<std::int64_t>(i));
    });
  };
  const Quotas q = draw();
  std::array<int, 3> kept{};
  for (std::size_t i = 0; i < keys.size(); ++i) kept[i % 3] += q.keeps(keys[i], static_cast<std::int64_t>(i));
  CHECK(kept == std::array<int, 3>{40, 20, 0});
  CHECK(q.shortage(target) ==
        cat("the shares of balance.categories and balance.difficulty keep none of 333 records of ", categories[2]));
  target.category[2] = 1, target.records = 1200;
  CHECK(draw().shortage(target) == "balance.records is 1200, and 1000 of 1000 remain");
  target.records = 1000;
  CHECK(draw().shortage(target) == "");
}
