// The whole of `curate`: nothing is lost without a word, and the output is a function of the input.
#include "instruct/curate.h"

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <set>

#include "base/io/directory_lock.h"
#include "base/io/file.h"
#include "data/raw/records.h"
#include "image/encode.h"
#include "instruct/card.h"
#include "store/jsonl.h"
#include "tests/base/scratch.h"
#include "tests/check.h"
#include "tests/cli/program.h"

using namespace ov;
using instruct::CurateOptions;

namespace {

std::vector<Json> lines_of(const std::string& path) {
  std::vector<Json> out;
  JsonlReader reader(path);
  for (Json line; reader.next(&line);) out.push_back(line);
  return out;
}

// in = out + rejected in every step, the log has a line for each rejected record, and what is left can be trained on.
void check_output(const std::string& out) {
  const Json card = Json::read(out + "/card.json");
  std::map<std::string, std::int64_t> logged, counted;
  std::set<std::string> gone;
  for (const Json& line : lines_of(out + "/audit.jsonl"))
    if (const Json* why = line.find("rejected")) {
      ++logged[line.at("step").as_string() + " " + why->as_string()];
      CHECK(gone.insert(line.at("id").as_string()).second);
    }
  std::int64_t before = -1;
  for (const Json& s : card.at("steps").items()) {
    CAPTURE(s.at("step").as_string());
    if (before >= 0) CHECK(s.at("in").as_int() == before);
    std::int64_t lost = 0;
    for (const auto& [word, c] : s.at("rejected").members()) {
      lost += c.at("n").as_int(), counted[s.at("step").as_string() + " " + word] = c.at("n").as_int();
      CHECK(c.at("examples").size() > 0);
    }
    before = s.at("out").as_int();
    CHECK(s.at("in").as_int() == before + lost);
  }
  CHECK(logged == counted);
  const auto records = open_records(out + "/records.jsonl");
  CHECK(records->size() == before);
  CHECK(card.at("records").as_int() == before);
  std::int64_t i = 0;
  for (const Json& line : lines_of(out + "/records.jsonl")) {
    const Conversation c = records->read(i++);
    CHECK(c.images.size() == line.at("images").size());
    for (const std::string& path : c.images) CHECK_MESSAGE(path_exists(path), path);
    CHECK_FALSE(gone.contains(line.at("id").as_string()));
    CHECK(line.at("meta").find("licence") != nullptr);
  }
  CHECK(read_file(out + "/card.html").starts_with("<!DOCTYPE html>"));
}

std::string everything(const std::string& out) {
  return read_file(out + "/records.jsonl") + read_file(out + "/audit.jsonl") + read_file(out + "/card.json") +
         read_file(out + "/card.html");
}

struct Setup {
  ScratchDirectory dir;
  CurateOptions o;
  Setup() {
    make_directories(dir / "set");
    Image grey(30, 30), black(30, 30);
    for (std::uint8_t& v : grey.rgb) v = 128;
    write_durably(dir / "set/grey.png", encode_png(grey));
    write_durably(dir / "set/black.png", encode_png(black));
    write_durably(dir / "set/cut.png", encode_png(grey).substr(0, 60));
    std::string a, b;
    const auto record = [](const std::string& image, const std::string& question, const std::string& answer) {
      Json j = Json::object({{"conversations", Json::array()}});
      if (!image.empty()) j.set("image", image);
      Json list = Json::array();
      list.push(Json::object({{"from", "human"}, {"value", question}}));
      list.push(Json::object({{"from", "gpt"}, {"value", answer}}));
      j.set("conversations", list);
      return j.dump() + "\n";
    };
    for (int i = 0; i < 1300; ++i) {
      const std::string n = std::to_string(i);
      a += i % 50 == 7   ? "{\"conversations\": [\n"
           : i % 50 == 8 ? record(i % 100 == 8 ? "black.png"
                                  : i % 3      ? "cut.png"
                                               : "none.png",
                                  "what " + n + " ?", "red")
           : i % 50 == 9 ? record("grey.png", "what is it ?", "I'm sorry, I cannot see " + n)
                         : record("grey.png", "what is " + std::to_string(i % 1000) + " ?",
                                  i % 2 ? "a red ring" : n + " rings on the white sand");
      b += record("", "第 " + n + " 个 是 什么 ? a" + n + "@mail.org", "红色 " + n);
    }
    write_durably(dir / "set/a.jsonl", a);
    write_durably(dir / "set/b-part-00-of-03", b);
    write_durably(dir / "set/b-part00-of-03", b.substr(0, b.find('\n') + 1));
    write_durably(dir / "set/b-part-02-of-03", record("", "写 一 个 词", "词"));
    write_durably(dir / "manifest.json", R"({"licences": ["cc0-1.0"], "sources": [
      {"name": "a", "path": "set/a.jsonl", "licence": "cc0-1.0", "category": "vqa"},
      {"name": "b", "path": "set/b-part*", "licence": "cc0-1.0", "cap": 1100},
      {"name": "c", "path": "set/b-part-02-of-03", "licence": "unknown"}],
      "balance": {"records": 900, "categories": {"vqa": 2, "text": 1}}})");
    o.manifest = dir / "manifest.json", o.out = dir / "out";
  }
};

}  // namespace

