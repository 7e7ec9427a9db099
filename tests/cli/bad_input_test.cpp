// Bad data given to the program: without room for rejects it is exit code 2 and one line that names file and place;
// with room the fault is counted under its reason, and everything else is used.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "base/json.h"
#include "image/encode.h"
#include "store/jsonl.h"
#include "store/tar.h"
#include "tests/cli/program.h"

using namespace ov;

namespace {

using Strings = std::vector<std::string>;

std::string last_line(const std::string& err) {
  const auto end = err.find_last_not_of('\n');
  const auto begin = err.rfind('\n', end);
  return err.substr(begin == err.npos ? 0 : begin + 1);
}

// A picture, a model that has seen nothing, and files to spoil.
class World {
 public:
  World() {
    REQUIRE(run({"merge", "--config", "configs/model/tiny.json", "--tokenizer", "data/tokenizer", "--out", dir_ / "m"})
                .exit == 0);
    Image image(56, 28);
    for (std::size_t i = 0; i < image.rgb.size(); ++i) image.rgb[i] = static_cast<std::uint8_t>(40 + i % 7);
    png = encode_png(image);
    write("a.png", png);
  }
  std::string path(const std::string& name) const { return dir_ / name; }
  std::string write(const std::string& name, const std::string& content) const {
    write_durably(path(name), content);
    return path(name);
  }
  // Captions "0", "1", ...; the names are the samples' keys.
  std::string shard(const std::string& name, const Strings& keys) const {
    TarWriter tar(path(name));
    for (std::size_t i = 0; i < keys.size(); ++i) {
      tar.add(keys[i] + ".png", png);
      tar.add(keys[i] + ".txt", cat(i));
    }
    tar.finish();
    return path(name);
  }

  std::string png;

 private:
  ScratchDirectory dir_;
};

const World& world() {
  static const World w;
  return w;
}

Strings packing(const std::string& data, const std::string& out) {
  return {"pack", "--model", world().path("m"), "--sources", data, "--out", world().path(out)};
}
Strings training(const std::string& data, const std::string& out) {
  return {"train", "--model", world().path("m"), "--data", data, "--out", world().path(out), "--steps", "3"};
}
Strings on_regions(const std::string& data, const std::string& out) {
  return {"pretrain", "--config", "configs/model/tiny.json", "--what",  "vision", "--regions",
          data,       "--out",    world().path(out),         "--steps", "3"};
}
Strings on_text(const std::string& data, const std::string& out) {
  return {
      "pretrain", "--config", "configs/model/tiny.json", "--what",  "text", "--tokenizer", "data/tokenizer", "--text",
      data,       "--out",    world().path(out),         "--steps", "3"};
}

// Whether the line of stderr that counts has all parts.
void check_refused(const Outcome& o, const Strings& parts) {
  INFO(o.err);
  CHECK(o.exit == 2);
  CHECK(o.out.empty());
  const std::string line = last_line(o.err);
  CHECK(line.starts_with("onevision: "));
  for (const std::string& part : parts) CHECK_MESSAGE(line.find(part) != std::string::npos, part);
}

struct Fault {
  Strings call;         // its data has one good record at least, and one fault
  std::string rejects;  // the file that has the rejects
  std::string reason;
  Strings place;  // of the fault, as the message names it
};

// Refused; then passed over, under its reason, in a run that ends well.
void check_fault(Fault f) {
  const std::string out =
      f.call.at(1 + static_cast<std::size_t>(std::find(f.call.begin(), f.call.end(), "--out") - f.call.begin()));
  CAPTURE(f.reason);
  CAPTURE(out);
  Strings parts = f.place;
  parts.push_back(" rejected, more than ");
  parts.push_back("(" + f.reason + " 1)");
  check_refused(run(f.call), parts);

  f.call.insert(f.call.end(), {"--data.max_rejects", "1"});
  const Outcome o = run(f.call);
  INFO(o.err);
  CHECK(o.exit == 0);
  JsonlReader reader(out + f.rejects);
  int lines = 0;
  for (Json line; reader.next(&line); ++lines) {
    CHECK(line.at("reason").as_string() == f.reason);
    for (const std::string& part : f.place)
      CHECK_MESSAGE(line.at("message").as_string().find(part) != std::string::npos, part);
  }
  CHECK(lines >= 1);
}

std::string conversation(const std::string& question, const char* answer) {
  Json turns = Json::array();
  turns.push(Json::object({{"from", "human"}, {"value", question}}));
  if (answer) turns.push(Json::object({{"from", "gpt"}, {"value", answer}}));
  return Json::object({{"id", "r"}, {"image", "a.png"}, {"conversations", turns}}).dump() + "\n";
}

std::string region(const std::string& box, const std::string& name, const std::string& text) {
  return "{\"image\": \"a.png\", \"objects\": [{\"box\": " + box + ", \"class\": \"" + name +
         "\"}], \"ocr\": [{\"box\": [0, 0, 20, 10], \"text\": \"" + text + "\"}]}\n";
}

}  // namespace

