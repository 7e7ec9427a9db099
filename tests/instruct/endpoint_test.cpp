// Questions that an endpoint puts in other words: nothing is paid for twice, and no answer becomes wrong.
#include "instruct/endpoint.h"

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

#include "base/io/file.h"
#include "base/rng.h"
#include "base/sha256.h"
#include "instruct/curate.h"
#include "store/jsonl.h"
#include "tests/base/scratch.h"
#include "tests/check.h"
#include "tests/instruct/table_server.h"

using namespace ov;
using namespace ov::test;
using instruct::CurateOptions;
using instruct::Endpoint;

namespace {

Json body_of(const std::string& question) {
  Json messages = Json::array();
  for (const char* role : {"system", "user"})
    messages.push(
        Json::object({{"role", role}, {"content", Json::object({{"question", question}, {"answer", "x"}}).dump()}}));
  return Json::object({{"model", "m"}, {"messages", messages}});
}

Asker nobody() {
  return [](std::size_t, const auto&, const auto&) { FAIL("somebody was asked"); };
}

std::map<std::string, Json> records_of(const std::string& out) {
  std::map<std::string, Json> records;
  JsonlReader reader(out + "/records.jsonl");
  for (Json line; reader.next(&line);) records.emplace(line.at("id").as_string(), line);
  return records;
}

std::string files_of(const std::string& out) {
  std::string all;
  for (const char* name : {"records.jsonl", "audit.jsonl", "card.json", "card.html"})
    all += read_file(out + "/" + name);
  return all;
}

// A set of text records without stock instructions.
struct Set {
  ScratchDirectory dir;
  CurateOptions o;
  explicit Set(const std::vector<std::pair<std::string, std::string>>& pairs) {
    std::string lines;
    for (const auto& [question, answer] : pairs) {
      Json messages = Json::array();
      messages.push(Json::object({{"role", "user"}, {"content", question}}));
      messages.push(Json::object({{"role", "assistant"}, {"content", answer}}));
      lines += Json::object({{"messages", messages}}).dump() + "\n";
    }
    write_durably(dir / "a.jsonl", lines);
    write_durably(dir / "m.json", R"({"sources": [{"name": "a", "path": "a.jsonl", "licence": "cc0-1.0"}]})");
    o.manifest = dir / "m.json", o.out = dir / "out", o.writer.cache = dir / "cache", o.writer.model = "table";
  }
};

}  // namespace

TEST_CASE("endpoint: a request is paid for once, whoever asks; a refusal is an answer; what may pass ends the run") {
  const ScratchDirectory dir;
  std::atomic<int> away{0};
  const TableServer server([&](const Json& said) -> std::string {
    const std::string& q = said.at("question").as_string();
    if (q == "refused") return "400 not this";
    if (q == "key") return "401 who are you";
    if (q == "busy" && away-- > 0) return "503 later";
    return "said " + q;
  });
  std::atomic<std::int64_t> retries{0};
  const Asker asker = serve::asker_at(server.url(), "", 2, 3, &retries);
  const std::vector<Json> bodies = {body_of("a"), body_of("b"), body_of("a"), body_of("refused")};
  {
    Endpoint endpoint(asker, dir / "cache");
    const auto replies = endpoint.replies(bodies);
    CHECK(replies[0].text == "said a");
    CHECK(replies[1].text == "said b");
    CHECK(replies[2].text == "said a");
    CHECK(contains(replies[3].refused, "status 400: not this"));
    CHECK(endpoint.asked() == 3);
    CHECK(endpoint.found() == 1);
  }
  CHECK(server.requests() == 3);
  Endpoint again(nobody(), dir / "cache");
  CHECK(again.replies(bodies)[1].text == "said b");
  CHECK(contains(again.replies(bodies)[3].refused, "not this"));
  const std::string digest = sha256(body_of("b").dump()),
                    path = cat(dir / "cache", "/", digest.substr(0, 2), "/", digest, ".json");
  CHECK(Json::read(path).at("request").dump() == body_of("b").dump());

  away = 2;
  Endpoint later(asker, dir / "cache");
  CHECK(later.replies({body_of("busy")})[0].text == "said busy");
  CHECK(retries == 2);
  away = 3;
  const std::vector<Json> some = {body_of("c"), body_of("busy"), body_of("d")};
  write_durably(cat(dir / "cache", "/", sha256(body_of("busy").dump()).substr(0, 2), "/",
                    sha256(body_of("busy").dump()), ".json"),
                "{}");
  CHECK(contains(thrown([&] { later.replies(some); }), "is not the answer to the request"));
  std::filesystem::remove_all(dir / "cache");
  CHECK(contains(thrown([&] { later.replies(some); }, Exit::machine_failed), "status 503: later"));
  const int before = server.requests();
  CHECK(later.replies(some)[1].text == "said busy");
  CHECK(server.requests() < before + 3);  // of c and d, one at least is in the cache
  CHECK(contains(thrown([&] { later.replies({body_of("key")}); }), "status 401: who are you"));
}

