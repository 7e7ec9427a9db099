// The report as a page: balanced, self-contained, and with everything that it was given.
#include "report/report.h"

#include <doctest/doctest.h>

#include <cmath>
#include <filesystem>

#include "base/base64.h"
#include "base/error.h"
#include "base/io/file.h"
#include "image/encode.h"
#include "report/html.h"
#include "report/run_summary.h"
#include "report/style.h"
#include "tests/base/scratch.h"
#include "tests/check.h"

using namespace ov;
using namespace ov::test;

namespace {

std::size_t count(const std::string& text, const std::string& what) {
  std::size_t n = 0;
  for (std::size_t at = text.find(what); at != text.npos; at = text.find(what, at + what.size())) ++n;
  return n;
}

// "" when every tag that opens closes in its turn, else what is wrong. Attributes hold no '>' (html::escape).
std::string imbalance(const std::string& page) {
  std::vector<std::string> open;
  for (std::size_t at = page.find('<'); at != page.npos; at = page.find('<', at + 1)) {
    const std::size_t end = page.find('>', at);
    if (end == page.npos) return "no '>' behind " + page.substr(at, 20);
    const std::string tag = page.substr(at + 1, end - at - 1);
    if (tag[0] == '!' || tag.back() == '/') continue;
    if (tag[0] != '/') {
      open.push_back(tag.substr(0, tag.find_first_of(" \n")));
    } else if (open.empty() || open.back() != tag.substr(1)) {
      return "</" + tag.substr(1) + "> closes " + (open.empty() ? "nothing" : "<" + open.back() + ">");
    } else {
      open.pop_back();
    }
  }
  return open.empty() ? "" : "<" + open.back() + "> stays open";
}

std::string run_log(double first_loss, bool vision) {
  std::string out = R"({"type":"run","config":{"optimizer":{"lr":0.125}},"parameters":7,"threads":2,"peak_flops":1e9})";
  out += "\n";
  for (int i = 1; i <= 50; ++i) {
    Json step = Json::object({{"type", "step"},
                              {"step", i},
                              {"loss", i == 20 ? Json() : Json(first_loss / i)},
                              {"lr", 0.125},
                              {"flops", 5e6},
                              {"seconds", 0.02},
                              {"data_seconds", 0.005},
                              {"tokens", 10}});
    if (vision) step.set("object_loss", 1.0 / i);
    out += step.dump() + "\n";
    if (i == 30) out += "{\"type\":\"resume\",\"step\":30}\n";
  }
  if (!vision)
    out += R"({"type":"times","steps":50,"threads":2,"seconds":10,"data_seconds":0.5,"update_seconds":1.5,)"
           R"("update_floor":1.0,"ops":{"linear":[8.0,6.4],"rope":[2.5,0.0]}})"
           "\n";
  return out;
}

struct Files {
  Files() {
    write_durably(dir / "vision.jsonl", run_log(9, true));
    write_durably(dir / "instruct.jsonl", run_log(2, false));
    std::string predictions;
    for (int i = 0; i < 40; ++i) {
      Image image(28, 28);
      image.rgb[0] = static_cast<std::uint8_t>(i);
      const std::string path = dir / (std::to_string(i) + (i % 2 ? ".png" : ".jpg"));
      write_durably(path, i % 2 ? encode_png(image) : encode_jpeg(image));
      const bool right = i % 5 != 0;
      predictions += Json::object({{"category", i < 20 ? "Chart & Table" : "OCR"},
                                   {"image", path},
                                   {"question", "what is <" + std::to_string(i) + "> ?"},
                                   {"answer", "red & \"blue\""},
                                   {"prediction", right ? "red & \"blue\"" : "</div>"},
                                   {"score", right ? 1.0 : 0.0}})
                         .dump() +
                     "\n";
    }
    write_durably(dir / "predictions.jsonl", predictions);
    write_durably(dir / "eval.json", R"({"categories": {
      "Chart & Table": {"n": 20, "accuracy": 0.875, "blind_accuracy": 0.25, "blind_commonest": 0.25,
                        "blind_grey": 0.125},
      "OCR": {"n": 20, "accuracy": 0.75, "blind_accuracy": 0.2, "blind_commonest": 0.1, "blind_grey": 0.2}},
      "mean": 0.8125, "templates": {"read": {"category": "OCR", "n": 20, "accuracy": 0.75}},
      "model_sha256": "abc", "expected_sha256": "abd"})");
    write_durably(dir / "pack.json", R"({"packs": 9, "fill": 0.9991,
      "rejects": {"over_length": 2, "no_answer": 0},
      "tokens_per_pack": {"histogram": {"first": 100, "width": 10, "packs": [1, 3, 5]}},
      "histogram": {"1": 4, "2": 5}})");
    options = {.title = "A <run>",
               .stages = {{"pretrain & vision", dir / "vision.jsonl"}, {"instruct", dir / "instruct.jsonl"}},
               .eval_json = dir / "eval.json",
               .predictions = dir / "predictions.jsonl",
               .packs = {{"instruct packs", dir / "pack.json"}},
               .out = dir / "report.html",
               .strip = ""};
  }
  std::string page() const {
    write_report(options);
    return read_file(options.out);
  }
  std::string refused() const {
    return thrown([&] { write_report(options); });
  }
  ScratchDirectory dir;
  ReportOptions options;
};

}  // namespace