TEST_CASE("cli: a shard that is cut short costs the sample it was cut in, which is named with file and byte") {
  const World& w = world();
  const std::string whole = read_file(w.shard("c.tar", {"x", "y", "z"}));
  const std::string cut = w.write("cut.tar", whole.substr(0, whole.size() - 2 * 512 - 2 * 512 - 100));  // in z.png
  check_fault({packing(cut, "cut"), ".rejects.jsonl", "damaged_shard", {"cut.tar: cut short: ", " at byte "}});
  CHECK(Json::read(w.path("cut.report.json")).at("samples").as_int() == 2);  // nothing else is lost
  check_fault({training(cut, "cut_run"), "/rejects.jsonl", "damaged_shard", {"cut.tar: cut short: ", " at byte "}});
}

TEST_CASE("cli: the second sample of a key in a shard is named with shard and key, and the first is used") {
  const World& w = world();
  const std::string twice = w.shard("twice.tar", {"x", "y", "x"});
  const Strings place = {"twice.tar: sample 'x': this key came before"};
  check_fault({packing(twice, "twice"), ".rejects.jsonl", "duplicate_key", place});
  CHECK(Json::read(w.path("twice.report.json")).at("samples").as_int() == 2);
  check_fault({training(twice, "twice_run"), "/rejects.jsonl", "duplicate_key", place});
}

TEST_CASE("cli: boxes outside of the picture and empty names or texts of regions are named with line and place") {
  const World& w = world();
  const std::string good = region("[0, 0, 20, 20]", "dot", "AB");
  int n = 0;
  for (const char* box : {"[0, 0, 57, 20]", "[0, 0, 20, 28.5]", "[-1, 0, 20, 20]", "[100, 100, 120, 120]"}) {
    const std::string file = w.write(cat("box", n, ".jsonl"), good + region(box, "dot", "AB"));
    check_fault(
        {on_regions(file, cat("box", n)), "/rejects.jsonl", "region_box", {cat("box", n, ".jsonl:2: "), "56 x 28"}});
    ++n;
  }
  const std::string text = w.write("ocr.jsonl", good + region("[0, 0, 20, 20]", "dot", ""));
  check_fault({on_regions(text, "ocr"), "/rejects.jsonl", "empty_text", {"ocr.jsonl:2: ocr[0]: text is empty"}});
  const std::string name = w.write("class.jsonl", good + region("[0, 0, 20, 20]", "", "AB"));
  check_fault(
      {on_regions(name, "class"), "/rejects.jsonl", "empty_text", {"class.jsonl:2: objects[0]: class is empty"}});
}

TEST_CASE("cli: an empty answer and a record without any label are named with line and message") {
  const World& w = world();
  const std::string good = conversation("<image>\nA?", "B");
  const std::string empty = w.write("empty.jsonl", good + conversation("<image>\nA?", ""));
  check_fault({training(empty, "empty"),
               "/rejects.jsonl",
               "no_answer",
               {"empty.jsonl:2 (id \"r\"): message 2: the answer is empty"}});
  const std::string silent = w.write("silent.jsonl", good + conversation("<image>\nA?", nullptr));
  check_fault({training(silent, "silent"),
               "/rejects.jsonl",
               "malformed_record",
               {"silent.jsonl:2 (id \"r\"): ", "without answer"}});
  check_fault({packing(silent, "silent_pack"),
               ".rejects.jsonl",
               "malformed_record",
               {"silent.jsonl:2 (id \"r\"): ", "without answer"}});
  // An empty question is no fault: captions have none.
  CHECK(run(training(w.write("caption.jsonl", good + conversation("<image>", "B")), "caption")).exit == 0);
}