TEST_CASE("endpoint: questions get other words where no rule and no judge objects; the others stay, and are named") {
  const std::vector<std::pair<std::string, std::string>> pairs = {
      {"What does the boy hold in his hand?", "a kite"},
      {"How many boats are left of the 3 piers?", "two boats"},
      {"What colour is the roof of the barn?", "dark red"},
      {"Why is the street wet in the morning?", "It rained"},
      {"Which of the animals is not awake?", "the cat"},
      {"Where does Anna keep the keys?", "in a drawer"},
      {"What is refused by the endpoint here?", "nothing at all"},
      {"What is it that changes its meaning?", "the weather vane"},
      {"What is the man in the hat doing?", "He reads"},
      {"What does the boy hold in his hand?", "a kite on a string"}};
  Set set(pairs);
  const std::map<std::string, std::string> table = {
      {pairs[0].first, "Which thing is the boy holding in his hand?"},
      {pairs[1].first, "How many boats can be seen left of the 4 piers?"},
      {pairs[2].first, "Is the roof of the barn painted dark red?"},
      {pairs[3].first, "<think>hm</think>For what reason is the street wet in the morning?"},
      {pairs[4].first, "Which of the animals is awake?"},
      {pairs[5].first, "Where does she keep the keys?"},
      {pairs[6].first, "I'm sorry, I cannot help with that."},
      {pairs[7].first, "What is it that keeps its meaning?"},
      {pairs[8].first, "戴 帽子 的 人 在 做 什么 ?"}};
  const TableServer server([&](const Json& said) -> std::string {
    if (const Json* after = said.find("after")) return contains((*after)[0].as_string(), "keeps") ? "No." : "Yes";
    return table.at(said.at("question").as_string());
  });
  set.o.writer.asker = serve::asker_at(server.url(), "", 4);
  instruct::curate(set.o);
  const auto records = records_of(set.o.out);
  REQUIRE(records.size() == pairs.size());
  const std::map<std::size_t, std::string> kept = {
      {1, "kept_numbers"}, {2, "kept_answer_leaked"}, {4, "kept_negation"}, {5, "kept_names"},
      {6, "kept_refused"}, {7, "kept_judged_other"},  {8, "kept_language"}};
  const Json changed = Json::read(set.o.out + "/card.json").at("steps")[2].at("changed");
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    const Json& r = records.at(cat("a:", i));
    const std::string question = r.at("messages")[0].at("content").as_string();
    CAPTURE(question);
    CHECK(r.at("messages")[1].at("content").as_string() == pairs[i].second);
    const auto why = kept.find(i);
    CHECK((r.at("meta").find("rewritten") == nullptr) == (why != kept.end()));
    if (why != kept.end()) {
      CHECK(contains(question, pairs[i].first));
      const Json& named = changed.at(why->second);
      CHECK(named.at("n").as_int() == 1);
      CHECK(named.at("examples")[0].at("id").as_string() == cat("a:", i));
      CHECK(contains(named.at("examples")[0].at("message").as_string(), pairs[i].first));
    } else {
      const std::string& said = table.at(pairs[i].first);
      CHECK(contains(question, said.substr(said.rfind('>') + 1)));
      CHECK_FALSE(contains(question, pairs[i].first));
      CHECK(r.at("meta").at("rewritten").as_string() == "table");
    }
  }
  CHECK(changed.at("rewritten").at("n").as_int() == 3);
  CHECK(Json::read(set.o.out + "/card.json").at("rewritten").at("by an endpoint").as_int() == 3);
  // Another run, in shards and without anybody to ask, leaves the same bytes.
  const std::string whole = files_of(set.o.out);
  set.o.out = set.dir / "again", set.o.writer.asker = nobody();
  for (const char* shard : {"1/2", "2/2", "merge"}) set.o.shard = Shard::parse(shard), instruct::curate(set.o);
  CHECK(files_of(set.o.out) == whole);
  // None of the records drawn: nobody to ask either, and every question as it was.
  set.o.out = set.dir / "none", set.o.shard = {}, set.o.writer.share = 0;
  instruct::curate(set.o);
  CHECK(Json::read(set.o.out + "/card.json").at("rewritten").at("by an endpoint").as_int() == 0);
}