TEST_CASE("report: tags are balanced, also around text that looks like tags") {
  const std::string page = Files().page();
  CHECK(imbalance(page) == "");
  CHECK(count(page, "what is &lt;") == 16);
  CHECK(imbalance("<p><b></p></b>") != "");  // the check itself
  CHECK(imbalance("<p><b></b>") != "");
  CHECK(imbalance("</p>") != "");
}

TEST_CASE("report: the page needs nothing from elsewhere") {
  const std::string page = Files().page();
  for (const char* outside : {"<script", "<link", "@import", "url(", "src=\"http", "href="})
    CHECK(count(page, outside) == 0);
  CHECK(count(page, "<img") == 16);
  CHECK(count(page, "src=\"data:image/") == 16);
  CHECK(count(page, "data:image/png") > 0);
  CHECK(count(page, "data:image/jpeg") > 0);
}

TEST_CASE("report: every stage, category, baseline, packing and hash is there") {
  const std::string page = Files().page();
  for (const char* text : {"A &lt;run&gt;", "<h3>pretrain &amp; vision</h3>", "<h3>instruct</h3>", "resumed 1 time",
                           "Chart &amp; Table", "87.5 %", "12.5 %", "81.2 %", "instruct packs", "fill 99.91 %",
                           "rejected for over_length 2", "another model", "&quot;lr&quot;: 0.125", "25.0 %"})
    CHECK_MESSAGE(page.find(text) != page.npos, text);
  CHECK(count(page, ">objects<") == 1);  // the line of the vision stage alone
  CHECK(page.find("no_answer") == page.npos);
  // 2 stages x (loss, learning rate), 2 histograms.
  CHECK(count(page, "xmlns=") == 6);
}

TEST_CASE("report: where the time went, operation by operation, adds up to the threads' time") {
  const std::string page = Files().page();
  // 2 threads x 10 s = linear 8.0 + rope 2.5 + update 3.0 + data 1.0 + the rest.
  for (const char* cells : {"<td>linear</td><td></td><td>8.0 (1.25)</td>", "<td>rope</td><td></td><td>2.5</td>",
                            "AdamW</td><td></td><td>3.0 (1.50)</td>", "<td>waiting for data</td><td></td><td>1.0</td>",
                            "the loop itself</td><td></td><td>5.5</td>"})
    CHECK_MESSAGE(page.find(cells) != page.npos, cells);
  CHECK(page.find("<td>linear") < page.find("<td>rope"));
}

TEST_CASE("report: pictures come from every category, wrong answers among them") {
  const std::string page = Files().page();
  CHECK(count(page, "class=\"wrong-answer\"") == 8);
  CHECK(count(page, "class=\"right-answer\"") == 8);
  Files few;
  few.options.pictures = 40;
  CHECK(count(few.page(), "<figure>") == 40);
  few.options.pictures = 100;  // more than there are
  CHECK(count(few.page(), "<figure>") == 40);
}

TEST_CASE("report: the strip holds the first picture of every second category, its answer as a row, and a curve") {
  Files files;
  files.options.strip = files.dir / "strip";
  files.page();
  CHECK(read_file(files.dir / "strip/1.jpg") == read_file(files.dir / "0.jpg"));
  CHECK(read_file(files.dir / "strip/answers.md") ==
        "| <img src=\"data/demo/1.jpg\" height=\"90\"> | Chart & Table | what is <0> ? | </div> | wrong: red & "
        "\"blue\" |\n");
  const std::string curve = read_file(files.dir / "strip/loss.svg");
  CHECK(curve.starts_with("<svg xmlns"));
  CHECK(count(curve, "xmlns=") == 1);  // a second one, and it is no XML
  CHECK(imbalance(curve) == "");
}

TEST_CASE("report: sections without a file are left out") {
  Files files;
  files.options.eval_json = files.options.predictions = "";
  files.options.packs.clear();
  const std::string page = files.page();
  CHECK(imbalance(page) == "");
  CHECK(page.find("Asked and answered") == page.npos);
  CHECK(page.find("How it learned") != page.npos);
  files.options.stages.clear();
  CHECK(imbalance(files.page()) == "");
}