TEST_CASE("curate: what goes in comes out or is rejected by name; caps, parts, licences and shares hold") {
  Setup s;
  const Json done = instruct::curate(s.o);
  check_output(s.o.out);
  CHECK(done.at("in").as_int() == 2603);
  CHECK(done.at("out").as_int() == 900);
  const Json card = Json::read(s.o.out + "/card.json");
  const auto rejected = [&](std::size_t step, const char* word) {
    const Json* c = card.at("steps")[step].at("rejected").find(word);
    return c ? c->at("n").as_int() : 0;
  };
  CHECK(rejected(0, "over_cap") == 1301 - 1100);
  CHECK(rejected(0, "duplicate_part") == 1);
  CHECK(rejected(0, "licence") == 1);
  CHECK(rejected(1, "malformed_record") == 26);
  CHECK(rejected(5, "refusal") == 26);
  CHECK(rejected(6, "image_black") == 13);
  CHECK(rejected(6, "image_unusable") + rejected(6, "image_missing") == 13);
  CHECK(rejected(6, "image_missing") > 0);
  CHECK(rejected(7, "duplicate") > 0);
  CHECK(card.at("categories").at("vqa").as_int() == 600);
  CHECK(card.at("categories").at("text").as_int() == 300);
  CHECK(card.at("sources")[1].at("missing_parts").dump() == "[1]");
  const std::string all = everything(s.o.out);
  CHECK(all.find("@mail.org") == std::string::npos);
  CHECK(all.find("[email]") != std::string::npos);
}

TEST_CASE(
    "curate: two at once on one OUT: the second is refused while the first works, and what is done leaves no blocks") {
  Setup s;
  const std::string blocks = s.o.out + ".blocks";
  make_directories(blocks);
  for (const char* shard : {"", "1/2", "merge"}) {
    const DirectoryLock first(blocks);
    s.o.shard = Shard::parse(shard);
    CHECK(test::contains(test::thrown([&] { instruct::curate(s.o); }), blocks + ": in use by process"));
  }
  CHECK_FALSE(path_exists(s.o.out));
  s.o.shard = {};
  instruct::curate(s.o);
  CHECK_FALSE(path_exists(blocks));
}