TEST_CASE("endpoint: stock instructions stay around what is reworded, and pictures and a system's words before it") {
  const ScratchDirectory dir;
  std::vector<std::string> asked;
  instruct::WriterOptions with;
  with.judge = false, with.cache = dir / "cache", with.model = "lambda";
  with.asker = [&](std::size_t n, const auto& body, const auto& take) {
    for (std::size_t i = 0; i < n; ++i) {
      const Json said = Json::parse(body(i).at("messages")[1].at("content").as_string(), "user");
      asked.push_back(said.find("into") ? said.at("messages").dump() : said.at("question").as_string());
      const std::string reply =
          said.find("into") ? "[\"\", \"白色 沙滩 上 的 一个 圆环\"]" : "Tell me its colour, please";
      const Json message = Json::object({{"content", reply}});
      Json choices = Json::array();
      choices.push(Json::object({{"message", message}}));
      take(i, Json::object({{"choices", choices}}));
    }
  };
  const std::string rules = "data/instruct/";
  const auto safety = instruct::SafetyRules::read(rules + "safety.json");
  const auto bank =
      std::make_shared<const instruct::TemplateBank>(instruct::TemplateBank::read(rules + "templates.json", 1));
  const auto phrases = std::make_shared<const instruct::PhraseBank>(instruct::PhraseBank::read(rules + "phrases.json"));
  const auto writer = std::make_shared<instruct::Writer>(with, rules + "endpoint.json", safety, 1);
  instruct::BilingualOptions bilingual;
  bilingual.share = {0, 1};
  const instruct::Rewording rewording(bank, phrases, writer, 1, bilingual, 1);

  instruct::Record r;
  r.id = "a:1", r.lang = "en", r.category = "vqa", r.images = {"a.png", "b.png"};
  r.turns = {{"system", "You see."},
             {"user", "<image>\n<image>\nWhat colour is it?\nAnswer the question using a single word or phrase."},
             {"assistant", "red"}};
  std::vector<instruct::Visit> batch = {{&r, {}}};
  rewording.rewrite(batch);
  REQUIRE(asked == std::vector<std::string>{"What colour is it?"});
  CHECK(r.turns[1].text ==
        "<image>\n<image>\nTell me its colour, please\nAnswer the question using a single word or phrase.");
  instruct::Notes notes;
  bank->reword(r, notes);
  CHECK(r.turns[1].text.starts_with("<image>\n<image>\n"));
  CHECK(r.meta.at("template").as_string().starts_with("short_answer.en."));
  CHECK(bank->question_of(r)->text == "Tell me its colour, please");
  CHECK(r.turns[0].text == "You see.");
  rewording.translate(batch);  // a system's words are nobody's to translate
  CHECK(batch[0].notes.back().what == "kept_form");
  CHECK(r.lang == "en");

  // An instruction alone becomes one of the other language; what is read stays, what is told is translated.
  for (const auto& [category, said, then] : {std::tuple{"ocr", "OPEN till late", "OPEN till late"},
                                             {"caption", "a ring on white sand", "白色 沙滩 上 的 一个 圆环"}}) {
    instruct::Record c;
    c.id = "a:2", c.lang = "en", c.category = category, c.images = {"a.png"};
    c.turns = {{"user", "<image>\n"}, {"assistant", said}};
    bank->dress(c, notes);
    REQUIRE(c.meta.at("template").as_string().starts_with(cat(category, ".en.")));
    batch = {{&c, {}}};
    asked.clear();
    rewording.translate(batch);
    CHECK(asked == (category[0] == 'o' ? std::vector<std::string>()
                                       : std::vector<std::string>{"[\"\",\"a ring on white sand\"]"}));
    CHECK(c.lang == "zh");
    CHECK(c.meta.at("template").as_string().starts_with(cat(category, ".zh.")));
    CHECK(c.turns[0].text.starts_with("<image>\n"));
    CHECK(instruct::language_of(c.turns[0].text) == "zh");
    CHECK(c.turns[1].text == then);
  }
}