TEST_CASE("report: what is missing or damaged is named, and no page is written") {
  Files files;
  std::filesystem::remove(files.options.out);
  files.options.stages[0].path = files.dir / "none.jsonl";
  CHECK(files.refused().find("none.jsonl") != std::string::npos);
  files.options.stages[0].path = files.dir / "broken.jsonl";
  write_durably(files.dir / "broken.jsonl", "{\"type\":\"step\",\"loss\":1}\n");
  CHECK(files.refused().find("broken.jsonl:1: expected a whole number 'step'") != std::string::npos);
  for (const char* ops : {"", R"(,"ops":{"add":[]})", R"(,"ops":3)"}) {
    write_durably(files.dir / "broken.jsonl", cat("{\"type\":\"times\"", ops, "}\n"));
    CHECK(files.refused().find("broken.jsonl: times: ") != std::string::npos);
  }
  files.options.stages.erase(files.options.stages.begin());
  write_durably(files.dir / "eval.json", "{\"categories\": {}}");
  CHECK(files.refused().find("eval.json: ") != std::string::npos);
  files.options.eval_json = "";
  write_durably(files.dir / "0.jpg", "GIF89a");
  CHECK(files.refused().find("0.jpg: expected a JPEG, PNG or WebP picture") != std::string::npos);
  CHECK(!std::filesystem::exists(files.options.out));
}

TEST_CASE("report: a run's sums and gaps are those of its log") {
  const Files files;
  const RunSummary run = read_run("v", files.dir / "vision.jsonl");
  CHECK(run.last_step == 50);
  CHECK(run.seconds == doctest::Approx(1.0));
  CHECK(run.data_seconds == doctest::Approx(0.25));
  CHECK(run.flops_per_second() == doctest::Approx(2.5e8));
  CHECK(run.peak_flops() == 1e9);
  CHECK(std::isnan(run.loss[19]));
  CHECK(run.loss[18] == 9.0 / 19);
  CHECK(std::isnan(run.text_loss[0]));
  CHECK(run.resumed == 1);
}

TEST_CASE("report: a run of RL shows what its answers earned and how they changed; of DPO, margins and accuracy") {
  const Files files;
  const auto page_of = [&](const std::vector<std::string>& names) {
    std::string log;
    for (int i = 1; i <= 40; ++i) {
      Json step = Json::object({{"type", "step"}, {"step", i}, {"loss", 0.0}, {"lr", 0.125}});
      for (std::size_t k = 0; k < names.size(); ++k) step.set(names[k], static_cast<double>(i) * (k + 1));
      log += step.dump() + "\n";
    }
    write_durably(files.dir / "rl.jsonl", log);
    ReportOptions o = files.options;
    o.stages = {{"thinking", files.dir / "rl.jsonl"}}, o.out = files.dir / "rl.html";
    o.eval_json = o.predictions = o.strip = "", o.packs = {};
    write_report(o);
    return read_file(o.out);
  };
  const std::string rl = page_of({"reward", "length", "entropy", "staleness", "clip"});
  CHECK(imbalance(rl).empty());
  CHECK(count(rl, "<h3>thinking: its answers</h3>") == 1);
  for (const char* title :
       {"reward, mean of", "length, tokens", "entropy of a token", "staleness of a token", "clipped"})
    CHECK_MESSAGE(contains(rl, title), title);
  CHECK(count(rl, "xmlns=") == 7);  // loss, learning rate and these
  // Three steps at the start, 1 to 3, and at the end: the mean of what is within two steps.
  CHECK(contains(rl, "lines: the mean of the steps around; reward 2 to 39, length 4 to 78, entropy 6 to 117"));
  CHECK(!contains(rl, "shared prompts"));
  // Name k has k + 1 times the step's number: 6 of 11 tokens of prompts are read, 2 of 8 in rows of their own are left.
  const std::string shared =
      page_of({"reward", "tokens", "clip", "length", "shared_tokens", "prompt_tokens", "entropy", "row_tokens"});
  CHECK(
      contains(shared, "shared prompts: writing spared 45.5 % of 9020 tokens; training spared 75.0 % of 6560 tokens"));
  const std::string dpo = page_of({"margin", "accuracy"});
  CHECK(contains(dpo, "margin of a pair"));
  CHECK(count(dpo, "xmlns=") == 4);
  CHECK(!contains(page_of({}), "its answers"));
}

TEST_CASE("report: base64 of RFC 4648's examples, and text that would break a page is escaped") {
  const std::pair<const char*, const char*> examples[] = {{"", ""},
                                                          {"f", "Zg=="},
                                                          {"fo", "Zm8="},
                                                          {"foo", "Zm9v"},
                                                          {"foob", "Zm9vYg=="},
                                                          {"fooba", "Zm9vYmE="},
                                                          {"foobar", "Zm9vYmFy"}};
  for (const auto& [plain, coded] : examples) CHECK(to_base64(plain) == coded);
  CHECK(to_base64("\xFF\xFE\xFD") == "//79");
  CHECK(html::escape("a<b> & \"c\"\x01") == "a&lt;b&gt; &amp; &quot;c&quot;\xEF\xBF\xBD");
}

// The curve that README shows was drawn by `make demo` and is compared with it there; here, before twenty minutes have
// passed, what a change of the page can reach of it.
TEST_CASE("report: the curve kept for README wears today's style") {
  const std::string curve = read_file("data/demo/loss.svg");
  CHECK_MESSAGE(curve.find(html::element("style", plot_style)) != curve.npos,
                "draw data/demo/loss.svg again: make demo");
}