TEST_CASE("curate: threads, shards and kills leave the same bytes; another seed draws others") {
  Setup s;
  instruct::curate(s.o);
  const std::string whole = everything(s.o.out);
  s.o.out = s.dir / "sharded";
  {
    const test::Threads one(1);
    for (const char* shard : {"2/3", "3/3", "1/3", "merge"}) s.o.shard = Shard::parse(shard), instruct::curate(s.o);
  }
  CHECK(everything(s.o.out) == whole);
  s.o.out = s.dir / "missing", s.o.shard = Shard::parse("1/3");
  instruct::curate(s.o);
  s.o.shard = Shard::parse("merge");
  CHECK(test::contains(test::thrown([&] { instruct::curate(s.o); }), "blocks are missing"));
  s.o.shard = {}, s.o.out = s.dir / "killed";
  const test::Threads one(1);  // a child has none of its parent's threads
  // kill_at_every_step would run the whole of curate, pictures and all, once for each of its writes: a few of them do.
  const auto killed_at = [&](int step) {  // true when the run got to its end
    const pid_t child = ::fork();
    if (child == 0) {
      static int left;
      left = step;
      set_file_step_hook([](const char*, const std::string&, bool) {
        if (left-- == 0) ::_exit(9);
      });
      try {
        instruct::curate(s.o);
      } catch (...) { ::_exit(8); }
      ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) != 8);
    return WEXITSTATUS(status) == 0;
  };
  int kills = 0;
  for (int step = 3; !killed_at(step); step += 41) ++kills;
  CHECK(kills > 3);
  CHECK(everything(s.o.out) == whole);
  s.o.out = s.dir / "seed", s.o.seed = 2;
  instruct::curate(s.o);
  check_output(s.o.out);
  CHECK(everything(s.o.out) != whole);
}

TEST_CASE("curate: a share or a run of which nothing is left names the first reasons, and why of each is kept") {
  const ScratchDirectory dir;
  std::string bad, good;
  for (int i = 0; i < 3; ++i) {
    bad += "{\"conversations\": [\n";
    good += cat(R"({"conversations": [{"from": "human", "value": "what is )", i,
                R"( ?"}, {"from": "gpt", "value": "red ring )", i, "\"}]}\n");
  }
  write_durably(dir / "bad.jsonl", bad), write_durably(dir / "good.jsonl", good);
  write_durably(dir / "both.json",
                R"({"sources": [{"path": "good.jsonl", "licence": "x"}, {"path": "bad.jsonl", "licence": "x"}]})");
  write_durably(dir / "bad.json", R"({"sources": [{"path": "bad.jsonl", "licence": "x"}]})");
  CurateOptions o;
  o.manifest = dir / "both.json", o.out = dir / "out";
  const auto run = [&](const char* shard) {
    o.shard = Shard::parse(shard);
    return test::thrown([&] { instruct::curate(o); });
  };
  CHECK(run("1/2") == "");
  const std::string shard = run("2/2");
  CHECK_MESSAGE(test::contains(shard,
                               "curate: shard 2/2 keeps nothing of its 3 records: standardise: malformed_record 3, "
                               "the first: bad.jsonl:0 "),
                shard);
  CHECK(run("merge") == "");
  CHECK(open_records(dir / "out/records.jsonl")->size() == 3);
  o.manifest = dir / "bad.json", o.out = dir / "none";
  const std::string none = run("");
  CHECK_MESSAGE(test::contains(none, "no record is left: standardise: malformed_record 3, the first: bad.jsonl:0 "),
                none);
  CHECK(lines_of(dir / "none.audit.jsonl").size() == 3);
  // All that a cap leaves out was asked for.
  write_durably(dir / "both.json", R"({"sources": [{"path": "good.jsonl", "licence": "x"},
    {"name": "capped", "path": "good.jsonl", "licence": "x", "cap": 0}]})");
  o.manifest = dir / "both.json", o.out = dir / "capped";
  CHECK(run("1/2") == "");
  CHECK(run("2/2") == "");
}

