// Records in the other language: by phrases that say the same in both, by an endpoint, or not at all.
#include "instruct/phrases.h"

#include <set>

#include "base/io/file.h"
#include "base/text.h"
#include "data/synth/catalog.h"
#include "data/synth/world.h"
#include "instruct/curate.h"
#include "instruct/preserve.h"
#include "store/jsonl.h"
#include "tests/base/scratch.h"
#include "tests/check.h"
#include "tests/instruct/table_server.h"

using namespace ov;
using namespace ov::test;
using instruct::against_answer, instruct::against_question, instruct::PhraseBank;

namespace {

const PhraseBank& bank() {
  static const PhraseBank b = PhraseBank::read("data/instruct/phrases.json");
  return b;
}

// Question and answer in the other language; "" where the bank does not hold them.
std::string said(const std::string& question, const std::string& answer, const std::string& to = "zh") {
  const auto texts = bank().translated({question, answer}, to, false);
  return texts ? (*texts)[0] + " | " + (*texts)[1] : "";
}

std::string bad_bank(const std::string& json) {
  const ScratchDirectory dir;
  write_durably(dir / "p.json", json);
  return thrown([&] { PhraseBank::read(dir / "p.json"); });
}

struct Mixed {
  ScratchDirectory dir;
  instruct::CurateOptions o;
  Mixed() {
    std::string lines;
    const auto add = [&](const std::vector<std::string>& texts) {
      Json messages = Json::array();
      for (std::size_t i = 0; i < texts.size(); ++i)
        messages.push(Json::object({{"role", i % 2 ? "assistant" : "user"}, {"content", texts[i]}}));
      lines += Json::object({{"messages", messages}}).dump() + "\n";
    };
    for (int i = 0; i < 400; ++i) {
      add({cat("what is the value of V", i, " ?"), cat(i), "what color is the ring ?", i % 2 ? "red" : "blue"});
      add({cat("Who painted the picture number ", i, "?"), cat("A man from house ", i)});
      add({cat("V", i, " 的 值 是 多少 ?"), cat(i), "圆环 是 什么 颜色 ?", "红色"});
    }
    write_durably(dir / "a.jsonl", lines);
    write_durably(dir / "m.json", R"({"sources": [{"name": "a", "path": "a.jsonl", "licence": "cc0-1.0"}]})");
    o.manifest = dir / "m.json", o.out = dir / "out";
  }
  std::vector<Json> run() {
    instruct::curate(o);
    std::vector<Json> records;
    JsonlReader reader(o.out + "/records.jsonl");
    for (Json line; reader.next(&line);) records.push_back(line);
    REQUIRE(records.size() == 1200);
    return records;
  }
};

}  // namespace

TEST_CASE("phrases: the toy world's own pairs are in the bank, word for word, and go there and back") {
  const synth::World world = synth::read_world("data/toy_world");
  const synth::Catalog catalog = synth::Catalog::read("data/toy_world");
  std::size_t pairs = 0;
  for (const synth::Template& t : catalog.templates()) {
    if (t.chinese[0].empty() || t.id == "caption") continue;
    std::array<std::string, 2> text = {t.english[0], t.chinese[0]};
    for (std::size_t l = 0; l < 2; ++l)
      for (const auto& [slot, en] : {std::pair<std::string, std::string>{"color", "red"},
                                     {"shape", "ring"},
                                     {"row", "2"},
                                     {"column", "B"},
                                     {"variable", "V"}})
        if (const auto at = text[l].find("{" + slot + "}"); at != std::string::npos)
          text[l].replace(at, slot.size() + 2, l ? world.in_chinese(en) : en);
    CAPTURE(text[0]);
    CHECK(said(text[0], "3") == text[1] + " | 3");
    CHECK(said(text[1], "3", "en") == text[0] + " | 3");
    ++pairs;
  }
  CHECK(pairs > 10);
  for (const auto& [en, zh] : world.zh)
    if (std::find(world.colors.begin(), world.colors.end(), en) != world.colors.end())
      CHECK(said("what color is the ring ?", en) == "圆环 是 什么 颜色 ? | " + zh);
}

TEST_CASE("phrases: an answer is translated where its question says what it may be, and nothing is guessed") {
  CHECK(said("What color is the diamond?", "Orange") == "菱形 是 什么 颜色 ? | 橙色");
  CHECK(said("is there any red ring ?", "Yes.") == "图 中 有 红色 的 圆环 吗 ? | 是");
  CHECK(said("图 中 有 红色 的 圆环 吗 ?", "没有", "en") == "is there any red ring ? | no");
  CHECK(said("what is at the top left ?", "red ring") == "左上 是 什么 ? | 红色 圆环");
  CHECK(said("describe the image in detail", "top left small red ring , bottom right large blue cross") ==
        "详细 描述 图片 | 左上 小 红色 圆环 , 右下 大 蓝色 十字");
  CHECK(said("what does this traffic sign mean ?", "speed limit 5 0") == "这个 交通 标志 是 什么 意思 ? | 限速 5 0");
  CHECK(said("which card is this ?", "7 of hearts") == "这 是 哪 张 牌 ? | 红心 7");
  CHECK(said("locate the red ring", "[0 , 2 , 1 , 3]") == "定位 红色 圆环 | [0 , 2 , 1 , 3]");
  CHECK(said("what does the text say ?", "no entry") == "图片 中 的 文字 是 什么 ? | no entry");  // it is read
  CHECK(said("What is this?", "orange") == "");                                                   // a colour or a fruit
  CHECK(said("what color is the ring ?", "stop") == "");
  CHECK(said("what color is the ringleader ?", "red") == "");
  CHECK(said("what color is the ring", "red") == "");
  CHECK(said("圆环 是 什么 颜色 ?", "red") == "圆环 是 什么 颜色 ? | red");  // in that language already
  CHECK_FALSE(bank().translated({"what is this?", "B", "why ?", "B"}, "zh", false));
}