TEST_CASE("endpoint: a run that is killed again and again pays for the answers in flight alone, and ends the same") {
  std::vector<std::pair<std::string, std::string>> pairs;
  for (int i = 0; i < 400; ++i)
    pairs.emplace_back(cat("What stands on shelf ", i % 380, " of the hall?"), cat("a vase of kind ", i));
  Set set(pairs);
  const TableServer server(
      [](const Json& said) -> std::string {
        if (said.find("after")) return "yes";
        const std::string& q = said.at("question").as_string();
        return "In the hall, what stands on shelf " + q.substr(20, q.find(" of") - 20) + "?";
      },
      2);
  constexpr int at_once = 4;
  const Threads one(1);  // a child has none of its parent's threads
  const Philox random(7, "kills");
  int kills = 0;
  for (std::uint64_t round = 0;; ++round) {
    const pid_t child = ::fork();
    if (child == 0) {
      try {
        set.o.writer.asker = serve::asker_at(server.url(), "", at_once);
        instruct::curate(set.o);
      } catch (...) { ::_exit(8); }
      ::_exit(0);
    }
    // In the middle of its work, however fast the machine is.
    const int enough = server.requests() + 40 + static_cast<int>(random.below(round, 80));
    int status = 0;
    while (::waitpid(child, &status, WNOHANG) == 0) {
      if (server.requests() >= enough) ::kill(child, SIGKILL);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    if (WIFEXITED(status)) {
      CHECK(WEXITSTATUS(status) == 0);
      break;
    }
    ++kills;
    REQUIRE(kills < 100);
  }
  MESSAGE(kills, " kills, ", server.requests(), " requests, ", server.asked().size(), " different ones");
  CHECK(kills > 2);
  CHECK(server.requests() <= static_cast<int>(server.asked().size()) + kills * at_once);
  const std::string whole = files_of(set.o.out);
  set.o.out = set.dir / "undisturbed", set.o.writer.cache = set.dir / "other";
  set.o.writer.asker = serve::asker_at(server.url(), "", 8);
  instruct::curate(set.o);
  CHECK(files_of(set.o.out) == whole);
}

TEST_CASE(
    "endpoint: answers kept where the command writes are refused before any is asked, however the place is spelt") {
  const std::vector<std::pair<std::string, std::string>> pairs = {{"What does the boy hold in his hand?", "a kite"}};
  Set set(pairs);
  set.o.writer.asker = nobody(), set.o.writer.share = 1;
  std::filesystem::create_directory(set.dir / "other");
  std::filesystem::create_directory_symlink(std::string(set.dir / "other"), set.dir / "link");
  for (const char* cache :
       {"out", "out/", "out/a", "other/../out/a", "link/../out/a", "out.blocks", "out.partial/a", "out.old"}) {
    CAPTURE(cache);
    set.o.writer.cache = set.dir / cache;
    CHECK(contains(thrown([&] { instruct::curate(set.o); }), "which this command writes; name another"));
  }
}

TEST_CASE("endpoint: bounds that no text could meet, or any, are refused") {
  const ScratchDirectory dir;
  const auto safety = instruct::SafetyRules::read("data/instruct/safety.json");
  const auto read = [&](double shortest, double longest, int slack) {
    Json rules = Json::read("data/instruct/endpoint.json");
    rules.set("words", Json::object({{"shortest", shortest}, {"longest", longest}, {"slack", slack}}));
    write_durably(dir / "rules.json", rules.dump());
    instruct::Writer(instruct::WriterOptions{}, dir / "rules.json", safety, 1);
  };
  read(0.5, 2, 0), read(0, 1, 8), read(1, 1, 1);
  CHECK(contains(thrown([&] { read(-0.1, 2, 8); }), "rules.json: words: expected shortest from 0 to 1"));
  CHECK(contains(thrown([&] { read(1.5, 2, 8); }), "expected shortest from 0 to 1"));
  CHECK(contains(thrown([&] { read(0.5, 0.9, 8); }), "longest of at least 1"));
  CHECK(contains(thrown([&] { read(0.5, 2, -1); }), "slack of at least 0"));
}