TEST_CASE(
    "curate: what it writes is the same from whatever folder, and what a manifest names is looked for beside it") {
  const Setup s;
  const std::filesystem::path root = std::filesystem::current_path();
  const auto from = [&](const std::string& here, const std::string& to) {
    make_directories(s.dir / here);
    std::filesystem::current_path(s.dir / here);
    CurateOptions o;
    o.manifest = to + "manifest.json", o.out = "out", o.rules = root / "data/instruct";
    const std::string said = test::thrown([&] { instruct::curate(o); });
    const std::string all = said.empty() ? everything("out") : said;
    std::filesystem::current_path(root);
    return all;
  };
  const std::string one = from("a", "../");
  CHECK(one.size() > 1000);
  CHECK(one == from("b", s.dir / ""));
  write_durably(s.dir / "manifest.json", R"({"sources": [{"path": "none.jsonl", "licence": "x"}]})");
  CHECK(test::contains(from("a", "../"), cat("source 1: path: there is no ", s.dir / "none.jsonl")));
  write_durably(s.dir / "manifest.json",
                R"({"sources": [{"path": "set/a.jsonl", "licence": "x", "image_dir": "no"}]})");
  CHECK(test::contains(from("a", "../"), cat("source 1: image_dir: there is no ", s.dir / "no")));
  const Setup other;
  CurateOptions o = other.o;
  o.rules = "no/rules";
  CHECK(test::contains(test::thrown([&] { instruct::curate(o); }),
                       cat((root / "no/rules/templates.json").string(), ": is not there")));
}

TEST_CASE("curate: the rules come with the program, wherever it is started") {
  const Setup s;
  const std::string line = cat("cd ", s.dir / "", " && ", program_path(), " curate --manifest manifest.json --out ");
  CHECK(std::system((line + "started > said 2> told").c_str()) == 0);
  CHECK(path_exists(s.dir / "started/card.json"));
  CHECK(std::system((line + "other --rules data/none > said 2> told").c_str()) != 0);
  const std::string told = read_file(s.dir / "told");
  CHECK_MESSAGE(test::contains(told, cat(s.dir / "data/none/templates.json", ": is not there; curate.rules names")),
                told);
}

TEST_CASE("curate: every conversation set of the golden folders, pictures inside") {
  const ScratchDirectory dir;
  Json sources = Json::array();
  // What stands beside a file tells whether it must open: rows, and a column that holds conversations.
  const auto add = [&](const std::string& path, bool opens) {
    CAPTURE(path);
    const std::string why = test::thrown([&] { open_records(path); });
    CHECK_MESSAGE(why.empty() == opens, why);
    if (!why.empty()) return;
    sources.push(Json::object({{"name", cat("s", sources.size())},
                               {"path", std::filesystem::absolute(path).string()},
                               {"licence", "cc0-1.0"}}));
  };
  for (const std::string& name : list_directory("tests/golden/parquet"))
    if (name.ends_with(".parquet")) {
      const std::string path = "tests/golden/parquet/" + name;
      const Json made = Json::read(path.substr(0, path.rfind('.')) + ".json");
      bool says = false;
      for (const Json& column : made.at("columns").items())
        for (const char* known : {"conversations", "messages", "caption"})
          says = says || column.at("name").as_string() == known;
      add(path, says && made.at("values").size() > 0);
    }
  for (const std::string& name : list_directory("tests/golden/webdataset"))
    if (std::filesystem::is_directory("tests/golden/webdataset/" + name)) add("tests/golden/webdataset/" + name, true);
  for (const std::string& name : list_directory("tests/golden/instruct"))
    if (name.ends_with(".jsonl")) add("tests/golden/instruct/" + name, true);
  REQUIRE(sources.size() > 0);
  write_durably(dir / "m.json", Json::object({{"sources", sources}}).dump());
  CurateOptions o;
  o.manifest = dir / "m.json", o.out = dir / "out";
  instruct::curate(o);
  check_output(o.out);
}