TEST_CASE("phrases: a bank that could say two things is refused where it stands") {
  CHECK(contains(bad_bank(R"({"words": {"a": {"red": "红"}, "b": {"Red": "赤"}}, "phrases": []})"), "\"赤\"") == false);
  CHECK(contains(bad_bank(R"({"words": {"a": {"red": "红"}, "b": {"Red": "赤"}}, "phrases": []})"), "is 红 elsewhere"));
  CHECK(contains(bad_bank(R"({"words": {"a": {"red": "红", "crimson": "红"}}, "phrases": []})"), "is red elsewhere"));
  CHECK(contains(bad_bank(R"({"words": {}, "phrases": [{"en": "{x} ?", "zh": "{x} ?"}]})"), "there are no words x"));
  CHECK(contains(bad_bank(R"({"words": {"x": {"a": "甲"}}, "phrases": [{"en": "{x} ?", "zh": "什么 ?"}]})"),
                 "other slots"));
  CHECK(contains(bad_bank(R"({"words": {}, "phrases": [{"en": "a {same", "zh": "甲"}]})"), "does not close"));
  CHECK(contains(bad_bank(R"({"words": {}, "phrases": [{"en": "a", "zh": "甲"}, {"en": "A", "zh": "乙"}]})"),
                 "stands there twice"));
  CHECK(contains(bad_bank(R"({"words": {}, "phrases": [{"en": "a", "zh": "甲", "answer": "b"}]})"),
                 "answer: there are no words b"));
}

TEST_CASE("preserve: what a text in the place of another must keep") {
  const instruct::WordBounds bounds;
  const auto asked = [&](const std::string& a, const std::string& b, const std::string& answer = "x y z") {
    return against_question(a, b, {answer}, "en", "en", bounds).what;
  };
  CHECK(asked("Who is on the left of the car?", "Which person stands left of the car?") == "");
  CHECK(asked("Who has 12.5 of the 3?", "Who has 12.5 of three?") == "numbers");
  CHECK(asked("At 3:15 or 15:30?", "At 15:30 or 3:15?") == "");
  CHECK(asked("Read \"OPEN now\" to me", "Read OPEN now to me") == "verbatim");
  CHECK(asked("What is `x` here?", "What is x here?") == "verbatim");
  CHECK(asked("See http://a.org/b now?", "See the page now?") == "verbatim");
  CHECK(asked("Which?\nA. red\nB. blue", "Which one?\nA) red\nB) blue") == "verbatim");
  CHECK(asked("Which?\nA. red\nB. blue", "Which one?\nA. red\nB. blue") == "");
  CHECK(asked("Where did Ada and the NATO meet?", "Where did she and NATO meet?") == "names");
  CHECK(asked("Which cat doesn't sleep?", "Which cat sleeps?") == "negation");
  CHECK(asked("Which cat doesn't sleep?", "Which cat does not sleep?") == "");
  CHECK(against_question("这 是不是 红色 的 ?", "这 是 红色 的 吗 ?", {"是"}, "zh", "zh", bounds).what == "");
  CHECK(against_question("这 不是 什么 ?", "这 是 什么 ?", {"猫"}, "zh", "zh", bounds).what == "negation");
  CHECK(asked("What is it?", "Is it a dark cat or what?", "A dark cat.") == "answer_leaked");
  CHECK(asked("Is it a cat or a dog?", "A cat or a dog: which is it?", "a cat") == "");
  CHECK(asked("What is in the sea?", "What seat is in the sea?", "eat") == "");
  CHECK(asked("What is it?", "<image>What is it?") == "markup");
  CHECK(asked("What is it?", "那 是 什么 ?") == "language");
  CHECK(asked("What is it?", " ") == "empty");
  CHECK(asked("What is it?",
              "Please be so kind and tell me, when you have looked well and for long, what it may be that is there") ==
        "length");
  const auto answered = [&](const std::string& a, const std::string& b) {
    return against_answer(a, b, "en", "zh", bounds).what;
  };
  CHECK(answered("Yes.", "是的。") == "");
  CHECK(answered("Yes", "否") == "answer");
  CHECK(answered("no", "没有") == "");
  CHECK(answered("a ring", "是") == "answer");
  CHECK(answered("B", "C") == "answer");
  CHECK(answered("(B)", "(B)") == "");
  CHECK(answered("NASA", "NASA") == "");
  CHECK(answered("NASA", "nasa") != "");
  CHECK(answered("B", "b") == "answer");
  CHECK(answered("a red ring", "a red ring") == "language");
  CHECK(answered("[1, 2, 3, 4]", "[1, 2, 3, 5]") == "answer");
  CHECK(answered("It weighs 3 kg in Paris", "在 巴黎 重 3 公斤") == "");
  CHECK(answered("It weighs 3 kg for NASA", "重 3 公斤") == "names");
}

TEST_CASE("bilingual: a share drawn by id, by phrases where they hold all, else by the endpoint; the card counts") {
  Mixed m;
  const std::vector<Json> before = m.run();
  m.o.bilingual.share = {0.25, 0.5}, m.o.out = m.dir / "phrases";
  const auto by = [](const Json& r) {
    const Json* t = r.at("meta").find("translated");
    return t ? t->as_string() : "";
  };
  const auto content = [](const Json& r, std::size_t i) { return r.at("messages")[i].at("content").as_string(); };
  std::array<int, 3> drawn{};
  const std::vector<Json> phrases = m.run();
  for (std::size_t i = 0; i < before.size(); ++i) {
    const Json& r = phrases[i];
    CAPTURE(i);
    if (by(r).empty()) {
      CHECK(r.dump() == before[i].dump());
      continue;
    }
    ++drawn[i % 3];
    CHECK(by(r) == "phrases");
    CHECK(r.at("lang").as_string() == (i % 3 ? "en" : "zh"));
    CHECK(r.at("meta").at("translated_from").as_string() == (i % 3 ? "zh" : "en"));
    CHECK(content(r, 1) == content(before[i], 1));
    CHECK(content(r, 2) == (i % 3 ? "what color is the ring ?" : "圆环 是 什么 颜色 ?"));
    CHECK(content(r, 3) == (i % 3 ? "red" : content(before[i], 3) == "red" ? "红色" : "蓝色"));
    CHECK(contains(content(r, 0),
                   i % 3 ? cat("what is the value of V", i / 3, " ?") : cat("V", i / 3, " 的 值 是 多少 ?")));
    CHECK(instruct::language_of(content(r, 0)) == r.at("lang").as_string());  // the template's words too
  }
  // 400 draws each: five standard deviations.
  CHECK(std::abs(drawn[0] - 200) < 50);
  CHECK(drawn[1] == 0);
  CHECK(std::abs(drawn[2] - 100) < 44);
  Json card = Json::read(m.o.out + "/card.json");
  CHECK(card.at("translated").at("by phrases").as_int() == drawn[0] + drawn[2]);
  CHECK(card.at("languages").at("zh").as_int() == 400 + drawn[0] - drawn[2]);
  const std::int64_t without = card.at("steps")[3].at("changed").at("kept_no_phrase").at("n").as_int();
  CHECK(std::abs(without - 200) < 50);

  int lists = 0;
  const TableServer server([&](const Json& asked) -> std::string {
    if (const Json* after = asked.find("after")) return contains((*after)[1].as_string(), "谎") ? "no" : "yes";
    CHECK(asked.at("into").as_string() == "Chinese");
    const std::string answer = asked.at("messages")[1].as_string(), n = answer.substr(17);
    const int i = std::stoi(n);
    ++lists;
    if (i % 10 == 0) return "[\"第 " + n + " 幅 画 是 谁 画 的 ?\"]";
    const std::string number = i % 10 == 1 ? "7777" : n, man = i % 10 == 2 ? " 的 谎" : " 的 男人";
    return "```json\n[\"第 " + n + " 幅 画 是 谁 画 的 ?\", \"住 在 " + number + " 号" + man + "\"]\n```";
  });
  m.o.writer.asker = serve::asker_at(server.url(), "", 1), m.o.writer.share = 0, m.o.writer.model = "table";
  m.o.out = m.dir / "endpoint";
  const std::vector<Json> both = m.run();
  int endpoint = 0, kept = 0;
  for (std::size_t i = 0; i < before.size(); ++i) {
    if (i % 3 != 1) CHECK(both[i].dump() == phrases[i].dump());
    else if (by(both[i]).empty()) CHECK(both[i].dump() == before[i].dump());
    else {
      CHECK(by(both[i]) == "table");
      CHECK(i / 3 % 10 > 2);
      CHECK(contains(content(both[i], 1), cat("住 在 ", i / 3, " 号")));
      ++endpoint;
    }
  }
  card = Json::read(m.o.out + "/card.json");
  const Json changed = card.at("steps")[3].at("changed");
  for (const char* word : {"kept_no_list", "kept_numbers", "kept_judged_other"})
    kept += static_cast<int>(changed.at(word).at("n").as_int());
  CHECK(lists == without);
  CHECK(endpoint + kept == without);
  CHECK(card.at("translated").at("by an endpoint").as_int() == endpoint);
}