TEST_CASE("cli: an empty document of a text corpus is named with its line") {
  const World& w = world();
  const std::string text = w.write("text.jsonl", "{\"text\": \"one two\"}\n{\"text\": \"\"}\n");
  check_fault(
      {on_text(text, "text"), "/rejects.jsonl", "empty_text", {"text.jsonl:2: there is no text to learn from"}});
}

TEST_CASE("cli: eval refuses categories that its tasks do not list, and tasks that no question belongs to, by name") {
  const World& w = world();
  const std::string questions = w.path("held");
  std::filesystem::create_directories(questions);
  w.write("held/a.png", w.png);
  const std::string question =
      R"({"id": "1", "image": "a.png", "category": "OCR", "template": "t", "question": "q", "answer": "a"})";
  w.write("held/q.jsonl", question + "\n");
  const auto eval = [&](const std::string& tasks, const Strings& more = {}) {
    Strings call = {
        "eval",  "--model",        w.path("m"),        "--data", questions, "--tasks", w.write("tasks.json", tasks),
        "--out", w.path("scores"), "--max_new_tokens", "2"};
    call.insert(call.end(), more.begin(), more.end());
    return run(call);
  };
  CHECK(eval(R"({"categories": {"OCR": {"scorer": "exact"}}})").exit == 0);  // the twin of all below
  const Strings room = {"--data.max_rejects", "100"};                        // room for rejects changes nothing
  check_refused(eval(R"({"categories": {"OCX": {"scorer": "exact"}}})", room),
                {"held/q.jsonl:1: category 'OCR' is not one of ", "tasks.json; did you mean 'OCX'?"});
  check_refused(eval(R"({"categories": {"OCR": {"scorer": "exact"}, "Sums": {"scorer": "exact"}}})", room),
                {"tasks.json: category 'Sums': no question in "});
  check_refused(eval(R"({"categories": {"OCR": {"scorer": "exakt"}}})", room),
                {"tasks.json: category 'OCR': unknown scorer 'exakt'; did you mean 'exact'?"});

  std::string empty = question;
  empty.replace(empty.find("\"q\""), 3, "\"\"").replace(empty.find("\"1\""), 3, "\"2\"");
  w.write("held/q.jsonl", question + "\n" + empty + "\n");
  check_refused(eval(R"({"categories": {"OCR": {"scorer": "exact"}}})"),
                {"held/q.jsonl:2: the question is empty (empty_text; "});
  const Outcome o = eval(R"({"categories": {"OCR": {"scorer": "exact"}}})", room);
  CHECK(o.exit == 0);
  CHECK(o.out.find("passed over: empty_text 1\n") != std::string::npos);
}

TEST_CASE(
    "cli: run.jsonl of micro-batches with unequal label counts: the optimised loss is not the token mean (T-15)") {
  const World& w = world();
  const std::string data =
      w.write("uneven.jsonl", conversation("<image>", "B") + conversation("<image>", "one two three"));
  const auto first_step = [&](const std::string& by) {
    Strings call = training(data, by);
    call.insert(call.end(), {"--train.micro_batches", "2", "--loss.normalise_by", by});
    REQUIRE(run(call).exit == 0);
    JsonlReader reader(w.path(by + "/run.jsonl"));
    for (Json line; reader.next(&line);)
      if (line.at("type").as_string() == "step") return line;
    return Json();
  };
  const Json mean = first_step("micro_batch_mean"), tokens = first_step("global_token_mean");
  const auto number = [](const Json& line, const char* key) { return line.at(key).as_double(); };
  // The same first step: the same tokens and labels, so the same token mean, to the rounding of f32 sums.
  CHECK(number(mean, "labelled") == 16);  // 2 and 14, with im_end
  CHECK(number(tokens, "labelled") == 16);
  CHECK(number(mean, "samples") == 2);
  CHECK(number(mean, "token_loss") == number(tokens, "token_loss"));
  CHECK(std::abs(number(tokens, "loss") - number(tokens, "token_loss")) <= 16 * 0x1p-23 * number(tokens, "loss"));
  CHECK(std::abs(number(mean, "loss") - number(mean, "token_loss")) > 1e-3 * number(mean, "loss"));
}