TEST_CASE("curate: a manifest's mistakes are named, and so is a set of which nothing is left") {
  const ScratchDirectory dir;
  CurateOptions o;
  o.manifest = dir / "m.json", o.out = dir / "out";
  write_durably(dir / "a.jsonl", "x\n");
  const auto error = [&](const std::string& manifest) {
    write_durably(o.manifest, manifest);
    return test::thrown([&] { instruct::curate(o); });
  };
  CHECK(test::contains(error("{\"sources\": []}"), "expected a list of sources"));
  CHECK(test::contains(error("{\"sources\": [{\"path\": \"a.jsonl\"}]}"), "licence is missing"));
  CHECK(test::contains(error("{\"sources\": [{\"path\": \"b.jsonl\", \"licence\": \"x\"}]}"), "there is no"));
  CHECK(test::contains(error("{\"sources\": [{\"path\": \"a.jsonl\", \"licence\": \"x\", \"cpa\": 3}]}"),
                       "did you mean 'cap'"));
  CHECK(test::contains(error("{\"sources\": [{\"path\": \"a.jsonl\", \"licence\": \"x\", \"category\": \"ocl\"}]}"),
                       "'ocr'"));
  CHECK(test::contains(error("{\"sources\": [{\"path\": \"a.jsonl\", \"licence\": \"x\"}]}"), "no record is left"));
  for (const char* part :
       {"p-part-1-of-9223372036854775807", "p-part-1-of-99999999999999999999", "p-part-9223372036854775807"}) {
    CAPTURE(part);
    write_durably(dir / part, "x\n");
    CHECK(test::contains(error("{\"sources\": [{\"path\": \"p-part*\", \"licence\": \"x\"}]}"),
                         "expected at most 100000"));
    std::filesystem::remove(dir / part);
  }
  CHECK_FALSE(path_exists(o.out));
}

TEST_CASE("curate: a record of more pictures than a block counts is refused by name") {
  Setup s;
  const std::size_t n = 65536;
  Json images = Json::array(), messages = Json::array();
  std::string question = "what is it ?";
  for (std::size_t i = 0; i < n; ++i) images.push("grey.png"), question += "<image>";
  messages.push(Json::object({{"role", "user"}, {"content", question}}));
  messages.push(Json::object({{"role", "assistant"}, {"content", "a ring"}}));
  write_durably(s.dir / "set/a.jsonl", read_file(s.dir / "set/a.jsonl") +
                                           Json::object({{"images", images}, {"messages", messages}}).dump() + "\n");
  instruct::curate(s.o);
  const Json steps = Json::read(s.o.out + "/card.json").at("steps");
  CHECK(steps[1].at("rejected").at("too_many_pictures").at("n").as_int() == 1);
}

TEST_CASE("card: the last octave is open, and a picture that is not shown says why, without this run's directory") {
  const ScratchDirectory dir;
  instruct::Manifest manifest;
  manifest.sources.resize(1);
  instruct::Card card(manifest);
  instruct::RecordSummary k{};
  k.question_words = 1 << 20, k.answer_words = 3;
  const Json message = Json::object({{"role", "user"}, {"content", "a"}});
  Json images = Json::array(), messages = Json::array(), steps = Json::array();
  images.push("images/none.png"), messages.push(message);
  steps.push(
      Json::object({{"step", "a"}, {"in", 1}, {"out", 1}, {"rejected", Json::object()}, {"changed", Json::object()}}));
  card.add(k, 0,
           Json::object({{"id", "x:0"},
                         {"category", "vqa"},
                         {"lang", "en"},
                         {"difficulty", 1},
                         {"images", images},
                         {"messages", messages}})
               .dump());
  card.write(dir.path(), steps);
  const Json counts = Json::read(dir / "card.json");
  CHECK(counts.at("question_words").at("16384 and more").as_int() == 1);
  CHECK(counts.at("answer_words").at("2 to 3").as_int() == 1);
  const std::string page = read_file(dir / "card.html");
  CHECK(test::contains(page, "images/none.png: "));
  CHECK_FALSE(test::contains(page, dir.path()));
}
